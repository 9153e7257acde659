"""Writing a zip piece by piece, without knowing its end and without keeping any of it.

Python's own writer would put lengths behind the contents when it cannot go back, and macOS's unpacker refuses that
for contents that are not compressed. So each header is made here, after the file was read once for its check sum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError

LARGEST = 0xFFFFFFFE  # above, numbers stand in an extra field of 64 bits
MOST_ENTRIES = 0xFFFE
_WIDE = 0xFFFFFFFF
_BLOCK = 1 << 20
_UTF8 = 0x800
_VERSION, _VERSION_64 = 20, 45
_DAY = (0, 0x21)  # the first of January 1980, so that equal data sets give equal zips
_FILE_MODE = 0o100644 << 16
_UNIX = 3 << 8


@dataclass(frozen=True)
class Entry:
    """A file and its name in the zip, with forward slashes."""

    name: str
    path: Path


@dataclass(frozen=True)
class _Written:
    name: bytes
    crc: int
    size: int
    offset: int


def pack(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The bytes of a zip that holds `entries` uncompressed.

    Raises UserError: image.unreadable, and "collection.unsteady" for a file that changes while it is read.
    """
    written: list[_Written] = []
    offset = 0
    for entry in entries:
        item = _measure(entry, offset)
        header = _local_header(item)
        yield header
        crc = size = 0
        for block in _blocks(entry):
            crc, size = zlib.crc32(block, crc), size + len(block)
            yield block
        if (crc, size) != (item.crc, item.size):
            raise UserError("collection.unsteady", entry.path.name)
        written.append(item)
        offset += len(header) + size
    directory = b"".join(map(_directory_entry, written))
    yield directory
    yield _end(len(written), len(directory), offset)


def _measure(entry: Entry, offset: int) -> _Written:
    crc = size = 0
    for block in _blocks(entry):
        crc, size = zlib.crc32(block, crc), size + len(block)
    return _Written(entry.name.encode("utf-8"), crc, size, offset)


def _blocks(entry: Entry) -> Iterator[bytes]:
    try:
        with entry.path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                yield block
    except OSError as error:
        raise UserError("image.unreadable", entry.path.name, reason=error.strerror or "?") from error


def _local_header(item: _Written) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, item.size, item.size) if item.size > LARGEST else b""
    size = _WIDE if extra else item.size
    version = _VERSION_64 if extra else _VERSION
    fields = (version, _UTF8, 0, *_DAY, item.crc, size, size, len(item.name), len(extra))
    return struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + item.name + extra


def _directory_entry(item: _Written) -> bytes:
    wide_size, wide_offset = item.size > LARGEST, item.offset > LARGEST
    values = (item.size, item.size) * wide_size + (item.offset,) * wide_offset
    extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    size = _WIDE if wide_size else item.size
    offset = _WIDE if wide_offset else item.offset
    version = _VERSION_64 if extra else _VERSION
    fields = (version | _UNIX, version, _UTF8, 0, *_DAY, item.crc, size, size, len(item.name), len(extra), 0, 0, 0)
    return struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields, _FILE_MODE, offset) + item.name + extra


def _end(count: int, size: int, offset: int) -> bytes:
    wide = b""
    if count > MOST_ENTRIES or size > LARGEST or offset > LARGEST:
        version = _VERSION_64
        wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, version, version, 0, 0, count, count, size, offset)
        wide += struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + size, 1)
        count, size, offset = 0xFFFF, _WIDE, _WIDE
    return wide + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)
