"""Bars and frames of one colour around a picture, as films, scans and screenshots have them.

The background of a drawing, a black sky or a white wall is flat too. A bar is told from them by its edge: it ends
along a straight line, where most of the line changes at once.
"""

from __future__ import annotations

import numpy as np

from lib_lora_train.vision.geometry import Box

_FLAT = 14  # levels of 255 that JPEG may be off, in any of the three colours
_STRAYS = 0.01  # of a line may be further off
_DIFFERENT = 24  # levels
_CHANGED_BOTH, _CHANGED_ONE = 0.4, 0.85  # of a line, for bars on both sides and for one alone
_LEAST = 0.25  # of a side is left, or nothing is cut off
_BLOCK = 8  # of JPEG, which blurs an edge so far
_SAMPLES = 768  # places along a line that are looked at


def content_box(image: np.ndarray) -> Box:
    """What is inside the bars of `image` (height, width, 3) uint8 RGB; the whole picture where there are none.

    Whole pixels. A picture of one colour, and what would leave less than a quarter of a side, is left alone. So is a
    subject on a flat background, with all of its margins.
    """
    height, width = image.shape[:2]
    whole = Box(0.0, 0.0, float(width), float(height))
    top, bottom = _flat_lines(image)
    left, right = _flat_lines(image.transpose(1, 0, 2))
    if top + bottom >= height or left + right >= width:
        return whole
    inner = image[:, left : width - right]
    top, bottom = _with_edges(inner, top, bottom)
    inner = image[top : height - bottom].transpose(1, 0, 2)
    left, right = _with_edges(inner, left, right)
    if height - top - bottom < max(16, _LEAST * height) or width - left - right < max(16, _LEAST * width):
        return whole
    return Box(float(left), float(top), float(width - right), float(height - bottom))


def _flat_lines(image: np.ndarray) -> tuple[int, int]:
    """How many rows at the top, and at the bottom, have one colour, the same for all of them."""
    return _flat_from_top(image), _flat_from_top(image[::-1])


def _flat_from_top(image: np.ndarray) -> int:
    lines = image[:, :: max(1, image.shape[1] // _SAMPLES)]
    colour = np.median(lines[0].reshape(-1, 3), axis=0).astype(np.int16)
    for start in range(0, len(lines), 64):
        off = np.abs(lines[start : start + 64].astype(np.int16) - colour).max(axis=2) > _FLAT
        busy = np.flatnonzero(off.mean(axis=1) > _STRAYS)
        if busy.size:
            return start + int(busy[0])
    return len(lines)


def _with_edges(image: np.ndarray, top: int, bottom: int) -> tuple[int, int]:
    """Of the flat rows at top and bottom, those that end as bars do, and with them the blurred rows of the edge."""
    upper, upper_blur = _edge(image, top)
    lower, lower_blur = _edge(image[::-1], bottom)
    if min(upper, lower) >= _CHANGED_BOTH:
        return top + upper_blur, bottom + lower_blur
    return (top + upper_blur if upper >= _CHANGED_ONE else 0), (bottom + lower_blur if lower >= _CHANGED_ONE else 0)


def _edge(image: np.ndarray, rows: int) -> tuple[float, int]:
    """The share of columns that have left the bar's colour soon after its end, and how many rows lie between."""
    if not 2 <= rows < len(image) - _BLOCK:
        return 0.0, 0
    colour = np.median(image[:rows].reshape(-1, 3), axis=0).astype(np.int16)
    after = np.abs(image[rows : rows + _BLOCK].astype(np.int16) - colour).max(axis=2) > _DIFFERENT
    shares = after.mean(axis=1)
    return float(shares.max()), int(np.argmax(shares >= 0.8 * shares.max()))
