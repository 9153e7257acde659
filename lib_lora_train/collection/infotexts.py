"""The text that the WebUI writes into a picture, and the prompt in it.

A PNG has it as the text "parameters", a GIF as its comment, everything else as EXIF's user comment. Other programs
write the same to be read by the WebUI.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import BinaryIO

from PIL import Image

from lib_lora_train.dataset.formats import HEAD_BYTES, recognise

_EXIF, _USER_COMMENT = 0x8769, 0x9286
_CHARACTER_SETS = {b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8", b"JIS\0\0\0\0\0": "iso2022_jp"}
_UNICODE = b"UNICODE\0"
# What Pillow lets out on damaged files; here damage only means that nothing can be proposed.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, EOFError,
    RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_NEGATIVE = "Negative prompt:"
# The line of parameters: it begins with the steps, or, of a picture that was only enlarged, with what was done.
_PARAMETERS = re.compile(r"(?:Steps: \d+|Postprocess [\w ]+: )")
_PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_FEWEST_PAIRS = 3  # by which a last line that begins otherwise is known


def read_infotext(stream: BinaryIO, where: str) -> str:
    """The text in a picture, which is read from its beginning; "" when there is none or it is damaged.

    The pixels are not decoded. Raises UserError with an `image.*` code for what is no picture.
    """
    kind = recognise(stream.read(HEAD_BYTES), where)
    stream.seek(0)
    try:
        with Image.open(stream, formats=[kind]) as image:
            return _user_comment(image) or _text(image.info.get("parameters")) or _text(image.info.get("comment"))
    except _DECODER_ERRORS:
        return ""


def prompt_of(infotext: str) -> str:
    """The prompt, in the lines that it has; "" when there is none."""
    lines = [line.strip() for line in infotext.strip().splitlines()]
    for number, line in enumerate(lines):
        if line.startswith(_NEGATIVE) or _PARAMETERS.match(line):
            return "\n".join(lines[:number]).strip()
    if lines and len(_PAIR.findall(lines[-1])) >= _FEWEST_PAIRS:
        lines.pop()
    return "\n".join(lines).strip()


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "ignore")
    return str(value) if isinstance(value, str) else ""


def _user_comment(image: Image.Image) -> str:
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the pixels to look behind them
        return ""
    value = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT, b"")
    if not isinstance(value, bytes):
        return _text(value)
    charset, content = value[:8], value[8:]
    if charset == _UNICODE:
        return content.decode(_byte_order(content), "ignore").strip("\0\ufeff")
    return content.decode(_CHARACTER_SETS[charset], "ignore") if charset in _CHARACTER_SETS else _text(value)


def _byte_order(content: bytes) -> str:
    """EXIF does not say; the WebUI writes the high byte first, others do not. Parameters are Latin letters."""
    return "utf-16-le" if content[1::2].count(0) > content[::2].count(0) else "utf-16-be"
