"""Plans that a processor carries out within a test."""

from __future__ import annotations

from lib_lora_train.previews import following
from lib_lora_train.train import plan


def shorten() -> None:
    """Each picture is shown 40 times, whatever is wished for: with four pictures in batches of four 40 steps."""
    for medium in plan.REPEATS:
        plan.REPEATS[medium] = (8, 8)
        plan.SHOWINGS[medium] = (0, plan.SHOWINGS[medium][1])


def shorten_grids(settings: dict[str, object]) -> None:
    """What follows a training has these settings, and the usual others."""
    following._SIZES = (settings,)
