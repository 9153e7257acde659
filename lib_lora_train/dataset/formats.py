"""What a picture file really is, told by its first bytes, and why some kinds are not opened.

Only the formats named here ever reach a decoder: Pillow would otherwise try all it knows, start an external
program for EPS, or read formats whose decoders nobody watches.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from lib_lora_train.errors import UserError

HEAD_BYTES = 4096  # enough for every magic number, and for the start of text that pretends to be a picture

PICTURE_SUFFIXES = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP",
    ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
}  # fmt: skip
# Not opened, but a user who puts them there means them as pictures, so each is reported by name.
FOREIGN_SUFFIXES = frozenset(
    {".heic", ".heif", ".svg", ".svgz", ".eps", ".ps", ".psd", ".pdf", ".jxl", ".jp2", ".ico", ".tga", ".exr", ".hdr"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".ai", ".xcf", ".kra", ".zip", ".7z", ".rar"}
)

_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_FOREIGN_MAGIC = (
    (b"8BPS", "Photoshop"), (b"%PDF", "PDF"), (b"\xff\x0a", "JPEG XL"), (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"\x00\x00\x01\x00", "ICO"),
    (b"v/1\x01", "OpenEXR"), (b"PK\x03\x04", "ZIP"), (b"Rar!", "RAR"), (b"7z\xbc\xaf", "7-Zip"),
    (b"\x1f\x8b", "gzip"), (b"version https://git-lfs", "Git LFS"),
)  # fmt: skip


def recognise(head: bytes, where: str) -> str:
    """Pillow's name of the format that starts with `head`.

    Raises UserError with a sentence of its own for empty files, SVG, EPS, HEIC, AVIF without support, web pages and
    other known kinds, and "image.unknown" for the rest.
    """
    if not head:
        raise UserError("image.empty", where)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    if head[:2] == b"BM":
        return "BMP"
    if head[4:8] == b"ftyp":
        return _recognise_ftyp(head, where)
    raise _foreign(head, where)


def _recognise_ftyp(head: bytes, where: str) -> str:
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        Image.init()
        if "AVIF" in Image.OPEN:
            return "AVIF"
        raise UserError("image.avif", where)
    if brands & _HEIC_BRANDS:
        raise UserError("image.heic", where)
    raise UserError("image.foreign", where, kind="MP4")


def _foreign(head: bytes, where: str) -> UserError:
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return UserError("image.eps", where)
    for magic, kind in _FOREIGN_MAGIC:
        if head.startswith(magic):
            return UserError("image.foreign", where, kind=kind)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text[:2048]:
        return UserError("image.svg", where)
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return UserError("image.html", where)
    return UserError("image.unknown", where)


_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


def clean_png(stream: BinaryIO, where: str, header_only: bool = False) -> BytesIO:
    """The PNG in `stream` without its text chunks, each chunk's check sum verified.

    Text is dropped because Pillow refuses a whole picture whose text is large once unpacked. `header_only` skips the
    pixels and puts all the rest before them, so that an orientation stored at the end is seen as well. A damaged
    chunk that pixels do not need is dropped. Raises UserError("image.truncated" or "image.damaged").
    """
    kept = BytesIO()
    kept.write(stream.read(8))
    while True:
        start = stream.read(8)
        if len(start) < 8:
            break
        length, name = struct.unpack(">I4s", start)
        if header_only and name == b"IDAT":
            stream.seek(length + 4, 1)
            continue
        rest = stream.read(length + 4)
        critical = not name[0] & 0x20
        if len(rest) < length + 4:
            raise UserError("image.truncated", where)
        if zlib.crc32(rest[:-4], zlib.crc32(name)) != int.from_bytes(rest[-4:], "big"):
            if critical:
                raise UserError("image.damaged", where)
            continue
        if name == b"IEND":
            break
        if name not in _TEXT_CHUNKS:
            kept.write(start + rest)
    kept.write(_chunk(b"IDAT") if header_only else b"")
    kept.write(_chunk(b"IEND"))
    kept.seek(0)
    return kept


def _chunk(name: bytes) -> bytes:
    """A PNG chunk without content."""
    return struct.pack(">I4sI", 0, name, zlib.crc32(name))
