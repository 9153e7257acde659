"""Opening pictures: pixels by the stated rules, upright once, sizes from headers, and no surprise from damaged bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora_train.dataset import images
from lib_lora_train.dataset.images import open_image, read_size
from lib_lora_train.errors import UserError
from tests.helpers.pictures import (
    blank_png,
    cmyk_profile,
    encoded,
    gradient,
    png_with_chunk,
    with_orientation,
)


def opened(tmp_path: Path, data: bytes, name: str = "x.png"):
    path = tmp_path / name
    path.write_bytes(data)
    return open_image(path)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_exactly_once(tmp_path, kind, orientation):
    data = with_orientation(gradient(), orientation, kind)
    picture = opened(tmp_path, data, f"x.{kind.lower()}")
    assert read_size(tmp_path / f"x.{kind.lower()}") == picture.image.size == (96, 64)
    assert np.abs(pixels(picture.image) - pixels(gradient())).mean() < (0 if kind in ("PNG", "TIFF") else 12) + 0.001


def test_orientation_behind_the_pixels_of_a_png_is_seen_by_both(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png_with_chunk(encoded(gradient(), "PNG"), b"eXIf", exif.tobytes()[6:], before=b"IEND")
    assert opened(tmp_path, data).image.size == read_size(tmp_path / "x.png") == (64, 96)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_says_nothing_about_the_pixels(tmp_path):
    data = encoded(gradient(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01")
    assert opened(tmp_path, data, "x.jpg").image.size == (96, 64)
    assert read_size(tmp_path / "x.jpg") == (96, 64)


def test_sixteen_bits_are_divided_by_257(tmp_path):
    values = np.array([[0, 128, 129, 256, 257, 32767, 32768, 65535] * 2] * 16, dtype=np.uint16)
    picture = opened(tmp_path, encoded(Image.fromarray(values), "PNG"))
    assert pixels(picture.image)[0, :8, 0].tolist() == [0, 0, 1, 1, 1, 127, 128, 255]
    assert [note.code for note in picture.notes] == ["image.16_bit"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255, -5], [0, 100, 255, 0]),
        ([0, 257, 65535, 32896], [0, 1, 255, 128]),
        ([0, 600_000, 1_000_000, -1], [0, 153, 255, 0]),
    ],
)
def test_whole_numbers_of_32_bits(tmp_path, values, expected):
    image = Image.fromarray(np.array([values * 4] * 16, dtype=np.int32))
    assert pixels(opened(tmp_path, encoded(image, "TIFF"), "x.tif").image)[0, :4, 1].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, 0.5, 1.0, -2.0], [0, 128, 255, 0]), ([0.0, 100.0, 400.0, 200.0], [0, 64, 255, 128])]
)
def test_floats(tmp_path, values, expected):
    image = Image.fromarray(np.array([values * 4] * 16, dtype=np.float32))
    assert pixels(opened(tmp_path, encoded(image, "TIFF"), "x.tif").image)[0, :4, 2].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_refused(tmp_path, value):
    image = Image.fromarray(np.full((16, 16), value, dtype=np.float32))
    with pytest.raises(UserError) as caught:
        opened(tmp_path, encoded(image, "TIFF"), "x.tif")
    assert caught.value.code == "image.not_finite"


def test_transparency_is_put_on_white(tmp_path):
    image = Image.new("RGBA", (16, 16), (200, 0, 100, 0))
    image.paste((200, 0, 100, 255), (0, 0, 8, 16))
    image.paste((200, 0, 100, 51), (0, 8, 8, 16))
    result = opened(tmp_path, encoded(image, "PNG")).image
    assert result.getpixel((0, 0)) == (200, 0, 100)
    assert result.getpixel((12, 0)) == (255, 255, 255)
    assert result.getpixel((0, 12)) == (244, 204, 224)


def test_colour_key_transparency_is_put_on_white(tmp_path):
    image = Image.new("RGB", (16, 16), (10, 20, 30))
    image.paste((200, 200, 0), (0, 0, 8, 16))
    result = opened(tmp_path, encoded(image, "PNG", transparency=(10, 20, 30))).image
    assert (result.getpixel((0, 0)), result.getpixel((12, 0))) == ((200, 200, 0), (255, 255, 255))


def test_opaque_alpha_changes_nothing_and_is_not_worth_a_note(tmp_path):
    picture = opened(tmp_path, encoded(gradient().convert("RGBA"), "PNG"))
    assert np.array_equal(pixels(picture.image), pixels(gradient()))
    assert picture.notes == []


def test_cmyk_goes_through_its_profile(tmp_path):
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    with_profile = opened(tmp_path, encoded(cyan, "JPEG", icc_profile=cmyk_profile()), "x.jpg")
    assert with_profile.image.getpixel((5, 5)) == (188, 188, 188)
    assert with_profile.notes == []
    broken = opened(tmp_path, encoded(cyan, "JPEG", icc_profile=b"junk" * 40), "x.jpg")
    assert broken.image.getpixel((5, 5)) == (0, 255, 255)
    assert [note.code for note in broken.notes] == ["image.icc", "image.cmyk"]


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    picture = opened(tmp_path, encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "x.gif")
    assert picture.image.getpixel((5, 5)) == (255, 0, 0)
    assert [note.code for note in picture.notes] == ["image.first_frame"]


def test_photo_with_its_own_preview_is_one_picture(tmp_path):
    data = encoded(gradient(), "MPO", save_all=True, append_images=[gradient(48, 32)])
    picture = opened(tmp_path, data, "x.jpg")
    assert (picture.image.size, picture.notes) == ((96, 64), [])


@pytest.mark.parametrize("width", [8000, 8001])
def test_pixel_limit_is_inclusive_and_read_from_the_header(tmp_path, monkeypatch, width):
    path = tmp_path / "x.png"
    path.write_bytes(blank_png(width, 8000))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    if width == 8000:
        assert read_size(path) == (8000, 8000)
    else:
        for call in (read_size, open_image):
            with pytest.raises(UserError) as caught:
                call(path)
            assert caught.value.code == "image.too_large"
            assert "64" in caught.value.sentence()


def test_file_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    with pytest.raises(UserError) as caught:
        opened(tmp_path, encoded(gradient(), "PNG"))
    assert caught.value.code == "image.too_heavy"


@pytest.mark.parametrize(
    ("data", "code", "part"),
    [
        (b"8BPS\x00\x01", "image.foreign", "Photoshop"),
        (b"\xff\x0a\x00\x00", "image.foreign", "JPEG XL"),
        (b"%PDF-1.7", "image.foreign", "PDF"),
        (b"version https://git-lfs.github.com/spec/v1", "image.foreign", "Git LFS"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00", "image.foreign", "MP4"),
        (b"\xc5\xd0\xd3\xc6\x1e\x00", "image.eps", "program"),
        (b"\xef\xbb\xbf\n<svg xmlns='x'>", "image.svg", "SVG"),
        (b"  <html><body>", "image.html", "web page"),
        (b"P6 1 1 255 abc", "image.unknown", "format"),
        (b"RIFF\x40\x00\x00\x00WEBPVP8 junk", "image.damaged", "damaged"),
    ],
)
def test_what_is_refused_says_what_it_is(tmp_path, data, code, part):
    for call in (open_image, read_size):
        path = tmp_path / "x.jpg"
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            call(path)
        assert caught.value.code == code
        assert "x.jpg" in caught.value.sentence()
        assert part in caught.value.sentence()
        assert str(tmp_path) not in caught.value.text()


def test_no_external_program_is_started_for_eps(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", lambda *args, **kwargs: pytest.fail("started a program"))
    with pytest.raises(UserError):
        opened(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "x.jpg")


SAMPLES = {
    "x.png": encoded(gradient(40, 30).convert("RGBA"), "PNG"),
    "x.jpg": with_orientation(gradient(40, 30), 6),
    "x.gif": encoded(gradient(40, 30), "GIF", save_all=True, append_images=[gradient(40, 30).rotate(180)]),
    "x.webp": encoded(gradient(40, 30), "WEBP"),
    "x.bmp": encoded(gradient(40, 30), "BMP"),
    "x.tif": encoded(gradient(40, 30), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    st.integers(0, 5000),
)
def test_damaged_bytes_give_a_picture_or_a_sentence(tmp_path, name, changes, keep):
    data = bytearray(SAMPLES[name])
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path / name
    path.write_bytes(bytes(data) if keep > 2500 else bytes(data[: keep % len(data)]))
    try:
        size = read_size(path)
        picture = open_image(path).image
    except UserError as error:
        assert error.code.startswith("image.")
        assert name in error.sentence()
    else:
        assert picture.mode == "RGB"
        assert min(*size, *picture.size) >= images.MIN_SIDE
