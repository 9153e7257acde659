"""GrabCut without any hand: drawings before photographs, a photograph, and pictures that are odd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.grabcut import grabcut_matte, pick_subject
from tests.helpers.composites import composite, overlap, texture

cv2 = pytest.importorskip("cv2")


def disc(side: int, x: float, y: float, radius: float) -> np.ndarray:
    """float32 opacity with a smooth edge of one pixel."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) + 0.5
    return np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1)


def before(behind: np.ndarray, *discs: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    picture = behind.astype(np.float32)
    for alpha, colour in discs:
        picture = picture * (1 - alpha[:, :, None]) + alpha[:, :, None] * np.array(colour, np.float32)
    return np.rint(picture).astype(np.uint8)


def test_drawings_before_photographs_by_the_borders_alone():
    overlaps = []
    for seed in range(40):
        made = composite(seed)
        overlaps.append(overlap(grabcut_matte(made.picture), made.alpha))
    assert np.median(overlaps) >= 0.85, np.round(np.sort(overlaps), 2)
    assert np.mean(overlaps) >= 0.8


def test_drawings_before_photographs_with_their_face_known():
    overlaps, faces = [], []
    for seed in range(0, 40, 3):
        made = composite(seed)
        alpha = grabcut_matte(made.picture, [made.face])
        overlaps.append(overlap(alpha, made.alpha))
        x, y = map(int, made.face.box.center)
        around = int(made.face.box.width * 0.25)
        faces.append(alpha[y - around : y + around, x - around : x + around].min())
    assert np.median(overlaps) >= 0.85, np.round(np.sort(overlaps), 2)
    assert min(faces) > 0.98


def test_the_astronaut_and_not_what_is_behind_her():
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's photographs")
    alpha = grabcut_matte(data.astronaut(), [Face(Box(178, 66, 275, 188), 0.9, "photo")])
    assert alpha[85:165, 200:255].min() > 0.98  # the face
    assert alpha[30:60, 190:260].mean() > 0.85  # the hair
    assert alpha[280:420, 140:220].mean() > 0.98  # the suit
    assert alpha[:200, 320:].max() < 0.02  # wall and shuttle
    assert alpha[:150, :120].mean() < 0.1  # wall and flag


def test_a_small_face_behind_is_no_subject():
    near, far = disc(300, 100, 150, 50), disc(300, 250, 60, 12)
    picture = before(texture(1, (300, 300)), (near, (250, 30, 200)), (far, (250, 210, 30)))
    faces = [Face(Box(65, 115, 135, 185), 0.9, "drawn"), Face(Box(243, 53, 257, 67), 0.9, "drawn")]
    alpha = grabcut_matte(picture, faces)
    assert alpha[150, 100] > 0.98 and alpha[60, 250] < 0.02
    alpha = grabcut_matte(picture, faces[1:])
    assert alpha[60, 250] > 0.98


def test_edges_of_the_full_picture_are_soft_and_in_place():
    truth = disc(1500, 760.3, 800.6, 401.4)
    picture = before(texture(3, (1500, 1500)) * 0.5, (truth, (250, 240, 60)))
    alpha = grabcut_matte(picture)
    assert alpha.shape == (1500, 1500) and alpha.dtype == np.float32
    assert overlap(alpha, truth) > 0.995
    half = (truth > 0.05) & (truth < 0.95)
    assert np.abs(alpha - truth)[half].mean() < 0.17
    assert alpha[truth == 0].mean() < 0.003 and alpha[truth == 1].mean() > 0.997


def test_the_same_picture_gives_the_same_and_opencv_is_as_it_was():
    picture = composite(4).picture
    cv2.setRNGSeed(11)
    untouched = cv2.randu(np.zeros((4, 4), np.uint8), 0, 255)
    cv2.setRNGSeed(11)
    first = grabcut_matte(picture)
    after = cv2.randu(np.zeros((4, 4), np.uint8), 0, 255)
    np.testing.assert_array_equal(after, untouched)
    cv2.setRNGSeed(5)
    np.testing.assert_array_equal(grabcut_matte(picture), first)


@settings(max_examples=12)
@given(st.integers(16, 60), st.integers(16, 400), st.integers(0, 3), st.booleans())
def test_any_shape_and_any_face(height, width, kind, turned):
    shape = (width, height, 3) if turned else (height, width, 3)
    if kind == 0:
        picture = np.full(shape, 77, np.uint8)
    else:
        picture = np.random.default_rng(kind).integers(0, 256, shape, dtype=np.uint8)
    box = Box(-5, -5, shape[1] / kind, shape[0] + 9) if kind else Box(3, 3, 3, 9)
    for faces in ([], [Face(box, 0.5, "drawn")]):
        alpha = grabcut_matte(picture, faces)
        assert alpha.shape == shape[:2] and alpha.dtype == np.float32
        assert np.isfinite(alpha).all() and alpha.min() >= 0 and alpha.max() <= 1


def test_where_nothing_stands_out_all_is_kept():
    assert grabcut_matte(np.full((64, 90, 3), 200, np.uint8)).min() == 1.0


def test_picking_one_of_two():
    left, right = disc(400, 110, 220, 60), disc(400, 290, 220, 60)
    picture = before(texture(2, (400, 400)), (left, (250, 30, 30)), (right, (30, 30, 250)))
    boxed = pick_subject(picture, Box(215, 145, 365, 295))
    assert overlap(boxed, right) > 0.95
    pointed = pick_subject(picture, (110.0, 220.0))
    assert pointed[left == 1].mean() > 0.98 and overlap(pointed[:, :200], left[:, :200]) > 0.95
