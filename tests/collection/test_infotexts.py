"""The text in pictures of every kind that the WebUI saves, and the prompt in the text."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from lib_lora_train.collection.infotexts import prompt_of, read_infotext
from lib_lora_train.errors import UserError
from tests.helpers.pictures import encoded, gradient, png_with_chunk

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b"
INFOTEXT = f"1girl, (red hair:1.2)\nsmile <lora:x:1>\nNegative prompt: ugly, [blurry]\n{LINE}"
CHINESE = f"一个女孩, 红发 😀\n{LINE}"


def exif_of(comment: bytes) -> bytes:
    """As piexif writes it for the WebUI: the user comment alone. Pillow 9 does not write this part itself."""
    sub = struct.pack(">H2sHII", 1, b"\x92\x86", 7, len(comment), 44) + struct.pack(">I", 0)
    main = struct.pack(">H2sHII", 1, b"\x87\x69", 4, 1, 26) + struct.pack(">I", 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + main + sub + comment


def unicode_comment(text: str, order: str = "utf-16-be") -> bytes:
    return b"UNICODE\0" + text.encode(order)


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return encoded(gradient(), "PNG", pnginfo=info)


def read(data: bytes) -> str:
    return read_infotext(BytesIO(data), "x")


@pytest.mark.parametrize("text", [INFOTEXT, CHINESE], ids=["latin", "chinese"])
def test_png(text: str) -> None:
    assert read(png(parameters=text, postprocessing="Postprocess upscale by: 2")) == text
    assert read(png(parameters=text, comment="other")) == text
    compressed = zlib.compress(text.encode("utf-8"))
    assert read(png_with_chunk(encoded(gradient(), "PNG"), b"iTXt", b"parameters\0\1\0\0\0" + compressed)) == text


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("text", [INFOTEXT, CHINESE], ids=["latin", "chinese"])
@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
def test_user_comment(kind: str, text: str, order: str) -> None:
    assert read(encoded(gradient(), kind, exif=exif_of(unicode_comment(text, order)))) == text


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (b"ASCII\0\0\0" + INFOTEXT.encode(), INFOTEXT),
        (b"\0" * 8 + CHINESE.encode(), CHINESE),
        (CHINESE.encode(), CHINESE),
        (b"JIS\0\0\0\0\0" + "猫".encode("iso2022_jp"), "猫"),
        (b"UNICODE\0", ""),
        (b"UNICODE\0\xd8", ""),
        (b"", ""),
    ],
)
def test_other_character_sets(comment: bytes, text: str) -> None:
    assert read(encoded(gradient(), "JPEG", exif=exif_of(comment))) == text


def test_avif() -> None:
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    assert read(encoded(gradient(), "AVIF", exif=exif_of(unicode_comment(INFOTEXT)))) == INFOTEXT


def test_gif() -> None:
    assert read(encoded(gradient(), "GIF", comment=CHINESE.encode())) == CHINESE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pictures_that_say_nothing(kind: str) -> None:
    assert read(encoded(gradient(), kind)) == ""


def test_damage_is_no_error() -> None:
    bomb = b"parameters\0\0" + zlib.compress(bytes(200_000_000))
    assert read(png_with_chunk(encoded(gradient(), "PNG"), b"zTXt", bomb)) == ""
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        options: dict[str, Any] = {"comment": b"x"} if kind == "GIF" else {"exif": exif_of(unicode_comment(INFOTEXT))}
        whole = encoded(gradient(16, 16), kind, **options)
        for end in range(16, len(whole), 7):
            assert read(whole[:end]) in ("", "x", INFOTEXT)


@given(st.binary(max_size=80), st.integers(0, 300), st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_any_damage(noise: bytes, at: int, kind: str) -> None:
    whole = encoded(gradient(16, 16), kind, exif=exif_of(unicode_comment(INFOTEXT)))
    at = min(16 + at, len(whole))
    read(whole[:at] + noise + whole[at + len(noise) :]).encode("utf-8", "replace")


@pytest.mark.parametrize("data", [b"", b"girl", b"<svg></svg>", b"%PDF-1", b"PK\x03\x04"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        read(data)
    assert caught.value.code.startswith("image.") and caught.value.where == "x"


@pytest.mark.parametrize(
    ("infotext", "prompt"),
    [
        (INFOTEXT, "1girl, (red hair:1.2)\nsmile <lora:x:1>"),
        (CHINESE, "一个女孩, 红发 😀"),
        (f"Negative prompt: ugly\n{LINE}", ""),
        (LINE, ""),
        (f"girl\n{LINE}\nTemplate: girl {{a|b}}\nNegative Template: x", "girl"),
        (f"girl\nNegative prompt: a\nb\n{LINE}", "girl"),
        ("girl, red hair", "girl, red hair"),
        ("girl\r\nred hair\r\n", "girl\nred hair"),
        ("girl\nSeed: 1, Size: 64x64, Model: x", "girl"),
        ("girl: smile, hat: red", "girl: smile, hat: red"),
        ("Postprocess upscale by: 2, Postprocess upscaler: Lanczos", ""),
        ("", ""),
    ],
)
def test_the_prompt_in_it(infotext: str, prompt: str) -> None:
    assert prompt_of(infotext) == prompt


@given(st.text())
@example("\n" * 50_000)
@example("a: b," * 20_000)
@example('a: "' + "\\" * 20_000)
def test_any_text_has_a_prompt(text: str) -> None:
    assert prompt_of(text) == prompt_of(text).strip()
