"""Captions to conditioning, each encoded as seldom as possible."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from lib_lora_train.host.base import BorrowedModel, Conditioning
from lib_lora_train.signals import Commands, Stopped


class PromptEncoder:
    """Encodes captions with gradient when the text encoder is trained, and once each when nothing changes them.

    What is remembered lies in the computer's memory, not on the device: a thousand captions of SDXL are 600 MB.
    """

    def __init__(self, model: BorrowedModel, trained: bool, remember: bool) -> None:
        self._model = model
        self._trained = trained
        self.remembers = remember and not trained
        self._known: dict[str, Conditioning] = {}

    def learn(self, captions: Collection[str], commands: Commands) -> None:
        """Encodes those that are new, one by one, so that none depends on its neighbours. Raises Stopped."""
        with torch.no_grad():
            for caption in sorted(set(captions) - self._known.keys()):
                if commands.stopping:
                    raise Stopped
                found = self._model.encode_prompts([caption])
                self._known[caption] = Conditioning(
                    found.context.cpu(), None if found.pooled is None else found.pooled.cpu()
                )

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        if self._trained:
            return self._model.encode_prompts(captions)
        if self.remembers:
            return _join([self._known[caption] for caption in captions])
        with torch.no_grad():
            return self._model.encode_prompts(captions)


def _join(parts: Sequence[Conditioning]) -> Conditioning:
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.context for part in parts]), torch.cat(pooled) if pooled else None)
