"""Brightness and contrast of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WHITE = 250  # of every channel


@dataclass(frozen=True)
class Light:
    """`dark`, `middle`, `bright`: brightness (luma 0..255) that 1, 50 and 99 % of the pixels stay below. `spread`:
    standard deviation of the luma. `white`: share of pixels without colour or shade. `soft`: of the pixels beside those,
    the share that is nearly white, as where light runs over. `burnt`: share of other pixels that have lost a channel at
    its upper end without being of one flat colour. `even`: share of the pixels that are not white whose neighbours are
    all the same, as in drawings."""

    dark: float
    middle: float
    bright: float
    spread: float
    white: float
    soft: float
    burnt: float
    even: float


def light(image: np.ndarray) -> Light:
    """Of an RGB picture."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    dark, middle, bright = (float(value) for value in np.percentile(grey, (1, 50, 99)))
    lowest, highest = image.min(2), image.max(2)
    white = lowest >= _WHITE
    beside = cv2.dilate(white.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~white
    kernel = np.ones((3, 3), np.uint8)
    varied = cv2.dilate(lowest, kernel) - cv2.erode(lowest, kernel) >= 2
    rest = max(int((~white).sum()), 1)
    even = (cv2.dilate(grey, kernel) - cv2.erode(grey, kernel) <= 1) & ~white
    burnt = (highest >= 253) & ~white & varied
    return Light(
        dark=dark,
        middle=middle,
        bright=bright,
        spread=round(float(grey.std()), 2),
        white=round(float(white.mean()), 4),
        soft=round(float((lowest[beside] >= 215).mean()), 4) if beside.any() else 0.0,
        burnt=round(float(burnt.mean()), 4),
        even=round(int(even.sum()) / rest, 4),
    )
