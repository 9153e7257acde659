"""What a checkpoint says about training on it, where it is not like its family: a small JSON file that its maker adds.

In a diffusers folder it is `training_hints.json`, beside a single file `<name of the file>.training_hints.json`:

    {"rate_factor": 20, "clip_skip": 1, "sample_cfg": 2.5}

Every entry may be missing. The planner applies them, and says so in its reasons; nobody else reads them. The file
comes with a download, so it is read as if a stranger had made it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError

HINTS = "training_hints.json"
MAX_BYTES = 65_536
_BOUNDS: dict[str, tuple[type, float, float]] = {
    "rate_factor": (float, 0.01, 1000),
    "clip_skip": (int, 1, 12),
    "sample_cfg": (float, 1, 50),
}


@dataclass(frozen=True)
class TrainingHints:
    """What was said; None is nothing.

    `rate_factor` multiplies the learning rates that are usual for the family; `clip_skip` and `sample_cfg` are the
    settings of that name.
    """

    rate_factor: float | None = None
    clip_skip: int | None = None
    sample_cfg: float | None = None


def hints_path(checkpoint: Path) -> Path:
    """Where the hints of a checkpoint stand, if it has any."""
    return checkpoint / HINTS if checkpoint.is_dir() else checkpoint.with_name(f"{checkpoint.stem}.{HINTS}")


def read_hints(checkpoint: Path) -> TrainingHints:
    """The hints of a checkpoint file or folder. Raises UserError("host.hints") for a file that is not as it must be."""
    path = hints_path(checkpoint)
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return TrainingHints()
    except OSError as error:
        raise UserError("host.hints", path.name, reason=error.strerror or "?") from error
    if len(data) > MAX_BYTES:
        raise UserError("host.hints", path.name, reason=f"> {MAX_BYTES // 1024} KB")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError("host.hints", path.name, reason="JSON") from error
    if not isinstance(content, dict):
        raise UserError("host.hints", path.name, reason="JSON")
    return TrainingHints(**{str(name): _checked(path.name, str(name), value) for name, value in content.items()})


def _checked(where: str, name: str, value: object) -> float | int:
    if name not in _BOUNDS:
        raise UserError("host.hints", where, reason=name[:60])
    kind, low, high = _BOUNDS[name]
    numbers = (int,) if kind is int else (int, float)
    if type(value) not in numbers or not low <= value <= high:
        raise UserError("host.hints", where, reason=f"{name}: {low:g} - {high:g}")
    return kind(value)
