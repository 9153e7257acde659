"""How strongly a picture was compressed as JPEG, seen in its pixels: a later save as PNG, or as a fine JPEG, hides nothing.

JPEG rounds each frequency of a block of 8 x 8 pixels to multiples of a step. Taking the same blocks again, the values
still stand at those multiples (Fan and de Queiroz, "Identification of bitmap compression history", 2003).
"""

from __future__ import annotations

import math

import numpy as np

from lib_lora_train.prepare.health.detail import Tiles

# Steps of some low frequencies (row, column) at quality 50 (ITU-T T.81, annex K.1).
_STEPS = {(0, 1): 11, (1, 0): 12, (1, 1): 12, (0, 2): 10, (2, 0): 14, (1, 2): 14, (2, 1): 13}
_MOST_BLOCKS = 3000
_FEWEST = 24  # values that are not zero, for a frequency to say something
_CLEAR = 0.5  # mean of cos(2 pi value / step): 1 for multiples, 0 for anything


def grid_quality(tiles: Tiles, corner: tuple[int, int]) -> float:
    """Quality 1..100 as libjpeg counts it; 100 when no grid can be seen. `corner`: (row, column) of the tiles' origin
    in the picture, modulo 8."""
    starts = [((-corner[0]) % 8, (-corner[1]) % 8)]
    seen = (_phase(tiles, 0), _phase(tiles, 1))
    if seen != starts[0]:
        starts.append(seen)  # the picture was cut after it was compressed
    return min(_quality(tiles, start) for start in starts)


def _phase(tiles: Tiles, axis: int) -> int:
    """Where the grid begins, 0..7: steps between neighbours are larger across block borders."""
    sums, counts = np.zeros(8), np.zeros(8)
    for part, *origin in tiles.parts:
        steps = np.abs(np.diff(part.astype(np.int16), axis=axis))
        profile = np.minimum(steps, 40).mean(1 - axis)
        # The step before pixel k + 1 stands at place k.
        places = (np.arange(len(profile)) + 1 + origin[axis]) % 8
        local = profile - np.convolve(np.pad(profile, 4, mode="edge"), np.full(9, 1 / 9), mode="valid")[: len(profile)]
        np.add.at(sums, places, local)
        np.add.at(counts, places, 1)
    return int(np.argmax(sums / np.maximum(counts, 1)))


def _quality(tiles: Tiles, start: tuple[int, int]) -> float:
    values = _frequencies(tiles, start)
    found = []
    for place, base in _STEPS.items():
        step = _step(values[:, place[0], place[1]])
        if step:
            found.append(step / base)
    if len(found) < 3:
        return 100.0
    scale = float(np.median(found)) * 100
    return round(min(max(5000 / scale if scale > 100 else (200 - scale) / 2, 1.0), 100.0), 1)


def _frequencies(tiles: Tiles, start: tuple[int, int]) -> np.ndarray:
    """Cosine transform of blocks, (blocks, 8, 8), scaled as JPEG's."""
    blocks = []
    for part, row, column in tiles.parts:
        part = part[(start[0] - row) % 8 :, (start[1] - column) % 8 :]
        rows, columns = part.shape[0] // 8, part.shape[1] // 8
        if rows and columns:
            cut = part[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
            blocks.append(cut.transpose(0, 2, 1, 3).reshape(-1, 8, 8))
    if not blocks:
        return np.zeros((0, 8, 8), np.float32)
    every = np.concatenate(blocks)
    every = every[:: max(len(every) // _MOST_BLOCKS, 1)].astype(np.float32) - 128
    # Clipped blocks are rounded otherwise.
    every = every[((every > -127.5) & (every < 126.5)).all((1, 2))]
    k, x = np.arange(8)[:, None], np.arange(8)[None, :]
    cosine = np.cos((2 * x + 1) * k * math.pi / 16) / 2
    cosine[0] /= math.sqrt(2)
    cosine = cosine.astype(np.float32)
    return cosine @ every @ cosine.T


def _step(values: np.ndarray) -> int:
    """The largest step of which the values are multiples; 0 when there is none above 2."""
    size = np.abs(values)
    for step in range(120, 2, -1):
        kept = size[size > 0.5 * step]
        if len(kept) >= _FEWEST and float(np.cos(kept * (2 * math.pi / step)).mean()) > _CLEAR:
            return step
    return 0
