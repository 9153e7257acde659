"""Reading a zip that somebody sent: names decoded and told apart, contents counted while they are unpacked.

Nothing is unpacked to a name out of the zip; members are streamed by whoever wants them.
"""

from __future__ import annotations

import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lib_lora_train.collection.limits import Limits, megabytes
from lib_lora_train.collection.names import shown
from lib_lora_train.dataset.captions import decode
from lib_lora_train.errors import UserError

_BLOCK = 1 << 16
_FREE_BYTES = 1_000_000  # a small file may be packed as well as it likes
_DIRECTORY_BYTES_EACH, _DIRECTORY_BYTES = 512, 16_000_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes to unpack a few bytes
_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError,
    KeyError, IndexError,
)  # fmt: skip
_LITTER = "__MACOSX"
# Letters of two bytes in UTF-8 that hardly anybody writes: all but those of European languages, Hebrew and Arabic. The
# GBK for "picture" reads as three of them.
_UNUSUAL = re.compile("[\u0180-\u02ff\u0370-\u0385\u03cf-\u03ff\u0460-\u05cf\u0600-\u0620\u0650-\u07ff]")


@dataclass(frozen=True)
class Member:
    """A file in a zip. `parts` are folders and name as they are meant."""

    info: zipfile.ZipInfo
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def where(self) -> str:
        return shown("/".join(self.parts))


class ZipReader:
    """An open zip. All reading counts towards one total."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._unpacked = 0
        self._guard = threading.Lock()

    def members(self) -> list[Member]:
        """All files that are not hidden, in the order of the zip."""
        # Not `info.is_dir()`: Python 3.11's fails on a member without a name.
        files = [info for info in self._archive.infolist() if not info.filename.endswith("/")]
        found = [Member(info, _parts(info)) for info in files]
        return [
            member
            for member in found
            if member.parts and not any(part.startswith(".") or part == _LITTER for part in member.parts)
        ]

    def check(self, member: Member) -> None:
        """Raises UserError: collection.zip_encrypted, collection.zip_link, collection.zip_method."""
        if member.info.flag_bits & 0x41:
            raise UserError("collection.zip_encrypted", member.where)
        if stat.S_ISLNK(member.info.external_attr >> 16):
            raise UserError("collection.zip_link", member.where)
        if member.info.compress_type not in _METHODS:
            raise UserError("collection.zip_method", member.where)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The content of a file. Raises UserError: collection.zip_ratio, collection.zip_total, collection.zip_member."""
        info, size = member.info, 0
        try:
            with self._archive.open(info) as stream:
                while block := stream.read(_BLOCK):
                    size += len(block)
                    if size > _FREE_BYTES and size > self._limits.ratio * max(info.compress_size, 1):
                        raise UserError("collection.zip_ratio", member.where, limit=self._limits.ratio)
                    self._count(len(block), member.where)
                    yield block
        except _FAULTS as error:
            raise UserError("collection.zip_member", member.where) from error

    def _count(self, size: int, where: str) -> None:
        with self._guard:
            self._unpacked += size
            if self._unpacked > self._limits.total_bytes:
                raise UserError("collection.zip_total", where, limit=megabytes(self._limits.total_bytes))


@contextmanager
def open_zip(path: Path, where: str, limits: Limits) -> Iterator[ZipReader]:
    """Raises UserError: collection.zip_damaged, collection.zip_members."""
    try:
        handle = path.open("rb")
    except OSError as error:
        raise UserError("collection.zip_damaged", where) from error
    with handle, read_zip(handle, where, limits) as reader:
        yield reader


@contextmanager
def read_zip(handle: BinaryIO, where: str, limits: Limits) -> Iterator[ZipReader]:
    """As `open_zip`, of an open file or of bytes in memory."""
    with _archive(_Careful(handle, where, limits), where) as archive:
        if len(archive.infolist()) > limits.members:
            raise _too_many(where, limits)
        yield ZipReader(archive, limits)


def _archive(handle: _Careful, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(handle)
    except _FAULTS as error:
        raise UserError("collection.zip_damaged", where) from error


class _Careful:
    """A file that refuses to be read in pieces larger than the directory of an honest zip."""

    def __init__(self, handle: BinaryIO, where: str, limits: Limits) -> None:
        self._handle = handle
        self._error = _too_many(where, limits)
        self._most = max(min(limits.members * _DIRECTORY_BYTES_EACH, _DIRECTORY_BYTES), _BLOCK * 2)

    def read(self, size: int = -1) -> bytes:
        data = self._handle.read(self._most + 1 if size < 0 or size > self._most else size)
        if len(data) > self._most:
            raise self._error
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()

    def seekable(self) -> bool:
        return True


def _too_many(where: str, limits: Limits) -> UserError:
    return UserError("collection.zip_members", where, limit=limits.members)


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """Folders and name, without what leads up or nowhere; separators of any system."""
    name = _decoded(info).replace("\\", "/")
    return tuple(part for part in name.split("/") if part not in ("", ".", ".."))


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name as it was meant. Without a mark it is in the old DOS letters by the standard, but in truth in UTF-8
    from macOS and Linux and in GBK from a Chinese Windows."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437", "replace")
    try:
        text, encoding = decode(raw, "")
        if encoding == "utf-8" and _UNUSUAL.search(text):
            return raw.decode("gb2312")
    except UnicodeDecodeError:
        return text
    except UserError:
        return info.orig_filename
    return text if encoding in ("utf-8", "GBK") else info.orig_filename
