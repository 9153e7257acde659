"""Opening any picture a user may bring: safely, upright, in RGB, or refused with a reason."""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lib_lora_train.dataset.conversion import to_rgb
from lib_lora_train.dataset.formats import HEAD_BYTES, PICTURE_SUFFIXES, clean_png, recognise
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

MAX_PIXELS = 64_000_000  # checked on the header, before anything is decoded
MAX_FILE_BYTES = 600_000_000  # 64 megapixels of uncompressed 16-bit colour with alpha, and some room
MIN_SIDE = 16  # two latent pixels; less has no shape to learn

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# What Pillow's decoders let out on damaged files. The list is closed: a bug of ours still shows as a bug.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, EOFError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


@dataclass
class OpenedImage:
    """A picture in mode RGB, upright, with what had to be done to it."""

    image: Image.Image
    notes: list[Log] = field(default_factory=list)


def open_image(path: Path, where: str = "") -> OpenedImage:
    """Decodes one picture. `where` is how it is called in messages; its file name when empty.

    The file is read, never written, and never executed or fetched. Raises UserError with one of the `image.*` codes,
    always naming the file, the reason and the remedy.
    """
    shown = where or path.name
    notes: list[Log] = []
    with _decoding(shown), _opened(path, shown, header_only=False) as (image, kind):
        if PICTURE_SUFFIXES.get(path.suffix.lower(), kind) != kind:
            notes.append(Log("image.suffix", {"where": shown, "kind": kind}))
        if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a photo with its own preview
            image.seek(0)
            notes.append(Log("image.first_frame", {"where": shown}))
        image.load()
        # Pillow turns TIFF files upright itself while it loads them, and only since 10 drops the tag when it has.
        turn = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))
        picture = to_rgb(image, shown, notes)
        if turn is not None:
            picture = picture.transpose(turn)
    picture.info.clear()
    return OpenedImage(picture, notes)


def read_size(path: Path, where: str = "") -> tuple[int, int]:
    """(width, height) of the upright picture, from the header alone. Raises as `open_image` does."""
    shown = where or path.name
    with _decoding(shown), _opened(path, shown, header_only=True) as (image, _):
        width, height = image.size
        if image.format == "TIFF":  # as stored: `size` may have been turned already
            width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
        return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 when there is none or it cannot be read."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the pixels to look behind them
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:  # damaged EXIF says nothing about the pixels
        return 1
    return value if isinstance(value, int) else 1


@contextmanager
def _opened(path: Path, shown: str, header_only: bool) -> Iterator[tuple[Image.Image, str]]:
    """The picture with its header read, within all limits, and the name of its format."""
    information = path.stat()
    if not stat.S_ISREG(information.st_mode):  # opening a pipe would wait for ever
        raise UserError("image.not_file", shown)
    if information.st_size > MAX_FILE_BYTES:
        raise UserError("image.too_heavy", shown, limit=MAX_FILE_BYTES // 1_000_000)
    with path.open("rb") as handle:
        kind = recognise(handle.read(HEAD_BYTES), shown)
        handle.seek(0)
        source: BinaryIO = clean_png(handle, shown, header_only) if kind == "PNG" else handle
        with Image.open(source, formats=[kind]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(shown)
            if min(width, height) < MIN_SIDE:
                raise UserError("image.too_small", shown, width=width, height=height, limit=MIN_SIDE)
            yield image, kind


@contextmanager
def _decoding(shown: str) -> Iterator[None]:
    """Turns what the system and the decoders raise into sentences. Pillow's own texts may hold paths: not shown."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(shown) from error
    except FileNotFoundError as error:
        raise UserError("image.missing", shown) from error
    except _DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError("image.unreadable", shown, reason=error.strerror) from error
        code = "image.truncated" if "truncated" in str(error).lower() else "image.damaged"
        raise UserError(code, shown) from error


def _too_large(shown: str) -> UserError:
    return UserError("image.too_large", shown, limit=MAX_PIXELS // 1_000_000)
