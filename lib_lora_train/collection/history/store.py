"""The journal's folder: its entries, its head, and what becomes of parts that cannot be read.

    head.json                which entries are in force, and which steps the files may not hold yet
    00000012-9f3a61c2.entry  what one step changed, with the texts before and after
    ...c2.left               keys of the files that did not follow, because another program had changed them
    dropped/                 entries that were undone when something else was done instead
    damaged/                 what could not be read

Numbers are never given twice. The lock must be held, but for `head` and `left`.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lib_lora_train.collection.file_lock import hold
from lib_lora_train.collection.history.head import NAME, Head, Step, read_head, write_head
from lib_lora_train.collection.history.records import (
    SUFFIX,
    DamagedError,
    Entry,
    TextChange,
    fresh_name,
    number_of,
    read_changes,
    read_entry,
    with_force,
    write_entry,
)
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text

LOGGER = logging.getLogger("lib_lora_train.collection")
LEFT, DROPPED, DAMAGED, LOCK = ".left", "dropped", "damaged", ".lock"


class Store:
    """`base` must be there for the folder to be made; `check` raises UserError for a key that cannot be one."""

    def __init__(self, base: Path, folder: Path, check: Callable[[str], None]) -> None:
        self.folder = folder
        self._base = base
        self._check = check
        self._headers: dict[str, Entry] = {}  # files of entries never change
        self._known: dict[int, str] = {}  # their names, by number
        self._bodies: dict[str, tuple[TextChange, ...]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raises UserError("file.write")."""
        try:
            self._base.stat()  # a project that was deleted is not to come back as a folder with nothing else in it
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError("file.write", self.folder.name, reason=error.strerror or "?") from error
        with hold(self.folder / LOCK, self.folder.name):
            yield

    def head(self) -> Head:
        try:
            return read_head(self.folder)
        except DamagedError:
            with self.locked():
                return self.mended()

    def mended(self) -> Head:
        """The head; in place of a damaged one what the entries tell: all of them are taken to be in force."""
        try:
            return read_head(self.folder)
        except DamagedError:
            LOGGER.warning("the history of captions: %s is damaged and was put aside", NAME)
            _put_aside(self.folder / NAME, self.folder / DAMAGED)
            number = max(self._listed(self.folder), default=0)
            top = max([number, *self._listed(self.folder / DROPPED)])
            return self.write(Head(number, top, trouble=NAME))

    def look(self) -> tuple[Head, dict[int, str]]:
        """The head, and the names of the entries that are in force or can be redone, by number."""
        head = self.mended()
        names = {number: name for number, name in self._listed(self.folder).items() if number <= head.top}
        if head.number and head.number not in names:  # somebody took the file away
            lost = f"{head.number:08d}{SUFFIX}"
            number = max((other for other in names if other < head.number), default=0)
            head = self.write(replace(head, number=number, trouble=lost))
        return head, names

    def write(self, head: Head) -> Head:
        write_head(self.folder, head)
        return head

    def add(self, head: Head, entry: Entry, changes: Sequence[TextChange]) -> None:
        """The entry first: whatever its file does, it is in force only when the head says so."""
        name = fresh_name(entry.number)
        write_entry(self.folder / (name + SUFFIX), entry, changes)
        steps = (*head.steps, Step(name, True)) if changes else head.steps
        self.write(Head(entry.number, entry.number, steps, entry.sitting, entry.time))
        self._headers[name], self._known[entry.number] = entry, name

    def drop_tail(self, head: Head) -> int:
        """Puts aside what was undone, the newest first, and what a killed process wrote without moving the head.
        Returns the largest number that was ever given."""
        tail = [(number, name) for number, name in self._listed(self.folder).items() if number > head.number]
        for _, name in sorted(tail, reverse=True):
            for ending in (LEFT, SUFFIX):
                _put_aside(self.folder / (name + ending), self.folder / DROPPED)
        return max([head.top, *(number for number, _ in tail)])

    def entry(self, name: str, head: Head) -> Entry | None:
        """Without its texts; None of one that is damaged, which is then put aside."""
        if name not in self._headers:
            try:
                self._headers[name] = read_entry(self.folder / (name + SUFFIX))
            except (DamagedError, FileNotFoundError):
                self._set_aside(name)
                return None
        self._known[self._headers[name].number] = name
        return with_force(self._headers[name], head.number)

    def changes(self, name: str) -> tuple[TextChange, ...]:
        """Raises UserError("history.damaged") when they cannot be read; the entry is then put aside."""
        if name not in self._bodies:
            try:
                self._bodies[name] = self._read(name)
            except (DamagedError, FileNotFoundError) as error:
                self._set_aside(name)
                raise UserError("history.damaged", name + SUFFIX) from error
        return self._bodies[name]

    def forget_texts(self) -> None:
        self._bodies.clear()

    def left(self, number: int) -> tuple[str, ...]:
        name = self._known.get(number) or self._listed(self.folder).get(number)
        try:
            keys = json.loads((self.folder / f"{name}{LEFT}").read_text(encoding="utf-8")) if name else []
            return tuple(map(str, keys))
        except (OSError, ValueError, TypeError):
            return ()

    def note_left(self, name: str, keys: Sequence[str]) -> None:
        """Of the entry when it was last applied or undone. Raises UserError("file.write")."""
        place = self._place(name)
        if place is None:
            return
        note = place.with_name(name + LEFT)
        if keys:
            write_text(note, json.dumps(keys))
        elif note.exists():
            try:
                note.unlink()
            except OSError as error:
                raise UserError("file.write", note.name, reason=error.strerror or "?") from error

    def _read(self, name: str) -> tuple[TextChange, ...]:
        place = self._place(name)
        if place is None:
            raise FileNotFoundError(name)
        changes = read_changes(place)
        try:
            for change in changes:
                self._check(change.key)
        except UserError as error:
            raise DamagedError(name) from error
        return changes

    def _set_aside(self, name: str) -> None:
        """An entry that cannot be read; the ones before it can then still be undone."""
        LOGGER.warning("the history of captions: %s is damaged and was put aside", name + SUFFIX)
        _put_aside(self.folder / (name + SUFFIX), self.folder / DAMAGED)
        head = self.mended()
        number = max((other for other in self._listed(self.folder) if other <= head.number), default=0)
        steps = tuple(step for step in head.steps if step.name != name)
        self.write(replace(head, number=number, steps=steps, trouble=name + SUFFIX))

    def _place(self, name: str) -> Path | None:
        for folder in (self.folder, self.folder / DROPPED):
            if (folder / (name + SUFFIX)).is_file():
                return folder / (name + SUFFIX)
        return None

    @staticmethod
    def _listed(folder: Path) -> dict[int, str]:
        try:
            with os.scandir(folder) as files:
                names = sorted(file.name.removesuffix(SUFFIX) for file in files if file.name.endswith(SUFFIX))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UserError("file.write", folder.name, reason=error.strerror or "?") from error
        found = {number_of(name): name for name in names}
        found.pop(0, None)
        return found


def _put_aside(path: Path, folder: Path) -> None:
    try:
        if os.path.lexists(path):
            folder.mkdir(exist_ok=True)
            free = folder / path.name
            taken = os.path.lexists(free)
            path.replace(folder / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}" if taken else free)
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error
