"""What goes into a tagger, against the description of the WD v3 models by their author, written down once more here."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.vision.tagger import prepared


def described(image: Image.Image, side: int) -> np.ndarray:
    """float64 RGB (side, side, 3) 0..255: alpha on white, a white square around the middle, bicubic."""
    rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    colour = np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha))
    height, width = colour.shape[:2]
    longest = max(height, width)
    square = np.full((longest, longest, 3), 255.0)
    top, left = (longest - height) // 2, (longest - width) // 2
    square[top : top + height, left : left + width] = colour
    whole = Image.fromarray(square.astype(np.uint8))
    return np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC)).astype(np.float64)


def photographs() -> list[Image.Image]:
    data = pytest.importorskip("skimage.data", reason="photographs come with scikit-image")
    return [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]


def painted(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 4), dtype=np.uint8), "RGBA")
    return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("side", [448, 128])
def test_photographs_as_described(side: int) -> None:
    for image in photographs():
        for picture in (image, image.rotate(90, expand=True), image.resize((1500, 900)), image.crop((3, 5, 120, 60))):
            assert np.abs(prepared(picture, side) - described(picture, side)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
@pytest.mark.parametrize("size", [(64, 64), (101, 40), (40, 101), (16, 300), (700, 700)])
def test_every_mode_and_shape_as_described(mode: str, size: tuple[int, int]) -> None:
    image = painted(*size, "RGBA").convert(mode)
    found = prepared(image, 96)
    assert found.dtype == np.uint8
    assert found.shape == (96, 96, 3)
    assert np.abs(found - described(image, 96)).max() <= 1


def test_a_transparent_palette_is_white_where_it_is_clear() -> None:
    image = Image.new("P", (10, 20), 0)
    image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    image.info["transparency"] = 0
    assert (prepared(image, 20) == 255).all()


def test_padding_is_white_and_in_the_middle() -> None:
    found = prepared(Image.new("RGB", (40, 20), (0, 0, 0)), 40)
    assert (found[:10] == 255).all()
    assert (found[30:] == 255).all()
    assert (found[10:30] == 0).all()


def test_a_jpeg_is_decoded_in_full() -> None:
    """A decoder that reduces on its way is tens of grey levels off."""
    source = BytesIO()
    painted(1024, 1024).save(source, "JPEG", quality=95)
    with Image.open(source) as image:
        image.load()
        assert np.abs(prepared(image, 448) - described(image, 448)).max() <= 1
