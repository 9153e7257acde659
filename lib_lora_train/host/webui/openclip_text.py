"""OpenCLIP's towers inside the WebUI's wrappers: the text encoder of SD2 and the second one of SDXL.

The layers are called one after another here: the wrapper of SDXL's encoder computes without gradients, and what it
returns follows the options of the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lib_lora_train.host.tokens import CLIP_VOCABULARY, load_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


class OpenClipText:
    """A text encoder that is called with token numbers. `embedder` is the WebUI's, without its wrapper.

    `where` names the checkpoint in errors about the vocabulary. Raises UserError as `tokens.load_tokenizer`.
    """

    pad: int | None = 0

    def __init__(self, embedder: nn.Module, where: str) -> None:
        self.module: nn.Module = embedder.model
        self.tokenizer: CLIPTokenizer = load_tokenizer([], CLIP_VOCABULARY, where)
        self.layers = len(self.module.transformer.resblocks)

    def normed(self, ids: Tensor, skip: int) -> Tensor:
        """Output of the `skip`-th layer from the end behind the final normalisation; (chunks, 77, width)."""
        return self.module.ln_final(self._after(ids, self.layers + 1 - skip)[-1])

    def raw_and_pooled(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the last layer but one, and the projected state of the last layer at the first end mark.

        The shapes are (chunks, 77, width) and (chunks, projected width).
        """
        before, last = self._after(ids, self.layers)[-2:]
        ends = ids.argmax(dim=-1)  # the end mark has the highest number of all
        states = self.module.ln_final(last)[torch.arange(len(ids), device=ids.device), ends]
        return before, states @ self.module.text_projection

    def _after(self, ids: Tensor, count: int) -> list[Tensor]:
        """The states that the first `count` layers give, before them the embedded tokens; each (chunks, 77, width)."""
        tower = self.module
        x = tower.token_embedding(ids) + tower.positional_embedding
        layers = list(tower.transformer.resblocks)[:count]
        batch_first = all(layer.attn.batch_first for layer in layers)
        x = x if batch_first else x.transpose(0, 1)
        states = [x]
        for layer in layers:
            states.append(layer(states[-1], attn_mask=tower.attn_mask))
        return states if batch_first else [state.transpose(0, 1) for state in states]
