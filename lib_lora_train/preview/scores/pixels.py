"""What can be told of a picture without any model: how grey, smeared, jagged and gaudy it is, and what lies where.

These are the signs by which people tell an overfitted LoRA. None means anything by itself (a pencil drawing is grey), so
each is held against the picture of the same prompt and seed without the LoRA, and against the training pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

SIDE = 16  # px of the small copy that tells what lies where
SIGNS = ("grey", "smeared", "jagged", "gaudy")
_DEAD, _FULL = math.log(1.3), math.log(3.0)  # a sign begins at 1.3 times what is usual, and is complete at 3 times
_LEAST = 1e-3
_EVEN = 0.5  # grey levels of edges that nobody sees


@dataclass(frozen=True)
class Look:
    """`contrast`: deviation of the pixels from their mean, grey levels. `detail`: mean edge at half size, grey levels.
    `rough`: how much stronger edges between neighbouring pixels are than those at half size. `colour`: mean distance of
    the strongest channel from the weakest, 0 to 1. `calm`: median edge at half size, grey levels: what an even area
    still has of edges. `small`: uint8 (SIDE, SIDE, 3)."""

    contrast: float
    detail: float
    rough: float
    colour: float
    calm: float
    small: np.ndarray

    @property
    def measures(self) -> tuple[float, float, float, float, float]:
        return self.contrast, self.detail, self.rough, self.colour, self.calm


def look_at(image: Image.Image, size: tuple[int, int] | None = None) -> Look:
    """`size` is the (width, height) in px at which pictures of several sizes are compared; the middle is looked at."""
    image = image.convert("RGB")
    if size is not None and image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float32)
    grey = pixels.mean(axis=2)
    rows, columns = (length // 2 * 2 for length in grey.shape)
    half = grey[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    edges = _edges(half)
    detail = float(edges.mean())
    return Look(
        contrast=float(np.sqrt(pixels.reshape(-1, 3).var(axis=0).mean())),
        detail=detail,
        rough=float(_edges(grey).mean()) / (detail + 1.0),
        colour=float((pixels.max(axis=2) - pixels.min(axis=2)).mean() / 255.0),
        calm=float(np.median(edges)),
        small=np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)),
    )


def signs_of(look: Look, usual: Sequence[tuple[float, float]]) -> dict[str, float]:
    """0 (no sign) to 1 for each of SIGNS. `usual` is the lowest and highest usual value of each measure."""
    contrast, detail, rough, colour, calm = look.measures
    usual_contrast, usual_detail, usual_rough, usual_colour, usual_calm = usual
    return {
        "grey": _beyond(usual_contrast[0], contrast),
        "smeared": _beyond(usual_detail[0], detail),
        "jagged": max(_beyond(rough, usual_rough[1]), _beyond(calm + _EVEN, usual_calm[1] + _EVEN)),
        "gaudy": _beyond(colour, max(usual_colour[1], 0.1)),
    }


def distance(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Of small copies, (n, SIDE, SIDE, 3) and (m, SIDE, SIDE, 3): root mean square difference, grey levels, (n, m).

    A mirrored copy is as near as the picture itself.
    """
    straight = _apart(these, those)
    return np.minimum(straight, _apart(these, those[:, :, ::-1]))


def _apart(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    here = these.reshape(len(these), -1).astype(np.float64)
    there = those.reshape(len(those), -1).astype(np.float64)
    squares = (here**2).sum(1)[:, None] + (there**2).sum(1)[None] - 2 * here @ there.T
    return np.sqrt(np.maximum(squares, 0.0) / here.shape[1])


def _edges(grey: np.ndarray) -> np.ndarray:
    """Absolute difference of each pixel from the mean of its four neighbours; one 0 where there are too few."""
    if min(grey.shape) < 3:
        return np.zeros((1, 1), np.float32)
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    return np.abs(grey[1:-1, 1:-1] - around)


def _beyond(large: float, small: float) -> float:
    """How far the first is above the second, 0 to 1."""
    excess = math.log((large + _LEAST) / (small + _LEAST))
    return min(1.0, max(0.0, (excess - _DEAD) / (_FULL - _DEAD)))
