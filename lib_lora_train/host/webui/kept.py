"""Values that are other ones for a while: pure parts of leaving the host as it was."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_ABSENT = object()


@contextmanager
def overridden(values: MutableMapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block `values` holds `wanted`. Afterwards it is as before, but for what others have set meanwhile."""
    before = {name: values.get(name, _ABSENT) for name in wanted}
    values.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if values.get(name, _ABSENT) != wanted[name]:
                continue
            if value is _ABSENT:
                del values[name]
            else:
                values[name] = value


@contextmanager
def attributes_kept(owner: object, names: Iterable[str]) -> Iterator[None]:
    """After the block the attributes `names` of `owner` are what they were before it, whoever has set them."""
    before = {name: getattr(owner, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """After the block the global random states of torch (also on `device`), numpy and Python are as before it."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)
