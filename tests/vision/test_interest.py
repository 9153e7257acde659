"""Where a picture has most to see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.interest import interest, saliency


def noise_at(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((height, width, 3), 120, np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = np.random.default_rng(0).integers(0, 256, (bottom - top, right - left, 1), np.uint8)
    return image


@pytest.mark.parametrize("left", [20, 300, 700])
def test_the_only_thing_is_in_the_middle_of_the_crop(left: int) -> None:
    seen = interest(noise_at(1000, 400, (left, 120, left + 160, 260)))
    assert seen.density.sum() == pytest.approx(1)
    box = seen.best(400, 400, Box(0, 0, 1000, 400))
    assert box.left <= left + 5
    assert left + 155 <= box.right
    wanted = min(max(left + 80 - 200, 0), 600)
    assert box.left == pytest.approx(wanted, abs=60)


def test_faces_weigh_more_than_noise_unless_told_otherwise() -> None:
    image = noise_at(1000, 400, (760, 100, 960, 300))
    face = Face(Box(60, 120, 160, 240), 0.9, "photo")
    frame = Box(0, 0, 1000, 400)
    assert interest(image, [face], face=0.9, entropy=0.15, edges=0.5).within(Box(0, 0, 400, 400)) > 0.4
    assert interest(image, [face], face=1.0, entropy=0.0, edges=0.0).best(400, 400, frame).left < 60
    assert interest(image, [face], face=0.0).best(400, 400, frame).right > 960


def test_what_was_shown_counts_nothing_any_more() -> None:
    image = noise_at(1000, 400, (40, 120, 200, 260))
    image[100:300, 760:960] = noise_at(200, 200, (0, 0, 200, 200))
    seen, frame = interest(image), Box(0, 0, 1000, 400)
    first = seen.best(300, 300, frame)
    second = seen.best(300, 300, frame, avoid=[first])
    assert first.overlap(second) == 0


def test_saliency_is_where_the_pattern_breaks() -> None:
    """Tall stripes among irregular blotches."""
    blotches = np.random.default_rng(5).normal(size=(16, 16)).astype(np.float32)
    grey = 128 + 30 * cv2.resize(blotches, (128, 128), interpolation=cv2.INTER_CUBIC)
    grey[32:48, 80:96] = np.where(np.arange(16) % 6 < 3, 60, 200)
    found = saliency(grey)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert abs(x - 88) < 12
    assert abs(y - 40) < 12
    assert saliency(np.full((40, 60), 7, np.float32)).max() == 0


def test_one_colour_has_its_interest_in_the_middle() -> None:
    box = interest(np.full((300, 900, 3), 255, np.uint8)).best(300, 300, Box(0, 0, 900, 300))
    assert box.as_list() == [300, 0, 600, 300]


@given(
    width=st.integers(16, 400),
    height=st.integers(16, 400),
    shares=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    weights=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_the_best_place_is_inside(
    width: int, height: int, shares: tuple[float, float], weights: tuple[float, float, float]
) -> None:
    image = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    face, entropy, edges = weights
    seen = interest(image, [Face(Box(2, 2, 12, 14), 1.0, "photo")], face=face, entropy=entropy, edges=edges)
    assert np.isfinite(seen.density).all()
    box = seen.best(width * shares[0], height * shares[1], Box(0, 0, width, height))
    assert box.left >= 0
    assert box.top >= 0
    assert box.right <= width + 1e-6
    assert box.bottom <= height + 1e-6
    assert 0 <= seen.within(box) <= 1 + 1e-9
