"""How much a picture really shows: how wide its sharpest edges are, and how far its spectrum reaches.

Both are looked at where most is to be seen, so that a sharp subject before a blurred background counts as sharp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_SIDE, _MOST = 256, 8  # of the tiles that stand for a large picture
_LARGEST, _SMALLEST = 2048, 160  # sides of the squares that the reductions have the area of
_AGAIN = 1.0  # width of the second blur, in pixels
_STEEP = 92  # percentile of slopes from which they count as edges
_SEGMENT = 64
_REACH = 14.0  # decibels below the strongest frequency at which the detail ends
_NOTHING = 9.0  # edge width of a picture without edges


@dataclass(frozen=True)
class Tiles:
    """The liveliest parts of a grey picture, each with (row, column) of its corner."""

    parts: tuple[tuple[np.ndarray, int, int], ...]

    @classmethod
    def of(cls, grey: np.ndarray) -> Tiles:
        """At most eight tiles of 256 x 256 whose corners are multiples of 8; a small picture is one tile."""
        import cv2

        height, width = grey.shape
        if height * width <= _MOST * _SIDE * _SIDE or min(height, width) < _SIDE:
            return cls(((grey, 0, 0),) if height * width <= 4 * _MOST * _SIDE * _SIDE else _strips(grey))
        rows, columns = height // _SIDE, width // _SIDE
        factor = 8
        coarse = cv2.resize(grey[: rows * _SIDE, : columns * _SIDE], (columns * _SIDE // factor, rows * _SIDE // factor),
                            interpolation=cv2.INTER_AREA).astype(np.float32)  # fmt: skip
        slope = np.abs(cv2.Sobel(coarse, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(coarse, cv2.CV_32F, 0, 1))
        cells = slope.reshape(rows, _SIDE // factor, columns, _SIDE // factor).mean((1, 3))
        best = np.argsort(-cells, axis=None, kind="stable")[:_MOST]
        places = sorted((int(k) // columns * _SIDE, int(k) % columns * _SIDE) for k in best)
        return cls(tuple((grey[row : row + _SIDE, column : column + _SIDE], row, column) for row, column in places))


def _strips(grey: np.ndarray) -> tuple[tuple[np.ndarray, int, int], ...]:
    """Of a picture that is very long and thin: evenly spread pieces."""
    height, width = grey.shape
    if width < height:
        starts = np.linspace(0, height - _SIDE, _MOST).astype(int) // 8 * 8
        return tuple((grey[row : row + _SIDE], int(row), 0) for row in starts)
    starts = np.linspace(0, width - _SIDE, _MOST).astype(int) // 8 * 8
    return tuple((grey[:, column : column + _SIDE], 0, int(column)) for column in starts)


def edge_widths(grey: np.ndarray, tiles: Tiles, area: int) -> tuple[tuple[float, float, float], ...]:
    """(side, width, across) for halvings of the picture, largest first. `area`: of the whole picture, in pixels, which
    `grey` may be the inner part of; `side` is of the square of that area as halved."""
    import cv2

    side = math.sqrt(area)
    found: list[tuple[float, float, float]] = []
    if side > _LARGEST:
        factor = _LARGEST / side
        size = (max(round(grey.shape[1] * factor), 1), max(round(grey.shape[0] * factor), 1))
        grey, side = cv2.resize(grey, size, interpolation=cv2.INTER_AREA), float(_LARGEST)
        tiles = Tiles.of(grey)
    while not found or (side >= _SMALLEST and min(grey.shape) >= 32):
        found.append((round(side, 1), *_edge_width(tiles)))
        grey = cv2.resize(grey, (max(grey.shape[1] // 2, 1), max(grey.shape[0] // 2, 1)), interpolation=cv2.INTER_AREA)
        side, tiles = side / 2, Tiles.of(grey)
    return tuple(found)


def _edge_width(tiles: Tiles) -> tuple[float, float]:
    """(width, across) in pixels. Edges are blurred once more by a known width; by how much their slope falls tells how
    wide they were: slope before / slope after = sqrt(1 + (again / width)^2) (Zhuo and Sim, "Defocus map estimation from
    a single image", 2011). The sharper quarter speaks for the picture, and in each direction for that direction, where
    the steepest slopes are those of that direction: a camera that moved leaves none as steep as elsewhere."""
    found = [_edges(part) for part, _, _ in tiles.parts]
    width = np.concatenate([each[0] for each in found])
    if len(width) < 24:
        return _NOTHING, _NOTHING
    across = 0.0
    for direction in range(4):
        chosen = np.concatenate([each[1][direction] for each in found])
        if len(chosen) >= 20:
            across = max(across, float(np.percentile(chosen, 25)))
    return round(float(np.percentile(width, 25)), 3), round(across, 3)


def _edges(part: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Width of the steepest edge pixels, and of the steepest ones in each of four directions."""
    import cv2

    grey = part.astype(np.float32)
    across, down = _slopes(grey)
    before = cv2.magnitude(across, down)
    after = cv2.magnitude(*_slopes(cv2.GaussianBlur(grey, (0, 0), _AGAIN)))
    noise = float(np.median(np.abs(cv2.Laplacian(grey, cv2.CV_32F)))) / 0.6745 / math.sqrt(20.0)
    ridge = before >= np.maximum(cv2.dilate(before, np.ones((3, 3), np.uint8)), max(2.0, 2.5 * noise))
    ridge[:3], ridge[-3:], ridge[:, :3], ridge[:, -3:] = False, False, False, False
    slope = before[ridge]
    ratio = np.maximum(slope / np.maximum(after[ridge], 1e-3), 1.002)
    width = _AGAIN / np.sqrt(ratio * ratio - 1)
    turn = ((np.arctan2(down, across) % math.pi + math.pi / 8) // (math.pi / 4)).astype(np.uint8) % 4
    weakest = max(float(np.percentile(before[::2, ::2], _STEEP)), 4.0, 4.0 * noise)
    directions = []
    for direction in range(4):
        there = before[turn == direction]
        least = float(np.percentile(there[::3], _STEEP)) if len(there) >= 60 else math.inf
        directions.append(width[(turn[ridge] == direction) & (slope >= least)])
    return width[slope >= weakest], directions


def _slopes(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    return cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)


def cutoff(tiles: Tiles) -> float:
    """The highest frequency, as a share of the highest there can be, at which the picture's differences are no more than
    14 dB weaker than at their strongest: along rows or columns, whichever reaches further.

    Neighbouring differences of a photograph have a nearly even spectrum; an enlarged picture's ends where the small
    one's ended. What JPEG adds above that, or a little noise, lies below 14 dB.
    """
    return max(_reach(tiles, 0), _reach(tiles, 1))


def _reach(tiles: Tiles, axis: int) -> float:
    pieces = []
    for part, _, _ in tiles.parts:
        steps = np.diff(part.astype(np.float32), axis=axis)
        steps = steps if axis == 1 else steps.T
        length = steps.shape[1]
        pieces += [steps[:, start : start + _SEGMENT] for start in range(0, length - _SEGMENT + 1, _SEGMENT // 2)]
    if not pieces:
        return 1.0
    rows = np.concatenate(pieces)
    energy = (rows * rows).sum(1)
    lively = rows[energy >= np.percentile(energy, 70)] * np.hanning(_SEGMENT).astype(np.float32)
    power = (np.abs(np.fft.rfft(lively[:: max(len(lively) // 8000, 1)], axis=1)) ** 2).mean(0)
    level = 10 * np.log10(power + 1e-2)
    level = np.convolve(np.pad(level, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    strongest = level[2:12].max()
    above = np.nonzero(level[2:] >= strongest - _REACH)[0]
    return round(float(above.max() + 2) / (_SEGMENT // 2), 3)
