"""Lines of lettering laid over a picture: signatures, captions, watermarks."""

from __future__ import annotations

import math

import numpy as np

_SIDE = 448  # of the square whose area is looked at
_ANGLES = (0, -35, 35)  # degrees; letters are followed along slopes of up to 20 degrees from each
_STROKE = 15  # widest stroke, in pixels of the reduced picture
_CONTRAST = 12  # of strokes against what is around them, in levels
# Of the strongest contrast nearby, at which strokes end: letters that touch something part from it at the second.
_LEVELS = (0.5, 0.8)
_FEWEST = 5  # letters of a line
# Of `_is_lettering`, in its order: logistic regression on rows in pictures with and without watermarks, none of them of the
# half that benchmarks.health reports.
_WEIGHTS = (1.349, 5.771, -13.116, -2.144, -2.76, -4.629, -14.43, 0.624, -2.266, -4.679, 1.174)
_LEAST = 14.8


def lettering(image: np.ndarray) -> float:
    """Length of the longest line of letters as a share of the picture's width, 0 when there is none.

    Strokes stand out against their surroundings, light or dark (top-hat); letters are connected strokes of like height,
    thickness and contrast that follow each other on one line.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / math.sqrt(width * height))
    if scale < 1.0:
        image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    longest = 0.0
    # White ink raises the lowest channel most, black ink lowers the highest; so coloured grounds hide neither.
    for channel in (image.min(2), 255 - image.max(2)):
        for angle in _ANGLES:
            longest = max(longest, _line(*_turned(channel, angle)))
    return round(longest / image.shape[1], 4)


def _turned(grey: np.ndarray, angle: int) -> tuple[np.ndarray, np.ndarray | None]:
    import cv2

    if not angle:
        return grey, None
    height, width = grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = (int(height * sine + width * cosine), int(height * cosine + width * sine))
    turn[0, 2] += (size[0] - width) / 2
    turn[1, 2] += (size[1] - height) / 2
    picture = cv2.warpAffine(grey, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full_like(grey, 255), turn, size, flags=cv2.INTER_NEAREST)
    return picture, cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0


def _line(grey: np.ndarray, valid: np.ndarray | None) -> float:
    """Length of the longest line of letters, in pixels."""
    import cv2

    relief = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((_STROKE, _STROKE), np.uint8))
    strongest = cv2.dilate(relief, np.ones((11, 11), np.uint8))
    longest = 0.0
    for level in _LEVELS:
        ink = (relief >= _CONTRAST) & (relief >= strongest * level)
        if valid is not None:
            ink &= valid
        letters = _letters(grey, relief, ink.astype(np.uint8))
        longest = max(longest, _longest_row(letters)) if len(letters) >= _FEWEST else longest
    return longest


def _letters(grey: np.ndarray, relief: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """(n, 8): left, top, right, bottom, thickness of the strokes, contrast, its deviation, how much the ink hides, of what
    could be letters."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    if count < _FEWEST + 1:
        return np.zeros((0, 8))
    left, top, width, height, area = stats.T
    fill = area / np.maximum(width * height, 1)
    fits = (height >= 6) & (height <= 0.25 * ink.shape[0]) & (width >= 2) & (width <= 1.7 * height)
    fits &= (fill >= 0.13) & (fill <= 0.92) & (area >= 12)
    fits[0] = False
    if fits.sum() < _FEWEST:
        return np.zeros((0, 8))
    depth = cv2.distanceTransform(ink, cv2.DIST_L2, 3)
    there = ink.astype(bool)  # few pixels: of the ground nothing is asked
    flat, values = labels[there], relief[there].astype(np.float64)
    sums = np.bincount(flat, values, count)
    mean = sums / area
    deviation = np.sqrt(np.maximum(np.bincount(flat, values * values, count) / area - mean * mean, 0))
    thickness = 4 * np.bincount(flat, depth[there], count) / area
    brightness = np.bincount(flat, grey[there], count) / area
    columns = (left, top, left + width, top + height, thickness, mean, deviation, brightness)
    return np.stack(columns, axis=1)[fits].astype(np.float64)


def _longest_row(letters: np.ndarray) -> float:
    letters = letters[np.argsort(letters[:, 0], kind="stable")]
    left, top, right, bottom, thick, _, _, hides = letters.T
    height = bottom - top
    best = 0.0
    first, second = np.triu_indices(len(letters), 1) if len(letters) <= 1500 else _near(left)
    tall = np.maximum(height[first], height[second])
    gap = left[second] - right[first]
    joined = (gap <= 1.5 * tall) & (gap >= -0.25 * tall)
    joined &= tall <= 1.9 * np.minimum(height[first], height[second])
    middle = np.abs((top + bottom)[second] - (top + bottom)[first]) / 2
    foot = np.minimum(np.abs(bottom[second] - bottom[first]), middle)
    joined &= foot <= 0.3 * tall
    joined &= np.maximum(thick[first], thick[second]) <= 1.6 * np.minimum(thick[first], thick[second])
    # One ink hides the same share of every ground, whatever contrast that makes.
    joined &= np.maximum(hides[first], hides[second]) <= 1.45 * np.minimum(hides[first], hides[second])
    for row in _groups(len(letters), first[joined], second[joined]):
        if len(row) >= _FEWEST and _is_lettering(letters[row], letters):
            best = max(best, float(right[row].max() - left[row].min()))
    return best


def _near(left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of each letter and the 200 that begin after it."""
    offsets = np.arange(1, 201)
    first = np.repeat(np.arange(len(left)), len(offsets))
    second = first + np.tile(offsets, len(left))
    kept = second < len(left)
    return first[kept], second[kept]


def _groups(count: int, first: np.ndarray, second: np.ndarray) -> list[list[int]]:
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        parent[root(one)] = root(other)
    groups: dict[int, list[int]] = {}
    for item in range(count):
        groups.setdefault(root(item), []).append(item)
    return list(groups.values())


def _is_lettering(row: np.ndarray, every: np.ndarray) -> bool:
    """A linear score of what tells lettering from rows that chance makes of a texture: many letters, their feet on one
    straight line, even strokes, strong contrast, and little of the kind around them."""
    left, top, right, bottom, thick, contrast, deviation, hides = row.T
    tall = float(np.median(bottom - top))
    length = float(right.max() - left.min())
    slope, start = np.polyfit((left + right) / 2, bottom, 1)
    off = np.abs(bottom - (slope * (left + right) / 2 + start)) / tall
    across, down = (every[:, 0] + every[:, 2]) / 2, (every[:, 1] + every[:, 3]) / 2
    near = (across > left.min() - 2 * tall) & (across < right.max() + 2 * tall)
    near &= (down > top.min() - 1.5 * tall) & (down < bottom.max() + 1.5 * tall)
    high = every[:, 3] - every[:, 1]
    near &= (high > 0.5 * tall) & (high < 2 * tall) & (every[:, 5] > 0.6 * float(np.median(contrast)))
    around = max(int(near.sum()) - len(row), 0)
    values = (
        math.log(len(row)),
        math.log(length / tall),
        min(float(np.median(off)), 0.6),
        min(float(np.percentile(off, 80)), 1.0),
        float(thick.std() / thick.mean()),
        float(hides.std() / hides.mean()),
        float((deviation / contrast).mean()),
        float((thick / tall).mean()),
        float((bottom - top).std()) / tall,
        math.log1p(around / len(row)),
        math.log(float(contrast.mean())),
    )
    return sum(weight * value for weight, value in zip(_WEIGHTS, values, strict=True)) > _LEAST
