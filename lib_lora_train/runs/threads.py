"""How many of the processor's cores a run takes: the page, the browser and the rest of the computer need some too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lib_lora_train.train.plan_model import SMALL

_MOST_FOR_SMALL = 4


def training_threads(cores: int, parameters: int) -> int:
    """Threads for a U-Net of so many parameters on a processor of so many cores.

    Threads of a small model wait for each other at every layer: a second one gains a sixth on two free cores, and when
    something else runs there, a step takes twenty times as long. A large one keeps all cores busy; one is left over.
    """
    if parameters < SMALL:
        return max(1, min(cores // 2, _MOST_FOR_SMALL))
    return max(1, cores - 1)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limited_threads(device: str, parameters: int) -> Iterator[None]:
    """On a processor: no more threads than `training_threads` meanwhile, and as many as before afterwards."""
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, training_threads(usable_cores(), parameters)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
