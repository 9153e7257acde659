"""How far each place of a picture is from its background, by the barriers between them.

The minimum barrier distance of Zhang et al., "Minimum Barrier Salient Object Detection at 80 FPS" (ICCV 2015): a
path's length is the range of colours met along it, so that a wide but even background is near everywhere, and whatever
an outline encloses is far. Paths are grown here as in Dijkstra's algorithm, on a small copy of the picture.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

_SIDE = 88  # of the small copy; an outline of a hundredth of the picture is still seen
_LIGHTNESS = 0.5  # shadows are barriers too, but lesser ones


def barrier_distance(lab: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """float32 (height, width), 0 on the sources, in grey levels.

    `lab` uint8 (height, width, 3) as OpenCV's CIELAB; `sources` bool (height, width), at least one of them true.
    """
    import cv2

    height, width = sources.shape
    factor = min(1.0, _SIDE / max(height, width))
    size = (max(4, round(width * factor)), max(4, round(height * factor)))
    colours = cv2.medianBlur(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), 3)
    starts = cv2.resize(sources.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
    distances = _grow([tuple(map(int, colour)) for colour in colours.reshape(-1, 3)], starts)
    return cv2.resize(distances.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def _grow(colours: list[tuple[int, int, int]], starts: np.ndarray) -> np.ndarray:
    height, width = starts.shape
    highest, lowest = list(colours), list(colours)
    distances = [float("inf")] * len(colours)
    done = [False] * len(colours)
    heap = [(0.0, int(place)) for place in np.flatnonzero(starts)]
    heapify(heap)
    for _, place in heap:
        distances[place] = 0.0
    while heap:
        _, place = heappop(heap)
        if done[place]:
            continue
        done[place] = True
        row, column = divmod(place, width)
        high, low = highest[place], lowest[place]
        for near, inside in (
            (place - 1, column > 0),
            (place + 1, column < width - 1),
            (place - width, row > 0),
            (place + width, row < height - 1),
        ):
            if not inside or done[near]:
                continue
            colour = colours[near]
            up = (max(high[0], colour[0]), max(high[1], colour[1]), max(high[2], colour[2]))
            down = (min(low[0], colour[0]), min(low[1], colour[1]), min(low[2], colour[2]))
            length = _LIGHTNESS * (up[0] - down[0]) + up[1] - down[1] + up[2] - down[2]
            if length < distances[near]:
                distances[near], highest[near], lowest[near] = length, up, down
                heappush(heap, (length, near))
    found = np.array(distances).reshape(height, width)
    return np.where(np.isfinite(found), found, 0.0)
