"""The 73 kinds of input that users bring, each with its declared outcome.

`used`: the picture trains, with the note named where there is one. `skipped`: reported and left out. `ignored`: not
taken for a picture at all. `refused`: the whole scan ends with the error named, as nothing is left to train on.
"""

from __future__ import annotations

import errno
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.pictures import (
    blank_png,
    cmyk_profile,
    encoded,
    gradient,
    png_with_chunk,
    with_orientation,
    write_picture,
)

FALLBACK = "a hero"  # class tokens of the concept folder
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 64
AVIF = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf" + b"\x00" * 64


@dataclass(frozen=True)
class Kind:
    """`build` puts the input into the concept folder `10_a hero`; `where` is the file the outcome is about."""

    name: str
    build: Callable[[Path], object]
    outcome: str
    code: str = ""
    where: str = "x.png"
    caption: str | None = FALLBACK  # None: not looked at
    good: bool = True  # whether a good picture lies beside it
    posix: bool = False  # needs links, pipes or rights as Linux and macOS have them


def _file(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def _picture(name: str, image: Image.Image, kind: str = "PNG", **options: object) -> Callable[[Path], object]:
    return _file(name, encoded(image, kind, **options))


def _caption(data: bytes | None, ending: str = ".txt") -> Callable[[Path], object]:
    def build(folder: Path) -> None:
        write_picture(folder / "x.png")
        if data is not None:
            (folder / f"x{ending}").write_bytes(data)

    return build


def _palette(transparent: bool) -> Image.Image:
    image = gradient().quantize(16)
    if transparent:
        image.info["transparency"] = 0
    return image


def _sixteen_bit() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16))


def _frames(kind: str) -> bytes:
    frames = [gradient().rotate(90 * turn) for turn in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def _cut(kind: str) -> bytes:
    data = encoded(gradient(200, 200), kind)
    return data[: len(data) * 2 // 3]


def _bad_crc() -> bytes:
    data = bytearray(encoded(gradient(), "PNG"))
    data[data.index(b"IEND") - 5] ^= 0xFF  # last byte of the pixels' check sum
    return bytes(data)


def _link(target: Callable[[Path], Path]) -> Callable[[Path], object]:
    return lambda folder: (folder / "x.png").symlink_to(target(folder))


def _outside(folder: Path) -> Path:
    return write_picture(folder.parents[1] / "elsewhere" / "secret.png")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "x.png")
    (folder / "y.png").mkdir()


def _unreadable(folder: Path) -> None:
    write_picture(folder / "x.png").chmod(0)


def _read_only(folder: Path) -> None:
    write_picture(folder / "x.png")
    folder.chmod(0o555)


def _twins(folder: Path) -> None:
    write_picture(folder / "x.png")
    (folder / "x.jpg").write_bytes(encoded(gradient(), "JPEG"))


def _long_path(folder: Path) -> None:
    deep = folder / "/".join(["deep" * 12] * 6)
    write_picture(deep / "y.png")
    (folder / "x.png").symlink_to(deep / "y.png")


def _bomb() -> bytes:
    """Twenty times what Pillow unpacks of a text chunk before it refuses the picture."""
    return zlib.compress(b"a" * 20_000_000, 1)


def _zip(inner: bytes | None) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("图.png" if inner is None else "inner.zip", inner or encoded(gradient(), "PNG"))
        archive.writestr("\u00e9.png".encode("cp437").decode("latin-1"), b"x")
    return buffer.getvalue()


def _nested(folder: Path) -> None:
    write_picture(folder / "more" / "x.png")


IMAGES = [
    Kind("0 bytes", _file("x.png", b""), "skipped", "image.empty"),
    Kind("cut PNG", _file("x.png", _cut("PNG")), "skipped", "image.truncated"),
    Kind("cut JPEG", _file("x.jpg", _cut("JPEG")), "skipped", "image.truncated", "x.jpg"),
    Kind("bad CRC", _file("x.png", _bad_crc()), "skipped", "image.damaged"),
    Kind("HTML as .png", _file("x.png", b"<!DOCTYPE html><html>404</html>"), "skipped", "image.html"),
    Kind("JPEG as .png", _picture("x.png", gradient(), "JPEG"), "used", "image.suffix"),
    Kind("PNG as .jpg", _picture("x.jpg", gradient()), "used", "image.suffix", "x.jpg"),
    Kind("CMYK", _picture("x.jpg", gradient().convert("CMYK"), "JPEG"), "used", "image.cmyk", "x.jpg"),
    Kind(
        "CMYK with ICC",
        _picture("x.jpg", gradient().convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        "used",
        "",
        "x.jpg",
    ),
    Kind("16-bit grey", _picture("x.png", _sixteen_bit()), "used", "image.16_bit"),
    Kind(
        "float TIFF",
        _picture("x.tif", Image.fromarray(np.linspace(0, 1, 96 * 64, dtype=np.float32).reshape(64, 96)), "TIFF"),
        "used",
        "image.float",
        "x.tif",
    ),
    Kind("1-bit", _picture("x.png", gradient().convert("1")), "used"),
    Kind("palette", _picture("x.png", _palette(False)), "used"),
    Kind("palette + alpha", _picture("x.png", _palette(True), transparency=0), "used", "image.alpha"),
    Kind(
        "grey + alpha",
        _picture("x.png", Image.merge("LA", [gradient().convert("L"), gradient().getchannel(0)])),
        "used",
        "image.alpha",
    ),
    Kind("fully transparent", _picture("x.png", Image.new("RGBA", (96, 64))), "skipped", "image.transparent"),
    *(
        Kind(f"EXIF {turn}", _file("x.jpg", with_orientation(gradient(), turn)), "used", "", "x.jpg")
        for turn in range(2, 9)
    ),
    Kind("animated GIF", _file("x.gif", _frames("GIF")), "used", "image.first_frame", "x.gif"),
    Kind("animated WebP", _file("x.webp", _frames("WEBP")), "used", "image.first_frame", "x.webp"),
    Kind("APNG", _file("x.png", _frames("PNG")), "used", "image.first_frame"),
    Kind("multi-page TIFF", _file("x.tiff", _frames("TIFF")), "used", "image.first_frame", "x.tiff"),
    Kind("HEIC", _file("x.heic", HEIC), "skipped", "image.heic", "x.heic"),
    Kind("AVIF", _file("x.avif", AVIF), "skipped", "image.avif|image.damaged|image.truncated", "x.avif"),
    Kind("SVG", _file("x.svg", b'<?xml version="1.0"?><svg onload="x()"/>'), "skipped", "image.svg", "x.svg"),
    Kind("EPS as .jpg", _file("x.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "skipped", "image.eps", "x.jpg"),
    Kind("1x1", _picture("x.png", gradient(1, 1)), "skipped", "image.too_small"),
    Kind("4000x2", _picture("x.png", gradient(4000, 2)), "skipped", "image.too_small"),
    Kind("169 MP", _file("x.png", blank_png(13000, 13000)), "skipped", "image.too_large"),
    Kind("400 MP", _file("x.png", blank_png(20000, 20000)), "skipped", "image.too_large"),
    Kind(
        "huge text chunk",
        lambda folder: (folder / "x.png").write_bytes(
            png_with_chunk(encoded(gradient(), "PNG"), b"zTXt", b"a\x00\x00" + _bomb(), b"IDAT")
        ),
        "used",
    ),
    Kind("broken ICC", _picture("x.png", gradient(), icc_profile=b"no profile" * 30), "used"),
    Kind("upper-case suffix", _picture("x.PNG", gradient()), "used", "", "x.PNG"),
    Kind("AppleDouble", _file("._x.jpg", b"\x00\x05\x16\x07" + b"\x00" * 60), "ignored", "", "._x.jpg"),
    Kind("same stem twice", _twins, "used", "dataset.same_stem"),
]

FILE_SYSTEM = [
    Kind("not readable", _unreadable, "skipped", "image.unreadable", posix=True),
    Kind("vanishes during scan", _link(lambda folder: folder / "gone.png"), "skipped", "image.missing", posix=True),
    Kind("link outside", _link(_outside), "skipped", "dataset.link", posix=True),
    Kind("link loop", _link(lambda folder: folder / "x.png"), "skipped", "dataset.link|image.unreadable", posix=True),
    Kind("pipe or folder named x.png", _pipe, "skipped", "image.not_file", posix=True),
    Kind("read-only folder", _read_only, "used", posix=True),
    Kind("stale network path", lambda folder: None, "refused", "dataset.folder"),
    Kind("spaces", lambda folder: write_picture(folder / " x y .png"), "used", "", " x y .png"),
    Kind("quotes", lambda folder: write_picture(folder / "x'\".png"), "used", "", "x'\".png", posix=True),
    Kind("Chinese", lambda folder: write_picture(folder / "猫.png", "白猫"), "used", "", "猫.png", "白猫"),
    Kind("emoji", lambda folder: write_picture(folder / "x😀.png", "😀"), "used", "", "x😀.png", "😀"),
    Kind("reserved name", lambda folder: write_picture(folder / "con..png"), "used", "", "con..png"),
    Kind(
        "name of 255 bytes", lambda folder: write_picture(folder / ("x" * 251 + ".png")), "used", "", "x" * 251 + ".png"
    ),
    Kind("path > 260", _long_path, "used", posix=True),
]

CAPTIONS = [
    Kind("no caption", _caption(None), "used"),
    Kind("empty caption", _caption(b""), "used", "caption.empty"),
    Kind("blanks", _caption(b" \n\t \r\n"), "used", "caption.empty"),
    Kind("BOM", _caption("cat, dog".encode("utf-8-sig")), "used", caption="cat, dog"),
    Kind("UTF-16", _caption("cat, 猫".encode("utf-16")), "used", "caption.encoding_used", caption="cat, 猫"),
    Kind("GBK", _caption("白猫，坐着".encode("gbk")), "used", "caption.encoding_used", caption="白猫，坐着"),
    Kind(
        "cp1252",
        _caption("na\u00efve caf\u00e9".encode("cp1252")),
        "used",
        "caption.encoding_used",
        caption="na\u00efve caf\u00e9",
    ),
    Kind("NUL", _caption(b"cat\x00, dog\x00"), "used", "caption.invisible", caption="cat, dog"),
    Kind("CRLF", _caption(b"\r\ncat, dog\r\n"), "used", caption="cat, dog"),
    Kind("10 MB", _caption(b"cat, " * 2_000_000), "used", "caption.too_large"),
    Kind(
        "RTL and zero-width",
        _caption("\u202eقط\u202c, c\u200bat".encode()),
        "used",
        "caption.invisible",
        caption="قط, cat",
    ),
    Kind("doubled commas", _caption(b"cat,, dog, ,bird"), "used", caption="cat,, dog, ,bird"),
    Kind("HTML", _caption(b"<b onclick=x()>cat</b>"), "used", caption="<b onclick=x()>cat</b>"),
]

DATA_SETS = [
    Kind("empty folder", lambda folder: None, "refused", "dataset.empty", good=False),
    Kind("all bad", _file("x.png", b"junk"), "refused", "dataset.all_broken", good=False),
    Kind("batch > images", lambda folder: write_picture(folder / "x.png"), "used", good=False),
    Kind("nested folders", _nested, "ignored", "dataset.nested"),
    Kind("zip in zip", _file("x.zip", _zip(_zip(None))), "skipped", "image.foreign", "x.zip"),
    Kind("mixed zip name encodings", _file("x.zip", _zip(None)), "skipped", "image.foreign", "x.zip"),
]

ALL_KINDS = [*IMAGES, *FILE_SYSTEM, *CAPTIONS, *DATA_SETS]
STALE = OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def _bomb() -> bytes:
    import zlib

    return zlib.compress(b"a" * 20_000_000, 1)
