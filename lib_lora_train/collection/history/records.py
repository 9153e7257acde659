"""One entry of the journal as a file: `<number>-<random>.entry`, written once and never changed.

The first line is JSON and tells everything but the texts, so that a log of thousands is quick to read. The rest is
compressed: a line of JSON with [key, bytes before, bytes after] of each caption file (-1: no file), then those bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_lora_train.collection.names import stem_of
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_bytes
from lib_lora_train.messages import message
from lib_lora_train.signals import Log

VERSION = 1
SUFFIX = ".entry"
MAX_HEADER, MAX_BODY = 1_000_000, 1_000_000_000  # bytes; the latter as before it is compressed
_NAME = re.compile(r"([0-9]{8})-[0-9a-f]{8}")


class DamagedError(ValueError):
    """A file of the journal that cannot be read."""


@dataclass(frozen=True)
class TextChange:
    """What becomes of one caption file. `key` is its posix path below the place's base; None is no file."""

    key: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True)
class Entry:
    """One step of undo. `time` in seconds since 1970; `count` pictures; `note` JSON values of whoever made it.

    `in_force` is False when it was undone and can be redone. Entries of one `sitting` were made without a long pause.
    """

    number: int
    time: float
    sitting: str
    title: Log
    count: int
    note: Mapping[str, Any]
    in_force: bool = True


def fresh_name(number: int) -> str:
    return f"{number:08d}-{secrets.token_hex(4)}"


def number_of(name: str) -> int:
    """Of an entry's name (without the ending); 0 for any other name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 0


def pictures_of(changes: Sequence[TextChange]) -> int:
    return len({stem_of(change.key) for change in changes})


def write_entry(path: Path, entry: Entry, changes: Sequence[TextChange]) -> None:
    """Flushed to the disk when it returns. Raises UserError: history.too_large, file.write; ValueError for a note that
    is no JSON, or more than MAX_HEADER of it."""
    table = [[change.key, _length(change.before), _length(change.after)] for change in changes]
    texts = [text for change in changes for text in (change.before, change.after) if text is not None]
    body = b"".join([json.dumps(table).encode("ascii"), b"\n", *texts])
    header = {
        "version": VERSION,
        "number": entry.number,
        "time": entry.time,
        "sitting": entry.sitting,
        "title": {"code": entry.title.code, "values": entry.title.values},
        "count": entry.count,
        "note": dict(entry.note),
        "size": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }
    line = json.dumps(header, allow_nan=False).encode("ascii")
    if len(line) > MAX_HEADER:
        raise ValueError(f"a header of {len(line)} bytes")
    if len(body) > MAX_BODY:
        raise UserError("history.too_large", "captions", size=len(body) // 1_000_000, limit=MAX_BODY // 1_000_000)
    write_bytes(path, line + b"\n" + zlib.compress(body, 1))


def read_entry(path: Path) -> Entry:
    """Without its texts. Raises DamagedError, FileNotFoundError."""
    try:
        with path.open("rb") as file:
            return _entry(path, _header(file.readline(MAX_HEADER + 2)))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DamagedError(path.name) from error


def read_changes(path: Path) -> tuple[TextChange, ...]:
    """Its texts, if they are those that were written. Raises DamagedError, FileNotFoundError."""
    try:
        with path.open("rb") as file:
            header = _header(file.readline(MAX_HEADER + 2))
            _entry(path, header)
            size = int(header["size"])
            if not 0 < size <= MAX_BODY:
                raise DamagedError(path.name)
            body = zlib.decompressobj().decompress(file.read(), size)
        if len(body) != size or hashlib.sha256(body).hexdigest() != header["digest"]:
            raise DamagedError(path.name)
        return tuple(_changes(body))
    except FileNotFoundError:
        raise
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, zlib.error
    ) as error:  # fmt: skip
        raise DamagedError(path.name) from error


def with_force(entry: Entry, head: int) -> Entry:
    return replace(entry, in_force=entry.number <= head)


def _header(line: bytes) -> dict[str, Any]:
    header = json.loads(line)
    if header["version"] != VERSION:
        raise ValueError(header["version"])
    return header


def _entry(path: Path, header: dict[str, Any]) -> Entry:
    number = int(header["number"])
    if number != number_of(path.stem) or not isinstance(header["note"], dict):
        raise ValueError(number)
    title = _title(header["title"]["code"], header["title"]["values"])
    return Entry(
        number, float(header["time"]), str(header["sitting"]), title, int(header["count"]), dict(header["note"])
    )


def _title(code: object, values: object) -> Log:
    """What it did in words; of an entry from another version, whose words are not known here, that it is one."""
    try:
        title = Log(str(code), dict(values))  # type: ignore[call-overload]
        message(title.code, **title.values)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return Log("history.unknown")
    return title


def _length(text: bytes | None) -> int:
    return -1 if text is None else len(text)


def _changes(body: bytes) -> Iterator[TextChange]:
    start = body.index(b"\n") + 1
    for key, *lengths in json.loads(body[:start]):
        texts: list[bytes | None] = []
        for length in lengths:
            texts.append(None if length < 0 else body[start : start + length])
            start += max(0, length)
        before, after = texts
        yield TextChange(str(key), before, after)
    if start != len(body):
        raise ValueError(start)
