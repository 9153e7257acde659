"""What can be known of a checkpoint before it is loaded: from headers, configs and the hints beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib_lora_train.dataset.buckets import LATENT_STEP
from lib_lora_train.host.base import CheckpointFacts
from lib_lora_train.host.hints import hints_path, read_hints
from lib_lora_train.host.loading import Sources, describe
from lib_lora_train.host.weights import read_shapes

_SIDES = (64, 4096)  # px; what lies outside is no resolution that anything was made for
_USUAL = 512
_CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")


def read_facts(path: Path) -> CheckpointFacts:
    """Facts of a checkpoint file or folder. Raises UserError as `loading.describe` and `hints.read_hints`."""
    description = describe(path)
    model = description.architecture
    return CheckpointFacts(
        info=description.info,
        family=description.info.family,
        prediction=model.scheduler["prediction_type"],
        native=_native(model.unet),
        unet_config=model.unet,
        text_config=model.text_encoder,
        parameters={part: _count(sources) for part, sources in description.sources.items()},
        hints=read_hints(path),
    )


def header_stamps(path: Path) -> tuple[object, ...]:
    """What tells that `read_facts` would say the same again, without opening anything."""
    files = [path / name for name in _CONFIGS] if path.is_dir() else [path, path.with_suffix(".yaml")]
    return tuple(_stamp(file) for file in (*files, hints_path(path)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def _native(unet: Mapping[str, Any]) -> int:
    size = unet.get("sample_size")
    sides = size if isinstance(size, list | tuple) else [size]
    if not sides or not all(type(side) is int for side in sides):
        return _USUAL
    native = min(sides) * LATENT_STEP
    return native if _SIDES[0] <= native <= _SIDES[1] else _USUAL


def _count(sources: Sources) -> int:
    shapes = {file: read_shapes(file) for file in sources}
    return sum(math.prod(shapes[file][name]) for file, names in sources.items() for name in names)
