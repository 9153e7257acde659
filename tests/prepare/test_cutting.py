"""One resize from the original pixels, in every mode."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.prepare.cutting import cut
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.vision.geometry import Box

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 4), np.uint8)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("L", 1)])
def test_what_is_not_resized_is_the_original(mode: str, channels: int) -> None:
    pixels = NOISE[..., :channels] if channels > 1 else NOISE[..., 0]
    image = Image.fromarray(np.ascontiguousarray(pixels), mode)
    found = cut(image, Crop(Box(10, 20, 74, 116), 64, 96))
    assert found.mode == mode
    assert np.array_equal(np.asarray(found), pixels[20:116, 10:74])
    mirrored = cut(image, Crop(Box(10, 20, 74, 116), 64, 96, mirror=True))
    assert np.array_equal(np.asarray(mirrored), pixels[20:116, 10:74][:, ::-1])


def lanczos(values: np.ndarray, start: float, end: float, count: int) -> np.ndarray:
    """Lanczos-3 along axis 0, of values between two places, from its definition."""
    scale = (end - start) / count
    reach = max(scale, 1.0)
    rows = []
    for index in range(count):
        place = start + (index + 0.5) * scale
        cells = np.arange(len(values))
        x = (cells + 0.5 - place) / reach
        weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
        rows.append(np.tensordot(weights / weights.sum(), values, axes=1))
    return np.stack(rows)


@pytest.mark.parametrize("box", [(10.25, 20.5, 130.75, 110.0), (3.3, 2.0, 23.3, 22.0)])
def test_one_lanczos_between_parts_of_pixels(box: tuple[float, float, float, float]) -> None:
    smooth = np.asarray(Image.fromarray(NOISE[:12, :16, :3]).resize((160, 120), Image.Resampling.BICUBIC))
    found = cut(Image.fromarray(smooth), Crop(Box(*box), 48, 40))
    left, top = int(box[0]), int(box[1])  # what lies outside the frame has no say
    inside = smooth[top : math.ceil(box[3]), left : math.ceil(box[2])].astype(np.float64)
    across = lanczos(inside.transpose(1, 0, 2), box[0] - left, box[2] - left, 48).transpose(1, 0, 2)
    wanted = lanczos(across.clip(0, 255), box[1] - top, box[3] - top, 40).clip(0, 255)
    assert np.abs(np.asarray(found) - wanted).max() <= 1.5


def test_colours_under_transparency_do_not_bleed() -> None:
    """A red disc, with green where nobody sees it."""
    y, x = np.mgrid[:200, :200]
    inside = (x - 100) ** 2 + (y - 100) ** 2 < 80**2
    image = np.where(inside[..., None], (220, 30, 30, 255), (0, 255, 0, 0)).astype(np.uint8)
    found = np.asarray(cut(Image.fromarray(image, "RGBA"), Crop(Box(0, 0, 200, 200), 64, 64)))
    seen = found[found[..., 3] > 8].astype(int)
    assert len(np.unique(found[..., 3])) > 10  # a soft edge
    assert np.abs(seen[:, :3] - (220, 30, 30)).max() <= 2


def test_a_frame_a_hair_outside_is_no_error() -> None:
    image = Image.fromarray(NOISE[..., :3])
    assert cut(image, Crop(Box(-1e-9, 0, 160.0000001, 120), 80, 60)).size == (80, 60)


def test_other_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="mode P"):
        cut(Image.new("P", (32, 32)), Crop(Box(0, 0, 32, 32), 16, 16))


def test_a_bar_outside_the_frame_does_not_shine_in() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    image[:40] = 255
    found = np.asarray(cut(Image.fromarray(image), Crop(Box(0, 40, 300, 200), 150, 80)))
    assert found.min() == found.max() == 90
