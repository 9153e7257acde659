"""Bringing caption files to the truth, a slice at a time: written under temporary names, flushed, then renamed.

A file whose bytes are none that the journal put there, or found there, was changed by another program: it is left.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.collection.history.head import Step
from lib_lora_train.collection.history.keys import Places
from lib_lora_train.collection.history.records import TextChange
from lib_lora_train.collection.names import shown
from lib_lora_train.errors import UserError
from lib_lora_train.files import TEMPORARY_SUFFIX, sync_folder

MARK = ".caption-"  # begins the temporary names here
_FLUSHING = 8  # threads: they wait for the disk, which flushes several files at once


@dataclass
class Target:
    """What one file is to hold, what it may hold until then, and whether a step did not fit what was there."""

    before: bytes | None
    truth: bytes | None
    known: set[bytes | None] = field(default_factory=set)
    misfit: bool = False


def fold_steps(steps: Iterable[tuple[Step, Sequence[TextChange]]], places: Places) -> dict[str, Target]:
    """By key, what comes of the steps one after the other. One that does not begin with what is there changes nothing,
    so that undoing several at once leaves what undoing each of them would leave."""
    targets: dict[str, Target] = {}
    for step, changes in steps:
        for change in changes:
            source, result = (change.before, change.after) if step.forward else (change.after, change.before)
            key = places.current(change.key, source)
            target = targets.get(key)
            if target is None:
                targets[key] = Target(source, result, {source, result})
            elif target.truth == source:
                target.truth = result
                target.known.add(result)
            else:
                target.misfit = True
    return targets


class Writer:
    """Writes files of one moment; `left` collects the keys that do not follow, `failed` the first file that could not
    be written though it should."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._pool = ThreadPoolExecutor(_FLUSHING, "captions")
        self._folders: set[Path] = set()
        self.written = 0
        self.left: list[str] = []
        self.failed: UserError | None = None

    def begin(self) -> None:
        """What was left or failed until now is looked at again."""
        self.left, self.failed = [], None

    def close(self) -> None:
        self._pool.shutdown()

    def write(self, slice_: Sequence[tuple[str, Target]]) -> None:
        ready: list[tuple[str, Path, bytes | None, os.stat_result | None]] = []
        for key, target in slice_:
            try:
                found = self._look(key, target)
                if found is not None:
                    path, mark = found
                    ready.append((key, path, target.truth, mark))
            except OSError as error:
                self._fail(key, error)
        prepared = self._pool.map(_prepare, (path for _, path, _, _ in ready), (text for _, _, text, _ in ready))
        for (key, path, _, mark), temporary in zip(ready, list(prepared), strict=True):
            try:
                if isinstance(temporary, OSError):
                    raise temporary
                self._replace(key, path, temporary, mark)
            except OSError as error:
                self._fail(key, error)
                if isinstance(temporary, Path):
                    _drop(temporary)

    def sync(self) -> None:
        """Makes the renames durable."""
        for folder in self._folders:
            try:
                sync_folder(folder)
            except OSError as error:
                self._fail(folder.name, error)

    def _look(self, key: str, target: Target) -> tuple[Path, os.stat_result | None] | None:
        """Its path and what is there when it is to be written; None when it is not."""
        folder = self._places.folder(key)
        if folder is None or not self._places.has_picture(key):
            self.left.append(key)
            return None
        path = folder / key.rpartition("/")[2]
        mark = _mark(path)
        if mark is not None and not stat.S_ISREG(mark.st_mode):  # a link, a folder, a pipe
            self.left.append(key)
            return None
        sizes = {len(text) for text in target.known if text is not None}
        data = path.read_bytes() if mark is not None and mark.st_size in sizes else None
        if data not in target.known or (data is None and mark is not None):
            self.left.append(key)
            return None
        if target.misfit:
            self.left.append(key)
        return None if data == target.truth else (path, mark)

    def _replace(self, key: str, path: Path, temporary: Path | None, mark: os.stat_result | None) -> None:
        if _differs(_mark(path), mark):  # changed in these few milliseconds
            self.left.append(key)
            if temporary is not None:
                _drop(temporary)
            return
        if temporary is None:
            path.unlink()
        else:
            temporary.replace(path)
        self._folders.add(path.parent)
        self.written += 1

    def _fail(self, key: str, error: OSError) -> None:
        if self.failed is None:
            self.failed = UserError("file.write", shown(key.rpartition("/")[2]), reason=error.strerror or str(error))


def sweep(places: Places, keys: Iterable[str]) -> None:
    """Removes what a killed process left in the folders of `keys`; the lock of the files must be held."""
    for folder in {places.folder(key) for key in keys} - {None}:
        for path in folder.glob(f"{MARK}*{TEMPORARY_SUFFIX}"):
            _drop(path)


def _mark(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _differs(now: os.stat_result | None, then: os.stat_result | None) -> bool:
    if now is None or then is None:
        return now is not then
    return (now.st_ino, now.st_size, now.st_mtime_ns) != (then.st_ino, then.st_size, then.st_mtime_ns)


def _prepare(path: Path, text: bytes | None) -> Path | OSError | None:
    """The text under a temporary name, flushed to the disk; None for no text."""
    if text is None:
        return None
    temporary = path.with_name(f"{MARK}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _drop(temporary)
        return error
    return temporary


def _drop(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # held open by someone: the next time
        return
