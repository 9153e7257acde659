"""Bars of one colour along the edges of a picture."""

from __future__ import annotations

import numpy as np

_FLAT = 3.0  # standard deviation along a line of a bar, in levels
_SAME = 10.0  # difference between lines of one bar, in levels
_LEAST = 0.015  # narrower is a rim of scanning, or chance
_MOST = 0.45  # of a side: more is a picture of something small
_STEP = 12.0  # how much the picture differs from the bar where it begins, in levels


def content(image: np.ndarray) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of what is inside the bars, as shares of the picture; (0, 0, 1, 1) without bars.

    A bar runs along a whole side, has one colour throughout, and ends at a straight line. Bars on one side only are
    none: a clear sky or a plain table looks like that. Bars of the picture's own white background are none either, unless
    the picture begins at a straight line.
    """
    height, width = image.shape[:2]
    top, bottom = _bars(image)
    left, right = _bars(image[top : height - bottom].transpose(1, 0, 2))
    return left / width, top / height, 1 - right / width, 1 - bottom / height


def _bars(image: np.ndarray) -> tuple[int, int]:
    """Lines of the bars at both ends."""
    lines = image.astype(np.float32)
    mean, spread = lines.mean(1), lines.std(1).max(1)
    first, last = _run(lines, mean, spread), _run(lines[::-1], mean[::-1], spread[::-1])
    if not first or not last or np.abs(mean[0] - mean[-1]).max() > _SAME:
        return 0, 0
    return first, last


def _run(lines: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> int:
    """Lines of the bar at the beginning; 0 when there is none."""
    count = len(lines)
    same = (spread <= _FLAT) & (np.abs(mean - mean[0]).max(1) <= _SAME)
    run = count if same.all() else int(np.argmin(same))
    if run < max(2, _LEAST * count) or run > _MOST * count:
        return 0
    # The picture has to differ from the bar along much of the line where it begins, not only where a subject reaches up.
    beyond = np.abs(lines[min(run + 1, count - 1)] - mean[0]).max(1)
    return run if float((beyond >= _STEP).mean()) >= 0.4 else 0
