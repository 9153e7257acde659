"""The undo journal of a place's caption files.

    head.json                which entries are in force, and which steps the files may not hold yet
    00000012-9f3a61c2.entry  what one step changed, with the texts before and after
    ...c2.left               keys of the files that did not follow, because another program had changed them
    dropped/                 entries that were undone when something else was done instead
    damaged/                 what could not be read

An entry is flushed to the disk before the head moves to it, and the head before any file is touched. Two locks: the
journal's own is held for moments; that of the files for as long as they are written, so that one can undo meanwhile.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_lora_train.collection.file_lock import hold
from lib_lora_train.collection.history.changes import changes_of, read_bytes
from lib_lora_train.collection.history.head import NAME, Head, Step, read_head, write_head
from lib_lora_train.collection.history.keys import Places, check_key
from lib_lora_train.collection.history.records import (
    SUFFIX,
    DamagedError,
    Entry,
    TextChange,
    fresh_name,
    number_of,
    pictures_of,
    read_changes,
    read_entry,
    with_force,
    write_entry,
)
from lib_lora_train.collection.history.writing import Outcome, Target, Writer, fold_steps, sweep
from lib_lora_train.collection.renames import alone
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.project import Project
from lib_lora_train.signals import Log

LOGGER = logging.getLogger("lib_lora_train.collection")
SITTING_SECONDS = 1800.0
LEFT, DROPPED, DAMAGED = ".left", "dropped", "damaged"
_LOCK, _FILES_LOCK = ".lock", ".files.lock"
_SLICE_SECONDS, _SLICE = 0.15, 64  # how long others wait at most, about; files between two looks at the clock
_BREATH = 0.002  # seconds in which somebody who waits gets the lock

Progress = Callable[[int, int], None]


class History:
    """The journal in `folder` of the caption files below `base`. Holds nothing that another process would miss."""

    def __init__(self, base: Path, folder: Path, project: Project | None = None) -> None:
        self.base = base
        self._folder = folder
        self._project = project
        self._headers: dict[str, Entry] = {}  # files of entries never change
        self._bodies: dict[str, tuple[TextChange, ...]] = {}

    @classmethod
    def of_project(cls, project: Project) -> History:
        """Raises UserError("path.outside") when history/ has become a link that leads out of the project."""
        return cls(project.folder, project.path("history", "tags"), project)

    # ------------------------------------------------------------------ what is known

    @property
    def head(self) -> int:
        """Number of the newest entry in force; 0 when there is none."""
        return self._head().number

    @property
    def settled(self) -> bool:
        """Whether the files hold the truth, but for those that were left."""
        return not self._head().steps

    @property
    def trouble(self) -> UserError | None:
        """A part of the journal that could not be read and was put aside, until the next change."""
        name = self._head().trouble
        return UserError("history.damaged", name) if name else None

    @property
    def pending(self) -> list[TextChange]:
        """What the files may not hold yet: `before` is what they held when they last held the truth, `after` the truth
        (the same when a change was undone before it was written)."""
        if self.settled:
            return []
        with self._locked():
            targets = self._targets(self._mended(), self._places())
        return [TextChange(key, target.before, target.truth) for key, target in targets.items()]

    def log(self, offset: int = 0, limit: int = 100) -> tuple[int, list[Entry]]:
        """How many entries there are, and some of them, newest first; those that were undone too."""
        if not self._folder.is_dir():
            return 0, []
        with self._locked():
            head, names = self._mended(), self._names()
            ordered = sorted(names.items(), reverse=True)
            shown = ordered[max(0, offset) : max(0, offset) + max(0, limit)]
            entries = [self._entry(name, head) for _, name in shown]
        return len(names), [entry for entry in entries if entry is not None]

    def state(self) -> dict[str, Any]:
        """The notes of the entries in force, later ones win."""
        values: dict[str, Any] = {}
        if not self._folder.is_dir():
            return values
        with self._locked():
            head = self._mended()
            for number, name in sorted(self._names().items()):
                entry = self._entry(name, head) if number <= head.number else None
                values |= entry.note if entry is not None else {}
        return values

    def changes(self, number: int) -> tuple[TextChange, ...]:
        """What an entry changed. Raises UserError: history.unknown_entry, history.damaged."""
        with self._locked():
            name = self._names().get(number) if self._folder.is_dir() else None
            if name is None:
                raise UserError("history.unknown_entry", str(number), number=number)
            return self._needed(name)

    def left(self, number: int) -> tuple[str, ...]:
        """Keys of the files of an entry that were left as they are when it was last applied or undone."""
        name = self._names().get(number) if self._folder.is_dir() else None
        try:
            keys = json.loads((self._folder / f"{name}{LEFT}").read_text(encoding="utf-8")) if name else []
            return tuple(map(str, keys))
        except (OSError, ValueError, TypeError):
            return ()

    def changes_for(self, texts: Mapping[str, str]) -> list[TextChange]:
        """What becomes of the caption files of pictures, by their paths below the base, when these are to be their
        captions; upon the truth, whether the files hold it or not. Raises UserError: caption.unreadable, path.outside.
        """
        truth = {change.key: change.after for change in self.pending}
        places = self._places()

        def read(key: str) -> bytes | None:
            check_key(key, self._project is not None)
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
        redone is put aside.

        Raises UserError: history.changed when the head is another than expected, path.outside, file.write.
        """
        wanted = [change for change in changes if change.before != change.after]
        if len({change.key for change in wanted}) != len(wanted):
            raise ValueError("a caption file can be changed only once by an entry")
        for change in wanted:
            check_key(change.key, self._project is not None)
        with self._locked():
            head = self._mended()
            if expected_head is not None and expected_head != head.number:
                raise UserError("history.changed", "captions")
            head = self._without_tail(head)
            now, number = time.time(), max(head.number, *self._names(), 0) + 1
            sitting = (
                head.sitting if head.sitting and 0 <= now - head.active < SITTING_SECONDS else secrets.token_hex(4)
            )
            entry = Entry(number, now, sitting, title, pictures_of(wanted), dict(note or {}))
            name = fresh_name(number)
            write_entry(self._folder / (name + SUFFIX), entry, wanted)
            steps = (*head.steps, Step(name, True)) if wanted else head.steps
            write_head(self._folder, Head(number, number, steps, sitting, now))
            self._headers[name] = entry
            return entry

    def undo(self, number: int) -> Entry:
        """Takes the newest entry in force back. Raises UserError: history.not_newest, history.damaged, file.write."""
        with self._locked():
            head = self._mended()
            if number < 1 or number != head.number:
                raise UserError("history.not_newest", str(number))
            return self._step(head, [number], forward=False)[0]

    def redo(self, number: int) -> Entry:
        """Applies the entry that was undone last once more. Raises as `undo`."""
        with self._locked():
            head = self._mended()
            later = [other for other in self._names() if other > head.number]
            if not later or number != min(later):
                raise UserError("history.not_newest", str(number))
            return self._step(head, [number], forward=True)[0]

    def rollback(self, to: int) -> list[Entry]:
        """Takes everything after entry `to` back in one step (0: all), and returns it, newest first. Raises as `undo`
        when `to` is no entry in force."""
        with self._locked():
            head, names = self._mended(), self._names()
            if to > head.number or (to not in names and to != 0):
                raise UserError("history.not_newest", str(to))
            return self._step(head, sorted((n for n in names if to < n <= head.number), reverse=True), forward=False)

    def forward(self, to: int) -> list[Entry]:
        """Applies everything that was undone up to entry `to` again in one step, and returns it, oldest first. Raises
        as `undo` when `to` is no entry that was undone."""
        with self._locked():
            head, names = self._mended(), self._names()
            if to < head.number or (to not in names and to != head.number):
                raise UserError("history.not_newest", str(to))
            return self._step(head, sorted(n for n in names if head.number < n <= to), forward=True)

    def new_sitting(self) -> None:
        """What is done from now on counts as another sitting. Raises UserError("file.write")."""
        if self._folder.is_dir():
            with self._locked():
                head = self._mended()
                if head.sitting:
                    write_head(self._folder, replace(head, sitting=""))

    # ------------------------------------------------------------------ the files follow

    def finish(self, progress: Progress | None = None) -> Outcome:
        """Brings the files to the truth; waits for others who change them. Not under `locked(project)`.

        Raises UserError("file.write") when some cannot be written; they stay pending.
        """
        if self.settled:
            return Outcome()
        with self._files_alone():
            return self.follow(progress)

    def follow(self, progress: Progress | None = None) -> Outcome:
        """As `finish`, for whoever holds the lock of the files, as under `locked(project)`."""
        if self.settled:
            return Outcome()
        places = self._places()
        writer, done = Writer(places), 0
        try:
            with self._locked():
                head = self._mended()
                targets = self._targets(head, places)
                sweep(places, targets)
            waiting = list(targets.items())
            while True:
                with self._locked():
                    now = self._mended()
                    if now.steps != head.steps:  # somebody did or undid something meanwhile: look again
                        head, targets = now, self._targets(now, places)
                        waiting, done, writer.left = list(targets.items()), 0, []
                    until = time.monotonic() + _SLICE_SECONDS
                    while waiting and time.monotonic() < until:
                        slice_, waiting = waiting[:_SLICE], waiting[_SLICE:]
                        writer.write(slice_)
                        done += len(slice_)
                    if not waiting:
                        writer.sync()
                        return self._settle(head, targets, writer)
                if progress is not None:
                    progress(done, len(targets))
                time.sleep(_BREATH)
        finally:
            writer.close()
            if progress is not None and done:
                progress(done, max(done, len(targets)))

    def _settle(self, head: Head, targets: Mapping[str, Target], writer: Writer) -> Outcome:
        if writer.failed is not None:
            raise writer.failed
        left = set(writer.left)
        for name in {step.name for step in head.steps}:
            self._note_left(name, left)
        write_head(self._folder, replace(head, steps=()))
        self._bodies.clear()
        return Outcome(writer.written, tuple(key for key in targets if key in left))

    def _note_left(self, name: str, left: set[str]) -> None:
        place = self._place(name)
        if place is None:
            return
        places = self._places()
        changes = self._changes(name)
        keys = [change.key for change in changes if left and places.current(change.key, change.before) in left]
        note = place.with_name(name + LEFT)
        if keys:
            write_text(note, json.dumps(keys))
        else:
            _remove(note)

    # ------------------------------------------------------------------ parts; the lock must be held

    def _step(self, head: Head, numbers: Sequence[int], forward: bool) -> list[Entry]:
        """Applies or undoes entries in this order, in one step."""
        if not numbers:
            return []
        names = self._names()
        for number in numbers:
            self._needed(names[number])
        rest = [number for number in names if number < numbers[-1]]
        target = numbers[-1] if forward else max(rest, default=0)
        steps = (*head.steps, *(Step(names[number], forward) for number in numbers))
        moved = replace(head, number=target, steps=steps, active=time.time(), trouble="")
        write_head(self._folder, moved)
        entries = [self._entry(names[number], moved) for number in numbers]
        return [entry for entry in entries if entry is not None]

    def _without_tail(self, head: Head) -> Head:
        """Puts aside what was undone, and what a killed process wrote without the head being moved."""
        tail = [name for number, name in self._names(beyond=True).items() if number > head.number]
        if not tail:
            return head
        head = replace(head, top=head.number)
        write_head(self._folder, head)
        for name in tail:
            for ending in (SUFFIX, LEFT):
                _put_aside(self._folder / (name + ending), self._folder / DROPPED)
        return head

    def _targets(self, head: Head, places: Places) -> dict[str, Target]:
        return fold_steps([(step, self._changes(step.name)) for step in head.steps], places)

    def _changes(self, name: str) -> tuple[TextChange, ...]:
        """None of an entry that is damaged; it is put aside."""
        try:
            return self._body(name)
        except (DamagedError, FileNotFoundError):
            self._damaged(name)
            return ()

    def _needed(self, name: str) -> tuple[TextChange, ...]:
        try:
            return self._body(name)
        except (DamagedError, FileNotFoundError) as error:
            self._damaged(name)
            raise UserError("history.damaged", name + SUFFIX) from error

    def _body(self, name: str) -> tuple[TextChange, ...]:
        if name not in self._bodies:
            place = self._place(name)
            if place is None:
                raise FileNotFoundError(name)
            changes = read_changes(place)
            try:
                for change in changes:
                    check_key(change.key, self._project is not None)
            except UserError as error:
                raise DamagedError(name) from error
            self._bodies[name] = changes
        return self._bodies[name]

    def _entry(self, name: str, head: Head) -> Entry | None:
        if name not in self._headers:
            try:
                self._headers[name] = read_entry(self._folder / (name + SUFFIX))
            except (DamagedError, FileNotFoundError):
                self._damaged(name)
                return None
        return with_force(self._headers[name], head.number)

    def _damaged(self, name: str) -> None:
        """Puts an entry aside that cannot be read; the ones before it can then still be undone."""
        LOGGER.warning("the history of captions: %s is damaged and was put aside", name + SUFFIX)
        _put_aside(self._folder / (name + SUFFIX), self._folder / DAMAGED)
        head = read_head(self._folder)
        number = max((other for other in self._names() if other <= head.number), default=0)
        steps = tuple(step for step in head.steps if step.name != name)
        write_head(self._folder, replace(head, number=number, steps=steps, trouble=name + SUFFIX))

    def _names(self, beyond: bool = False) -> dict[int, str]:
        """Entries by number; `beyond` the top too, where only strays of killed processes are."""
        top = self._head().top
        found = {number_of(path.stem): path.stem for path in sorted(self._folder.glob(f"*{SUFFIX}"))}
        return {number: name for number, name in found.items() if number and (beyond or number <= top)}

    def _place(self, name: str) -> Path | None:
        for place in (self._folder, self._folder / DROPPED):
            if (place / (name + SUFFIX)).is_file():
                return place / (name + SUFFIX)
        return None

    def _head(self) -> Head:
        try:
            return read_head(self._folder)
        except DamagedError:
            with self._locked():
                return self._mended()

    def _mended(self) -> Head:
        """The head; of a damaged one what can be known from the entries: all of them are taken to be in force."""
        try:
            return read_head(self._folder)
        except DamagedError:
            LOGGER.warning("the history of captions: %s is damaged and was put aside", NAME)
            _put_aside(self._folder / NAME, self._folder / DAMAGED)
            top = max((number_of(path.stem) for path in self._folder.glob(f"*{SUFFIX}")), default=0)
            head = Head(top, top, trouble=NAME)
            write_head(self._folder, head)
            return head

    def _places(self) -> Places:
        return Places(self.base, self._project is not None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError("file.write", self._folder.name, reason=error.strerror or "?") from error
        with hold(self._folder / _LOCK, self._folder.name):
            yield

    def _files_alone(self) -> AbstractContextManager[None]:
        return alone(self._project) if self._project is not None else hold(self._folder / _FILES_LOCK, self.base.name)


def _put_aside(path: Path, folder: Path) -> None:
    try:
        if path.exists():
            folder.mkdir(exist_ok=True)
            free = folder / path.name
            path.replace(free if not free.exists() else folder / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error
