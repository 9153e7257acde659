"""The undo journal of a place's caption files. It is the truth, and the files follow.

An entry is flushed to the disk before the head moves to it, and the head before any file is touched; so a process that
dies at any point is completed by the next one. There are two locks: the journal's own is held for moments, that of the
files for as long as they are written, so that one can go on editing meanwhile.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_lora_train.collection.file_lock import hold
from lib_lora_train.collection.history.changes import changes_of, read_bytes
from lib_lora_train.collection.history.following import Outcome, Progress, bring, targets_of
from lib_lora_train.collection.history.head import Head, Step
from lib_lora_train.collection.history.keys import Places, check_key
from lib_lora_train.collection.history.records import Entry, TextChange, pictures_of
from lib_lora_train.collection.history.store import Store
from lib_lora_train.collection.renames import alone
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Log

SITTING_SECONDS = 1800.0
_FILES_LOCK = ".files.lock"


class History:
    """The journal in `folder` of the caption files below `base`; for any number of threads and processes at once."""

    def __init__(self, base: Path, folder: Path, project: Project | None = None) -> None:
        self.base = base
        self._project = project
        self._store = Store(base, folder, self._check)

    @classmethod
    def of_project(cls, project: Project) -> History:
        """Raises UserError("path.outside") when history/ has become a link that leads out of the project."""
        return cls(project.folder, project.path("history", "tags"), project)

    # ------------------------------------------------------------------ what is known

    @property
    def head(self) -> int:
        """Number of the newest entry in force; 0 when there is none."""
        return self._store.head().number

    @property
    def settled(self) -> bool:
        """Whether the files hold the truth, but for those that were left."""
        return not self._store.head().steps

    @property
    def trouble(self) -> UserError | None:
        """A part of the journal that could not be read and was put aside, until the next change."""
        name = self._store.head().trouble
        return UserError("history.damaged", name) if name else None

    @property
    def pending(self) -> list[TextChange]:
        """What the files may not hold yet: `before` is what they held when they last held the truth, `after` the truth
        (the same when a change was undone before it was written)."""
        if self.settled:
            return []
        with self._store.locked():
            targets = targets_of(self._store, self._store.mended(), self._places())
        return [TextChange(key, target.before, target.truth) for key, target in targets.items()]

    def ends(self) -> tuple[Entry | None, Entry | None]:
        """The entry that can be undone now, and the one that can be redone."""
        if not self._store.folder.is_dir():
            return None, None
        with self._store.locked():
            head, names = self._store.look()
            later = [number for number in names if number > head.number]
            newest = self._store.entry(names[head.number], head) if head.number else None
            return newest, self._store.entry(names[min(later)], head) if later else None

    def sitting(self) -> tuple[int, int]:
        """How many entries in force the newest sitting has, and the entry that `rollback` is to be given to take all
        of them back."""
        count, sitting = 0, ""
        if self._store.folder.is_dir():
            with self._store.locked():
                head, names = self._store.look()
                for number in sorted((number for number in names if number <= head.number), reverse=True):
                    entry = self._store.entry(names[number], head)
                    if count and entry is not None and entry.sitting != sitting:
                        return count, number
                    count, sitting = count + 1, entry.sitting if entry is not None else sitting
        return count, 0

    def log(self, offset: int = 0, limit: int = 100) -> tuple[int, list[Entry]]:
        """How many entries there are, and some of them, newest first; also those that were undone and can be redone."""
        if not self._store.folder.is_dir():
            return 0, []
        with self._store.locked():
            head, names = self._store.look()
            start = max(0, offset)
            chosen = sorted(names, reverse=True)[start : start + max(0, limit)]
            entries = [self._store.entry(names[number], head) for number in chosen]
        return len(names), [entry for entry in entries if entry is not None]

    def state(self) -> dict[str, Any]:
        """The notes of the entries in force, later ones win."""
        values: dict[str, Any] = {}
        if self._store.folder.is_dir():
            with self._store.locked():
                head, names = self._store.look()
                for number in sorted(number for number in names if number <= head.number):
                    entry = self._store.entry(names[number], head)
                    values |= entry.note if entry is not None else {}
        return values

    def changes(self, number: int) -> tuple[TextChange, ...]:
        """What an entry changed. Raises UserError: history.unknown_entry, history.damaged."""
        if self._store.folder.is_dir():
            with self._store.locked():
                _, names = self._store.look()
                if number in names:
                    return self._store.changes(names[number])
        raise UserError("history.unknown_entry", str(number), number=number)

    def left(self, number: int) -> tuple[str, ...]:
        """Keys of the files of an entry that were left as they are when it was last applied or undone."""
        return self._store.left(number)

    def changes_for(self, texts: Mapping[str, str]) -> list[TextChange]:
        """What becomes of the caption files of pictures, by their paths below the base, when these are to be their
        captions; upon the truth, whether the files hold it yet or not. The texts are such as `check_caption` accepts.

        Raises UserError: caption.unreadable, path.outside, file.write for a name that is too long.
        """
        truth = {change.key: change.after for change in self.pending}
        places = self._places()

        def read(key: str) -> bytes | None:
            self._check(key)
            if key in truth:
                return truth[key]
            folder = places.folder(key)
            return read_bytes(folder / key.rpartition("/")[2]) if folder is not None else None

        return [change for picture, text in texts.items() for change in changes_of(picture, text, read)]

    # ------------------------------------------------------------------ changes

    def append(
        self,
        changes: Iterable[TextChange],
        title: Log,
        note: Mapping[str, Any] | None = None,
        expected_head: int | None = None,
    ) -> Entry:
        """Writes down an entry that is in force from now on; the files follow by `finish`. What was undone and not
        redone is put aside. The note is JSON, of less than a megabyte. Each `before` is what is there now, by the truth; the
        change of a file where it is not will be left out.

        Raises UserError: history.changed when the head is another than expected, path.outside,
        history.too_large, file.write; ValueError
        for a note that is none and when a file is changed twice.
        """
        wanted = [change for change in changes if change.before != change.after]
        if len({change.key for change in wanted}) != len(wanted):
            raise ValueError("a caption file is changed twice by one entry")
        for change in wanted:
            self._check(change.key)
        with self._store.locked():
            head, _ = self._store.look()
            if expected_head is not None and expected_head != head.number:
                raise UserError("history.changed", "captions")
            number = self._store.drop_tail(head) + 1
            now = time.time()
            same = head.sitting and 0 <= now - head.active < SITTING_SECONDS
            sitting = head.sitting if same else secrets.token_hex(4)
            entry = Entry(number, now, sitting, title, pictures_of(wanted), dict(note or {}))
            self._store.add(head, entry, wanted)
            return entry

    def undo(self, number: int) -> Entry:
        """Takes the newest entry in force back. Raises UserError: history.not_newest, history.damaged, file.write."""
        with self._store.locked():
            head, names = self._store.look()
            if number < 1 or number != head.number:
                raise UserError("history.not_newest", str(number))
            return self._step(head, names, [number], forward=False)[0]

    def redo(self, number: int) -> Entry:
        """Applies the entry that was undone last once more. Raises as `undo`."""
        with self._store.locked():
            head, names = self._store.look()
            if number < 1 or number != min((other for other in names if other > head.number), default=0):
                raise UserError("history.not_newest", str(number))
            return self._step(head, names, [number], forward=True)[0]

    def rollback(self, to: int) -> list[Entry]:
        """Takes everything after entry `to` back in one step (0: all), and returns it, newest first. Raises as `undo`
        when `to` is no entry in force."""
        with self._store.locked():
            head, names = self._store.look()
            if to > head.number or (to != 0 and to not in names):
                raise UserError("history.not_newest", str(to))
            undone = sorted((number for number in names if to < number <= head.number), reverse=True)
            return self._step(head, names, undone, forward=False)

    def forward(self, to: int) -> list[Entry]:
        """Applies everything that was undone up to entry `to` again in one step, and returns it, oldest first. Raises
        as `undo` when `to` is no entry that was undone."""
        with self._store.locked():
            head, names = self._store.look()
            if to <= head.number or to not in names:
                raise UserError("history.not_newest", str(to))
            redone = sorted(number for number in names if head.number < number <= to)
            return self._step(head, names, redone, forward=True)

    def new_sitting(self) -> None:
        """What is done from now on counts as another sitting. Raises UserError("file.write")."""
        if self._store.folder.is_dir():
            with self._store.locked():
                head = self._store.mended()
                if head.sitting:
                    self._store.write(replace(head, sitting=""))

    # ------------------------------------------------------------------ the files follow

    def finish(self, progress: Progress | None = None) -> Outcome:
        """Brings the files to the truth; waits for others who change them. Not under `locked(project)`. `progress` is
        told how many of how many files are done.

        Raises UserError("file.write") when some cannot be written; those stay pending.
        """
        if self.settled:
            return Outcome()
        with self._files_alone():
            return self.follow(progress)

    def follow(self, progress: Progress | None = None) -> Outcome:
        """As `finish`, for whoever holds the lock of the files, as under `locked(project)`."""
        return Outcome() if self.settled else bring(self._store, self._places(), progress)

    # ------------------------------------------------------------------ parts

    def _step(self, head: Head, names: Mapping[int, str], numbers: Sequence[int], forward: bool) -> list[Entry]:
        """Applies or undoes entries in this order, in one step; none when one of them cannot be read."""
        for number in numbers:
            self._store.changes(names[number])
        found = [self._store.entry(names[number], head) for number in numbers]
        if not numbers:
            return []
        before = max((number for number in names if number < numbers[-1]), default=0)
        steps = (*head.steps, *(Step(names[number], forward) for number in numbers))
        self._store.write(replace(head, number=numbers[-1] if forward else before, steps=steps, trouble=""))
        return [replace(entry, in_force=forward) for entry in found if entry is not None]

    def _check(self, key: str) -> None:
        check_key(key, self._project is not None)

    def _places(self) -> Places:
        return Places(self.base, self._project is not None)

    def _files_alone(self) -> AbstractContextManager[None]:
        if self._project is not None:
            return alone(self._project)
        return hold(self._store.folder / _FILES_LOCK, self.base.name)
