"""Prompts that were encoded once and are asked for again, as those of a grid are in each of its batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from torch import Tensor

from lib_lora_train.network.network import AdapterNetwork

_MOST = 512  # texts; one of 75 tokens takes a quarter of a megabyte
_TEXT_ENCODER = "text_encoder"

Key = tuple[Hashable, ...]


class EncodedPrompts:
    """Of one model that nobody trains meanwhile.

    What the bare text encoder says is kept under all adapters that leave it as it is; of the others what the last one
    says at its last weight, as pictures are drawn in the order of files and weights.
    """

    def __init__(self) -> None:
        self._bare: dict[Key, Tensor] = {}
        self._adapted: dict[Key, Tensor] = {}
        self._by: tuple[AdapterNetwork, float] | None = None
        self.encoded = 0  # how often the text encoder was asked

    def of(self, network: AdapterNetwork | None, weight: float, key: Key, encode: Callable[[], Tensor]) -> Tensor:
        """What `encode` gives while `network` is on at `weight`. `key` is all else that decides it."""
        known = self._known(network, weight)
        if key not in known:
            while len(known) >= _MOST:
                del known[next(iter(known))]
            known[key] = encode()
            self.encoded += 1
        return known[key]

    def _known(self, network: AdapterNetwork | None, weight: float) -> dict[Key, Tensor]:
        if network is None or weight == 0 or not network.counts()[_TEXT_ENCODER]:
            return self._bare
        if self._by is None or self._by[0] is not network or self._by[1] != weight:
            self._by, self._adapted = (network, weight), {}
        return self._adapted
