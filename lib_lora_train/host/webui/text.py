"""Prompts to conditioning past the WebUI's parser: plain tokens, encoded as kohya's trainer encodes them.

Brackets, `:1.2`, BREAK, AND and the names of embeddings are words here, and the page's options (clip skip, emphasis)
have no say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from modules import sd_hijack
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import Conditioning
from lib_lora_train.host.tokens import count_tokens, join_chunks, tokenize
from lib_lora_train.host.webui.clip_text import ClipText
from lib_lora_train.host.webui.openclip_text import OpenClipText
from lib_lora_train.network.keys import TEXT_ENCODER_PREFIXES, find_text_encoder_sites
from lib_lora_train.network.sites import Site

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Encoder = ClipText | OpenClipText


class PromptText:
    """The text encoders of the loaded model.

    `clip_skip` n reads the n-th layer from the end: of SD1's 12, and of the 23 that are used of SD2's 24. SDXL always
    reads the last layer but one, without final normalisation. `max_tokens` is 75, 150 or 225.
    Raises UserError("host.clip_skip") and those of `tokens.load_tokenizer`.
    """

    def __init__(self, sd_model: nn.Module, family: str, clip_skip: int, max_tokens: int, where: str) -> None:
        self.family = family
        self.encoders = _encoders(sd_model, family, where)
        self._skip = clip_skip
        self._max_tokens = max_tokens
        usable = self.encoders[0].layers - (family == "sd2")
        if family != "sdxl" and not 1 <= clip_skip <= usable:
            raise UserError("host.clip_skip", "clip_skip", value=clip_skip, layers=usable)

    def encode(self, prompts: Sequence[str], device: torch.device) -> Conditioning:
        """Context (prompts, max_tokens + 2, width), for SDXL also pooled (prompts, width of the second encoder)."""
        with _plain_embeddings():
            if self.family == "sdxl":
                return self._encode_pair(prompts, device)
            encoder = self.encoders[0]
            ids = self._ids(encoder, prompts, device)
            skip = self._skip + (self.family == "sd2")  # of SD2's layers the last one is never read
            return Conditioning(_joined(encoder.normed(ids.flatten(0, 1), skip), ids))

    def count(self, prompt: str) -> int:
        """Tokens of a prompt, start and end marks not counted."""
        return count_tokens(self.encoders[0].tokenizer, prompt)

    def sites(self) -> list[Site]:
        """Where adapters attach, encoder by encoder in kohya's order."""
        pairs = zip(self.encoders, TEXT_ENCODER_PREFIXES[self.family], strict=True)
        return [
            site for encoder, prefix in pairs for site in find_text_encoder_sites(encoder.module, self.family, prefix)
        ]

    def _encode_pair(self, prompts: Sequence[str], device: torch.device) -> Conditioning:
        first, second = self.encoders
        first_ids, second_ids = (self._ids(encoder, prompts, device) for encoder in (first, second))
        first_states = first.raw(first_ids.flatten(0, 1), 2)
        second_states, pooled = second.raw_and_pooled(second_ids.flatten(0, 1))
        context = torch.cat([_joined(first_states, first_ids), _joined(second_states, second_ids)], dim=-1)
        return Conditioning(context, pooled[:: second_ids.shape[1]])  # of the first chunk

    def _ids(self, encoder: Encoder, prompts: Sequence[str], device: torch.device) -> Tensor:
        return tokenize(encoder.tokenizer, prompts, self._max_tokens, encoder.pad).to(device)


def tokenizer_of(sd_model: nn.Module, family: str) -> CLIPTokenizer:
    """The loaded model's own, of SD1 or SDXL; of the latter's two, which are alike, the first."""
    return _inner(sd_model.conditioner.embedders[0] if family == "sdxl" else sd_model.cond_stage_model).tokenizer


def _joined(states: Tensor, ids: Tensor) -> Tensor:
    return join_chunks(states.unflatten(0, ids.shape[:2]))


def _encoders(sd_model: nn.Module, family: str, where: str) -> list[Encoder]:
    if family == "sdxl":
        first, second = (_inner(embedder) for embedder in list(sd_model.conditioner.embedders)[:2])
        return [ClipText(first), OpenClipText(second, where)]
    inner = _inner(sd_model.cond_stage_model)
    return [ClipText(inner) if family == "sd1" else OpenClipText(inner, where)]


def _inner(embedder: nn.Module) -> nn.Module:
    """What the WebUI has wrapped."""
    return getattr(embedder, "wrapped", embedder)


@contextmanager
def _plain_embeddings() -> Iterator[None]:
    """Tokens are looked up as they are: what the last prompt left to be put in place of its tokens waits outside."""
    hijack = sd_hijack.model_hijack
    before = hijack.fixes
    hijack.fixes = None
    try:
        yield
    finally:
        hijack.fixes = before
