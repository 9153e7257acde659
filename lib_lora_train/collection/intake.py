"""Receiving bytes: into a temporary file of ours, counted, hashed, and for a picture decoded once from end to end."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from lib_lora_train.collection.layout import CACHE
from lib_lora_train.collection.limits import megabytes
from lib_lora_train.dataset.formats import HEAD_BYTES, recognise
from lib_lora_train.dataset.images import open_image, read_size
from lib_lora_train.errors import UserError
from lib_lora_train.files import TEMPORARY_SUFFIX, sweep_temporaries
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.project import Project

INCOMING = "incoming"
STALE_SECONDS = 86_400.0
LARGE_PIXELS = 16_000_000  # pictures above are decoded one at a time, so that a few of them do not fill the memory


@dataclass
class Added:
    """What came of it. `pictures` are ids; `waiting` counts captions kept aside until their picture comes."""

    pictures: list[str] = field(default_factory=list)
    captions: int = 0
    problems: list[UserError] = field(default_factory=list)
    waiting: int = 0

    @property
    def skipped(self) -> list[dict[str, str]]:
        return [problem.as_dict() for problem in self.problems]

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """For the REST routes."""
        return {
            "pictures": self.pictures,
            "captions": self.captions,
            "waiting": self.waiting,
            "skipped": [problem.as_dict(language) for problem in self.problems],
        }


@dataclass(frozen=True)
class Received:
    """A temporary file in the project; whoever has it discards it, used or not."""

    path: Path
    size: int
    digest: str
    kind: str = ""  # of a picture, in Pillow's word

    def discard(self) -> None:
        """Raises UserError("file.write")."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError("file.write", self.path.name, reason=error.strerror or "?") from error


def receive(project: Project, chunks: Iterable[bytes], where: str, most: int) -> Received:
    """Writes `chunks` to a temporary file; nothing stays of one that is too large or ends by an error.

    Raises UserError: collection.too_heavy, file.write, and whatever `chunks` raises.
    """
    path = project.path(CACHE, INCOMING) / f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    size, digest, whole = 0, hashlib.sha256(), False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as handle:
            for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise UserError("collection.too_heavy", where, limit=megabytes(most))
                digest.update(chunk)
                handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        whole = True
    except OSError as error:
        raise UserError("file.write", where, reason=error.strerror or str(error)) from error
    finally:
        if not whole:
            path.unlink(missing_ok=True)
    return Received(path, size, digest.hexdigest())


def receive_picture(
    project: Project, chunks: Iterable[bytes], where: str, most: int, large: threading.Lock | None = None
) -> Received:
    """As `receive`, and decodes it; what does not begin like a picture is not even written.

    `large` is taken while a large picture is decoded. Raises also UserError with an `image.*` code.
    """
    rest, head = (chunk for chunk in chunks if chunk), b""
    while len(head) < HEAD_BYTES and (chunk := next(rest, b"")):
        head += chunk
    kind = recognise(head[:HEAD_BYTES], where)
    received = receive(project, chain([head], rest), where, most)
    whole = False
    try:
        width, height = read_size(received.path, where)
        with large if large is not None and width * height > LARGE_PIXELS else nullcontext():
            open_image(received.path, where)
        whole = True
    finally:
        if not whole:
            received.discard()
    return replace(received, kind=kind)


def receive_text(chunks: Iterable[bytes], where: str, most: int) -> bytes:
    """A small file, in memory. Raises UserError("collection.caption_long")."""
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise UserError("collection.caption_long", where, limit=most // 1024)
        parts.append(chunk)
    return b"".join(parts)


def sweep(project: Project) -> None:
    """Removes what killed uploads left behind."""
    sweep_temporaries(project.path(CACHE, INCOMING), STALE_SECONDS)
