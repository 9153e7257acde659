"""Clean edges, other backgrounds, masks for the loss, and masks that come from a browser."""

from __future__ import annotations

import struct
import tempfile
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.matting import check_mask, clean_edges, on_background, to_mask
from lib_lora_train.prepare.tables import MatteSettings
from tests.helpers.composites import composite

pytest.importorskip("cv2")

GREEN, RED = (20, 200, 40), (230, 20, 60)


def set_to(background: str, **values: object) -> MatteSettings:
    return MatteSettings(background=background, **values)


def disc(side: int = 120, radius: float = 34.0, soft: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side].astype(np.float32) + 0.5
    return np.clip((radius - np.hypot(columns - side / 2, rows - side / 2)) / soft + 0.5, 0, 1).astype(np.float32)


def red_before_green(alpha: np.ndarray) -> np.ndarray:
    mixed = np.array(GREEN) * (1 - alpha[:, :, None]) + np.array(RED) * alpha[:, :, None]
    return np.rint(mixed).astype(np.uint8)


# ---------------------------------------------------------------------- edges


def test_edge_colours_of_forty_drawings_before_photographs():
    errors, before = [], []
    for seed in range(40):
        made = composite(seed)
        half = (made.alpha > 0.02) & (made.alpha < 0.98)
        cleaned = clean_edges(made.picture, made.alpha)
        errors.append(np.abs(cleaned.astype(float) - made.subject)[half].mean())
        before.append(np.abs(made.picture.astype(float) - made.subject)[half].mean())
        apart = (made.alpha == 0) | (made.alpha == 1)
        np.testing.assert_array_equal(cleaned[apart], made.picture[apart])
    assert max(errors) <= 8 and np.mean(errors) <= 3
    assert np.mean(before) > 25  # there was something to clean


@pytest.mark.parametrize("soft", [1.0, 12.0, 60.0])
def test_edges_of_any_softness_lose_the_old_background(soft):
    alpha = disc(soft=soft)
    cleaned = clean_edges(red_before_green(alpha), alpha)
    half = (alpha > 0.05) & (alpha < 0.99)
    assert np.abs(cleaned[half].astype(float) - RED).mean() < 4
    white = np.asarray(on_background(cleaned, alpha, set_to("white"), 0), float)
    truth = 255 * (1 - alpha[:, :, None]) + np.array(RED) * alpha[:, :, None]
    assert np.abs(white - truth).max() < 20


def test_what_is_seen_through_keeps_its_pattern():
    stripes = np.where((np.arange(120) // 4 % 2)[None, :, None] > 0, np.array(RED), np.array((120, 60, 200)))
    stripes = np.broadcast_to(stripes, (120, 120, 3)).astype(float)
    alpha = disc()
    alpha[40:80, 40:80] = 0.9
    picture = np.rint(np.array(GREEN) * (1 - alpha[:, :, None]) + stripes * alpha[:, :, None]).astype(np.uint8)
    cleaned = clean_edges(picture, alpha).astype(float)
    assert np.abs(cleaned - stripes)[44:76, 44:76].mean() < 14
    assert cleaned[60, 42:78, 0].std() > 0.7 * stripes[60, 42:78, 0].std()


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.5, 1.0, None]))
def test_edges_of_any_shape_and_opacity(height, width, level):
    rng = np.random.default_rng(height * 41 + width)
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    alpha = rng.random((height, width), np.float32) if level is None else np.full((height, width), level, np.float32)
    cleaned = clean_edges(picture, alpha)
    assert cleaned.shape == picture.shape and cleaned.dtype == np.uint8
    if level == 0.5:  # nothing tells the two apart
        np.testing.assert_array_equal(cleaned, picture)


# ---------------------------------------------------------------------- backgrounds


@pytest.mark.parametrize(
    ("settings", "colour"),
    [
        (set_to("white"), (255, 255, 255)),
        (set_to("grey"), (128, 128, 128)),
        (set_to("colour", colour="#12abEF"), (0x12, 0xAB, 0xEF)),
        (set_to("colour", colour=" #808080 "), (128, 128, 128)),
    ],
)
def test_colours(settings, colour):
    alpha = disc()
    picture = red_before_green(alpha)
    found = on_background(clean_edges(picture, alpha), alpha, settings, 0)
    assert found.mode == "RGB" and found.size == (120, 120)
    assert found.getpixel((0, 0)) == colour and found.getpixel((60, 60)) == RED
    column = np.asarray(found)[60, :, 1].astype(float)
    low, high = sorted((RED[1], colour[1]))
    assert low - 2 <= column.min() and column.max() <= high + 2  # no green between


@pytest.mark.parametrize("colour", ["", "red", "#12345", "#1234567", "#12345g", "12345678", "#１２３４５６"])
def test_what_is_no_colour_is_said(colour):
    with pytest.raises(UserError) as error:
        on_background(
            np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.float32), set_to("colour", colour=colour), 0
        )
    assert error.value.code == "matte.colour" and error.value.where == "colour"


@pytest.mark.parametrize("background", ["none", "mask"])
def test_the_picture_stays_untouched_for_a_mask(background):
    alpha = disc()
    picture = red_before_green(alpha)
    found = on_background(picture, alpha, set_to(background, feather=9.0), 0)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), picture)


def test_transparent_hides_the_old_background_even_from_who_drops_the_transparency():
    alpha = disc()
    found = on_background(red_before_green(alpha), alpha, set_to("transparent"), 0)
    assert found.mode == "RGBA"
    pixels = np.asarray(found)
    np.testing.assert_array_equal(pixels[:, :, 3], np.rint(alpha * 255))
    assert (pixels[alpha == 0][:, :3] == 255).all() and tuple(pixels[60, 60]) == (*RED, 255)


def test_blurred_is_the_background_alone():
    rows = np.arange(200)[:, None]
    behind = np.dstack([np.zeros((200, 300)), np.broadcast_to(rows, (200, 300)), np.full((200, 300), 180)])
    alpha = np.zeros((200, 300), np.float32)
    alpha[60:, 90:210] = 1
    picture = np.where(alpha[:, :, None] > 0, np.array([255, 255, 0]), behind).astype(np.uint8)
    found = np.asarray(on_background(picture, alpha, set_to("blur"), 0)).astype(int)
    outside = alpha == 0
    assert found[outside][:, 0].max() <= 1  # nothing of the subject's red
    assert np.abs(found[outside] - behind[outside]).max() < 12  # a slope stays a slope
    np.testing.assert_array_equal(found[alpha == 1], picture[alpha == 1])
    everything = on_background(picture, np.ones_like(alpha), set_to("blur"), 0)
    np.testing.assert_array_equal(np.asarray(everything), picture)


def test_noise_is_the_same_everywhere_and_by_its_seed():
    empty = np.zeros((64, 50), np.float32)
    picture = np.zeros((64, 50, 3), np.uint8)
    first = np.asarray(on_background(picture, empty, set_to("noise"), 7))
    np.testing.assert_array_equal(first, np.asarray(on_background(picture, empty, set_to("noise"), 7)))
    assert (first != np.asarray(on_background(picture, empty, set_to("noise"), 8))).mean() > 0.9
    assert first[0, :2].ravel().tolist() == [139, 74, 229, 241, 169, 65]
    assert abs(first.mean() - 127.5) < 3 and abs(first.std() - 73.9) < 2


@pytest.mark.parametrize("feather", [2.0, 4.0, 32.0])
def test_a_soft_edge_brings_nothing_of_the_old_background_back(feather):
    alpha = disc(radius=40)
    found = np.asarray(
        on_background(clean_edges(red_before_green(alpha), alpha), alpha, set_to("white", feather=feather), 0)
    )
    assert (found[alpha == 0] == 255).all()
    assert found[:, :, 0].min() >= 220  # from the subject's red to white, no green between
    across = found[60, 60:110, 1].astype(int)
    assert (np.diff(across) >= 0).all()
    rising = ((across > RED[1] + 5) & (across < 250)).sum()
    assert rising >= min(feather, 20) / 2
    assert np.diff(across).max() < 400 / feather + 20  # it ends in nothing, not in a step


# ---------------------------------------------------------------------- masks


def test_masks_are_white_where_is_learned():
    mask = to_mask(disc())
    assert mask.mode == "L" and mask.getpixel((60, 60)) == 255 and mask.getpixel((0, 0)) == 0
    soft = np.asarray(to_mask(disc(), feather=8.0)).astype(int)
    assert 100 < soft[60, 94] < 155 and 5 < soft[60, 100] < 100 and 155 < soft[60, 88] < 250
    wild = np.asarray(to_mask(np.array([[-3.0, 9.0]] * 16, np.float32)))
    assert wild.min() == 0 and wild.max() == 255


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P", "LA"])
def test_a_mask_of_the_browser_is_read_in_any_grey_mode(mode):
    grey = Image.fromarray(np.where(disc(100) > 0.5, 255, 0).astype(np.uint8))
    found = check_mask(png(grey.convert(mode)), (100, 100))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(grey, np.float32) / 255)


@pytest.mark.parametrize(
    ("drawn", "size"), [((80, 60), (800, 600)), ((800, 600), (80, 60)), ((1600, 1067), (6000, 4000))]
)
def test_a_mask_is_brought_to_the_picture_from_any_scale(drawn, size):
    values = np.zeros((drawn[1], drawn[0]), np.uint8)
    values[:, drawn[0] // 2 :] = 255
    found = check_mask(png(Image.fromarray(values)), size)
    assert found.shape == (size[1], size[0]) and found.min() == 0 and found.max() == 1
    assert found.mean() == pytest.approx(0.5, abs=0.01) and found[:, : size[0] // 3].max() == 0


def head_only(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


GOOD = png(Image.new("L", (64, 64), 255))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "matte.mask_no_png"),
        (b"<html>", "matte.mask_no_png"),
        (b"GIF89a" + bytes(50), "matte.mask_no_png"),
        (GOOD + bytes(32_000_000), "matte.mask_too_heavy"),
        (png(Image.new("L", (64, 60))), "matte.mask_shape"),
        (png(Image.new("L", (9000, 16))), "matte.mask_too_large"),
        (png(Image.new("RGB", (64, 64), (255, 0, 0))), "matte.mask_not_grey"),
        (png(Image.new("L", (8, 8))), "image.too_small"),
        (head_only(60000, 60000), "image."),
        (GOOD[: len(GOOD) // 2], "image."),
        (GOOD[:40] + b"xxxx" + GOOD[44:], "image."),
    ],
)
def test_what_is_no_mask_is_refused_with_a_sentence(data, code, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError) as error:
        check_mask(data, (64, 64))
    assert error.value.code.startswith(code)
    assert not list(tmp_path.iterdir())


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 120))
def test_no_bytes_do_more_than_that(data, place):
    for tried in (data, b"\x89PNG\r\n\x1a\n" + data, GOOD[:place] + data + GOOD[place + len(data) :]):
        try:
            found = check_mask(tried, (64, 64))
        except UserError:
            continue
        assert found.shape == (64, 64) and 0 <= found.min() <= found.max() <= 1
