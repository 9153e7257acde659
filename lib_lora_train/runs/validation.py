"""The losses on pictures that a run held back, read back: for the curve, and to compare its files with each other."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VALIDATION = "validation.jsonl"  # as train/meter.py writes it
RUN_SUFFIX = "-run"  # of the folder beside the files of the command line's `train`
_LEAST = 0.005  # of the lowest loss; files that differ by less are alike


@dataclass(frozen=True)
class Validated:
    """`file` is the name of the LoRA, "" before the first step. Losses with the same `key` can be compared."""

    step: int
    loss: float
    file: str
    key: str


def read_validation(run_folder: Path) -> list[Validated]:
    """By step, the last word on each; none where a run held nothing back. Lines that a kill has cut are passed over."""
    try:
        lines = (run_folder / VALIDATION).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = {(each.step, each.file): each for line in lines if (each := _parsed(line)) is not None}
    return sorted(found.values(), key=lambda each: each.step)


def of_files(files: Sequence[Path]) -> list[Validated | None]:
    """What the command line's `train` has written of its files, in their order."""
    known: dict[Path, dict[str, Validated]] = {}
    found = []
    for path in files:
        if path.parent not in known:
            folders = sorted(path.parent.glob(f"*{RUN_SUFFIX}"))
            known[path.parent] = {each.file: each for folder in folders for each in read_validation(folder)}
        found.append(known[path.parent].get(path.name))
    return found


def comparable(found: Mapping[int, Validated | None]) -> dict[int, float]:
    """By column the losses that can be held against each other: of those with one key the most there are.

    Empty when they tell nothing: fewer than two, or none that differs.
    """
    keys = Counter(each.key for each in found.values() if each is not None)
    if not keys:
        return {}
    most = max(keys, key=lambda key: keys[key])
    losses = {column: each.loss for column, each in found.items() if each is not None and each.key == most}
    low, high = min(losses.values()), max(losses.values())
    return losses if high - low > _LEAST * abs(low) else {}


def _parsed(line: str) -> Validated | None:
    try:
        said = json.loads(line)
        step, loss, file, key = said["step"], said["loss"], said["file"], said["key"]
    except (ValueError, KeyError, TypeError):
        return None
    if not (isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss)):
        return None
    return Validated(step, float(loss), str(file), str(key))
