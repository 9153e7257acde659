"""Cutting out the subject without any model: GrabCut, seeded by faces and by the borders of the picture.

Rother, Kolmogorov and Blake, "GrabCut" (SIGGRAPH 2004), as OpenCV has it, in CIELAB. What it lacks for a picture that
nobody has marked is a first guess. Here that is: the top and the sides are background; a face is the subject, with a
body below it; and of the rest, what is unlike the border in colour and parted from it by barriers.

OpenCV starts its colour models from its random numbers. They are made here instead (`Mixture`) and handed over, so that
one picture always gives one result, and OpenCV's own state is neither used nor changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib_lora_train.vision.barrier import barrier_distance
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.mixtures import GRABCUT_PARTS, Mixture
from lib_lora_train.vision.refine import refine

_SIDE = 384  # pixels of the longer side that the cut is made on
_ROUNDS = 4
_RING = 0.06  # width of the border that is taken for background, as a share of the shorter side
_BORDER_PARTS = 8
_COMMON = 0.04  # share of the border whose colours are called unlike it
_GUESS = 0.55  # of the mean of unlikeness and barriers, both 0..1
_HOLE = 0.04  # holes below this share of the subject are filled: eyes, mouths, patterns
_SPECK = 0.12  # parts below this share of the largest are dropped, unless the subject lies in them
_OTHER_FACE = 0.2  # a face below this share of the largest belongs to the background


@dataclass(frozen=True)
class _Seeds:
    """bool (h, w) each: surely background, surely subject, and probably subject before any colour is looked at."""

    background: np.ndarray
    subject: np.ndarray
    likely: np.ndarray


def grabcut_matte(image: np.ndarray, faces: Sequence[Face] = ()) -> np.ndarray:
    """float32 (height, width) 0..1, with soft edges. `image` uint8 (height, width, 3) RGB.

    With no face the subject is what differs from the border; a picture in which nothing does is all subject.
    """
    small, factor = _reduced(image)
    near = [face.scaled(factor) for face in _main_faces(faces)]
    seeds = _seeds_of_faces(small.shape[:2], near) if near else _seeds_of_border(small.shape[:2])
    return refine(image, small, _cut(small, seeds, whole=not near))


def pick_subject(image: np.ndarray, place: Box | tuple[float, float]) -> np.ndarray:
    """As `grabcut_matte`, for what lies in a box, or for what a point (x, y) is on, in pixels of the picture."""
    small, factor = _reduced(image)
    height, width = small.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    if isinstance(place, Box):
        box = place.scaled(factor)
        inside = (columns >= box.left) & (columns < box.right) & (rows >= box.top) & (rows < box.bottom)
        x, y = box.center
        likely = _ellipse(rows, columns, x, y, 0.35 * box.width, 0.35 * box.height)
        seeds = _Seeds(~inside, np.zeros_like(inside), likely & inside)
    else:
        x, y = place[0] * factor, place[1] * factor
        radius = 0.02 * max(height, width)
        point = _ellipse(rows, columns, x, y, radius, radius)
        ring = _ring(height, width) & ~_ellipse(rows, columns, x, y, 3 * radius, 3 * radius)
        seeds = _Seeds(ring, point, _ellipse(rows, columns, x, y, 5 * radius, 5 * radius) & ~ring)
    return refine(image, small, _cut(small, seeds, whole=False))


def _reduced(image: np.ndarray) -> tuple[np.ndarray, float]:
    import cv2

    height, width = image.shape[:2]
    factor = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor


def _main_faces(faces: Sequence[Face]) -> list[Face]:
    largest = max((face.box.area for face in faces), default=0.0)
    return [face for face in faces if face.box.area > 0 and face.box.area >= _OTHER_FACE * largest]


# ---------------------------------------------------------------------- where to start


def _ring(height: int, width: int) -> np.ndarray:
    """The top and the sides; not the bottom, where most subjects leave the picture."""
    band = max(2, round(_RING * min(height, width)))
    ring = np.zeros((height, width), bool)
    ring[:band] = ring[:, :band] = ring[:, -band:] = True
    return ring


def _ellipse(rows: np.ndarray, columns: np.ndarray, x: float, y: float, half_x: float, half_y: float) -> np.ndarray:
    return ((columns - x) / max(half_x, 1.0)) ** 2 + ((rows - y) / max(half_y, 1.0)) ** 2 < 1.0


def _seeds_of_border(shape: tuple[int, int]) -> _Seeds:
    height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    ring = _ring(height, width)
    middle = _ellipse(rows, columns, 0.5 * width, 0.55 * height, 0.22 * width, 0.3 * height)
    return _Seeds(ring, np.zeros_like(ring), middle & ~ring)


def _seeds_of_faces(shape: tuple[int, int], faces: Sequence[Face]) -> _Seeds:
    """Head and body by the proportions of the face; a drawn face is as wide as the head and half as wide as the body,
    a photographed one a third of its shoulders.
    """
    height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    reach = np.zeros(shape, bool)  # hair, hats and arms lie within
    likely, subject, leaves = reach.copy(), reach.copy(), reach.copy()
    for face in faces:
        box, (x, y), size = face.box, face.box.center, (face.box.width + face.box.height) / 2
        shoulders, side = (1.25, 2.6) if face.kind == "photo" else (0.7, 1.5)
        aside = np.abs(columns - x)
        down = np.clip((rows - (box.top - 0.8 * box.height)) / (2.8 * box.height), 0.0, 1.0)
        reach |= (aside < (1.4 + 1.2 * down) * size) & (rows > box.top - 1.3 * box.height)
        spread = np.clip((rows - box.bottom) / (0.8 * box.height), 0.0, 1.0)
        body = aside < (0.4 + (shoulders - 0.4) * spread) * box.width
        likely |= _ellipse(rows, columns, x, y - 0.1 * box.height, 0.7 * box.width, 0.8 * box.height)
        likely |= body & (rows > y)
        subject |= _ellipse(rows, columns, x, y, 0.42 * box.width, 0.46 * box.height)
        subject |= (aside < 0.15 * box.width) & (rows >= y) & (rows < box.bottom + 0.9 * box.height)
        leaves |= (aside < side * box.width) & (rows > box.bottom - 0.3 * box.height)
    background = (_ring(height, width) & ~leaves) | ~reach
    return _Seeds(background & ~subject, subject, likely & ~background)


# ---------------------------------------------------------------------- the cut


def _cut(small: np.ndarray, seeds: _Seeds, whole: bool) -> np.ndarray:
    """uint8 (h, w), 0 or 1. Where nothing is found: all of it when `whole`, else what is likely."""
    import cv2

    if seeds.background.sum() < 16:  # a face that fills the picture
        return np.ones(small.shape[:2], np.uint8)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    guess = _unlike_border(lab, seeds.background)
    if not whole:
        guess = guess | seeds.likely
    guess = (guess & ~seeds.background) | seeds.subject
    if guess.mean() < 0.03:
        guess = guess | seeds.likely
    labels = np.where(guess, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[seeds.background] = cv2.GC_BGD
    labels[seeds.subject] = cv2.GC_FGD
    models = [Mixture.fit(lab[part], GRABCUT_PARTS).as_grabcut() for part in (~guess, guess)]
    cv2.grabCut(lab, labels, None, models[0], models[1], _ROUNDS, cv2.GC_EVAL)
    mask = _cleaned(((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8), seeds)
    if mask.any():
        return mask
    return np.ones_like(mask) if whole else (seeds.likely | seeds.subject).astype(np.uint8)


def _unlike_border(lab: np.ndarray, background: np.ndarray) -> np.ndarray:
    """bool (h, w): rare among the background's colours, and behind a barrier of colour; each may make up for the other."""
    import cv2

    height, width = background.shape
    border = Mixture.fit(lab[background], _BORDER_PARTS)
    likelihood = border.log_likelihood(lab.reshape(-1, 3)).reshape(height, width)
    rare = np.clip((np.quantile(likelihood[background], _COMMON) - likelihood) / 10.0, -1.0, 1.0) * 0.5 + 0.5
    barriers = barrier_distance(lab, background)
    parted = np.clip(barriers / max(float(np.quantile(barriers, 0.98)), 1.0), 0.0, 1.0)
    return cv2.blur((rare + parted).astype(np.float32) / 2.0, (5, 5)) > _GUESS


def _cleaned(mask: np.ndarray, seeds: _Seeds) -> np.ndarray:
    """Without specks, without small holes, and where the subject is known, without what lies apart from it."""
    import cv2

    count, parts, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask
    areas = facts[:, cv2.CC_STAT_AREA]
    kept = areas >= _SPECK * areas[1:].max()
    if seeds.subject.any():
        kept &= np.isin(np.arange(count), parts[seeds.likely])
    kept[np.unique(parts[seeds.subject])] = True
    kept[0] = False
    mask = kept[parts].astype(np.uint8)
    _, parts, facts, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    filled = facts[:, cv2.CC_STAT_AREA] < _HOLE * mask.sum()
    filled[0] = False
    return mask | filled[parts].astype(np.uint8)
