"""Captions to conditioning, each encoded as seldom as possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lib_lora_train.host.base import BorrowedModel, Conditioning


class PromptEncoder:
    """Encodes captions with gradient when the text encoder is trained, and once each when nothing changes them."""

    def __init__(self, model: BorrowedModel, trained: bool, remember: bool) -> None:
        self._model = model
        self._trained = trained
        self._remember = remember and not trained
        self._known: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        if self._trained:
            return self._model.encode_prompts(captions)
        with torch.no_grad():
            if not self._remember:
                return self._model.encode_prompts(captions)
            new = sorted(set(captions) - self._known.keys())
            for caption in new:
                self._known[caption] = self._model.encode_prompts([caption])
            return _join([self._known[caption] for caption in captions])


def _join(parts: Sequence[Conditioning]) -> Conditioning:
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.context for part in parts]), torch.cat(pooled) if pooled else None)
