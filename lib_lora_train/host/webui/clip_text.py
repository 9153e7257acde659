"""CLIP as Hugging Face's transformers hold it, inside the WebUI's wrappers: the text encoder of SD1, the first of SDXL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


class ClipText:
    """A text encoder that is called with token numbers, so that no parser of prompts is in between.

    `embedder` is the WebUI's, without its wrapper. `module` is where adapters attach.
    """

    pad: int | None = None  # unused places hold the end mark

    def __init__(self, embedder: nn.Module) -> None:
        self.module: nn.Module = embedder.transformer
        self.tokenizer: CLIPTokenizer = embedder.tokenizer
        self.layers = len(self.module.text_model.encoder.layers)

    def normed(self, ids: Tensor, skip: int) -> Tensor:
        """Output of the `skip`-th layer from the end behind the final normalisation; (chunks, 77, width)."""
        return self.module.text_model.final_layer_norm(self.raw(ids, skip))

    def raw(self, ids: Tensor, skip: int) -> Tensor:
        """Output of the `skip`-th layer from the end as the layer gives it; `ids` and result are (chunks, 77, ...)."""
        return self.module(input_ids=ids, output_hidden_states=True, return_dict=True).hidden_states[-skip]
