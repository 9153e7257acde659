"""A run's loss curves out of its files: all of it thinned, or what came after a step."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import TypeVar

from lib_lora_train.project import Project, run_folder
from lib_lora_train.runs.infos import METRICS, metrics_line
from lib_lora_train.runs.validation import read_validation

Point = tuple[int, float, float, float]
_T = TypeVar("_T")
_PIECE = 1 << 16  # bytes that are read at a time, from the end
_RATE = "unet"  # the rate that is drawn, where the U-Net is trained


@dataclass(frozen=True)
class Metrics:
    """`points` are (step, loss, smoothed loss, learning rate), by step; `last` is the last step there is. `validation`
    are (step, loss) on pictures that are held back.

    A `last` below the step that was asked after means that the run went back to an earlier state: ask for all again.
    """

    points: list[Point]
    last: int
    validation: list[tuple[int, float]] = field(default_factory=list)


def read_metrics(project: Project, run_id: str, after: int = 0, most: int = 2000) -> Metrics:
    """The steps after step `after`, at most `most` of them, evenly thinned, always with the last one. Held back pictures
    are looked at after a step was told: the losses on them are those from that step on.

    Raises UserError("project.no_run").
    """
    folder, most = run_folder(project, run_id), max(most, 1)
    validated = {each.step: each.loss for each in read_validation(folder) if each.step >= after}
    validation = _thinned(list(validated.items()), most)
    lines = _lines_after(folder / METRICS, after)
    while lines and metrics_line(lines[-1]) is None:
        lines.pop()
    if not lines:
        return Metrics([], 0, validation)
    last = _point(lines[-1])
    new = dropwhile(lambda line: (found := metrics_line(line)) is None or found["step"] <= after, lines)
    points = [point for line in _thinned(list(new), most) if (point := _point(line))]
    return Metrics(points, last[0], validation)


def _thinned(lines: list[_T], most: int) -> list[_T]:
    count = len(lines)
    if count <= most:
        return lines
    # The last one and most - 1 others, from the first on.
    return [lines[index * (count - 1) // max(most - 1, 1)] for index in range(most - 1)] + lines[-1:]


def _point(line: bytes) -> Point | None:
    found = metrics_line(line)
    if found is None:
        return None
    rates = found.get("learning_rates")
    rates = rates if isinstance(rates, dict) else {}
    rate = rates.get(_RATE, next(iter(rates.values()), 0.0))
    return found["step"], found["loss"], found["loss_smoothed"], rate if isinstance(rate, int | float) else 0.0


def _lines_after(path: Path, after: int) -> list[bytes]:
    """The whole lines of the steps after `after`, and some before; all of them for 0.

    Read from the end, since whoever asks again and again asks for little.
    """
    try:
        with path.open("rb") as handle:
            start, size = handle.seek(0, os.SEEK_END), _PIECE
            data = b""
            while start > 0:
                size = min(start if after <= 0 else 2 * size, start)
                start -= size
                handle.seek(start)
                data = handle.read(size) + data
                if start and _reaches(data, after):
                    break
    except FileNotFoundError:
        return []
    lines = data.splitlines()
    return lines[1:] if start else lines  # the first one may be cut in the middle


def _reaches(data: bytes, after: int) -> bool:
    """Whether the first whole line that can be read is of step `after` or an earlier one."""
    begin = data.find(b"\n") + 1
    while begin and (end := data.find(b"\n", begin)) >= 0:
        found = metrics_line(data[begin:end])
        if found is not None:
            return found["step"] <= after
        begin = end + 1
    return False
