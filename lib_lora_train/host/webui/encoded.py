"""Prompts that the WebUI encoded once and is asked for again, as those of a grid are for each of its pictures.

The WebUI itself keeps those of its last picture only, and encodes anew for each LoRA, also for one that leaves the text
encoder as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

_HASHES = "TI hashes"  # of the embeddings in the prompt and in the negative one, in one list
_MOST = 256  # of SD1 a quarter of a megabyte each, of SDXL more


@dataclass(frozen=True)
class _Encoded:
    """What the pipeline gets, and what it remarks for the text beside the picture while it encodes."""

    conditioning: Any
    parameters: dict[str, Any]
    comments: list[str]


class KnownPrompts:
    """Of one model that nobody trains meanwhile. `hijack` collects the pipeline's remarks."""

    def __init__(self, hijack: Any) -> None:
        self._hijack = hijack
        self._known: dict[Hashable, _Encoded] = {}
        self.encoded = 0  # how often the text encoder was asked

    def of(self, key: Hashable, encode: Callable[[], Any]) -> Any:
        """What `encode` gives, which `key` decides; the remarks are made again each time."""
        hijack = self._hijack
        known = self._known.get(key)
        if known is None:
            known = self._noted(encode)
            while len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[key] = known
            self.encoded += 1
        hashes = [
            remarks[_HASHES] for remarks in (known.parameters, hijack.extra_generation_params) if _HASHES in remarks
        ]
        hijack.extra_generation_params.update(known.parameters)
        if hashes:
            hijack.extra_generation_params[_HASHES] = ", ".join(hashes)
        hijack.comments += known.comments
        return known.conditioning

    def _noted(self, encode: Callable[[], Any]) -> _Encoded:
        hijack = self._hijack
        before = hijack.extra_generation_params, hijack.comments
        hijack.extra_generation_params, hijack.comments = {}, []
        try:
            return _Encoded(encode(), hijack.extra_generation_params, hijack.comments)
        finally:
            hijack.extra_generation_params, hijack.comments = before
