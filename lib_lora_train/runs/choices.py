"""The checkpoints that can be chosen, with what is known of them without waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_LOOKING = 0.1  # seconds for headers of checkpoints that were not looked at before; the next call goes on


@dataclass(frozen=True)
class CheckpointChoice:
    """A checkpoint that can be chosen; `family` is empty while it is not known, and for one that cannot be trained."""

    name: str
    family: str
    current: bool


def checkpoint_choices(host: Host) -> list[CheckpointChoice]:
    """Those of the host, by name."""
    current, end = host.current(), time.monotonic() + _LOOKING
    found = []
    for info in host.checkpoints():
        family = info.family
        if not family and time.monotonic() < end:
            try:
                family = host.describe(info.name).family
            except UserError:  # said in full when it is chosen
                family = ""
        found.append(CheckpointChoice(info.name, family, current is not None and current.path == info.path))
    return found
