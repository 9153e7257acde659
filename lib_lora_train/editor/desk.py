"""The captions of one project, read once for all that is asked about them until something changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lib_lora_train.collection.caption_files import caption_from, check_caption
from lib_lora_train.collection.history import Entry, History, TextChange
from lib_lora_train.collection.locking import locked
from lib_lora_train.collection.names import stem_of
from lib_lora_train.editor.writing import Writer
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.tags.filters import parse_filter, select
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.place import Place
from lib_lora_train.tags.sheet import Sheet

if TYPE_CHECKING:
    from lib_lora_train.editor.editor import Tools
    from lib_lora_train.editor.exchanging import Import
    from lib_lora_train.signals import Log

# How old what is shown may be, in seconds; before captions are changed their files are looked at.
FRESH = 1.0  # where somebody watches
_OLDEST = 5.0  # for all else, and while files change all the time, into what is shown already
_COST = 30  # times as long as a look at all files takes
_HEAD = "history/tags/head.json"  # replaced as a whole whenever the journal moves
_NEVER = float("-inf")
_FILTERS = 16  # whose pictures are remembered


class Desk:
    """Of one project. Thread-safe."""

    def __init__(self, project: Project, tools: Tools) -> None:
        self.tools = tools
        self._lock = threading.RLock()
        self.place = Place.of_project(project)
        self.writer = Writer(self.place.history)
        self.touched: tuple[int, ...] = ()  # entries that were done or undone last, here
        self.held: Import | None = None  # captions that somebody sent and has not applied yet
        self._sheet: Sheet | None = None
        self._read = _NEVER
        self._took = 0.0
        self._wrote = False
        self._files_are_ours = False
        self._found: OrderedDict[tuple[str, ...], list[int]] = OrderedDict()
        self._kept: dict[str, tuple[object, Any]] = {}

    @property
    def project(self) -> Project:
        project = self.place.project
        if project is None:
            raise TypeError("a desk is that of a project")
        return project

    @property
    def history(self) -> History:
        return self.place.history

    @property
    def trigger(self) -> str:
        return self.place.trigger

    @property
    def form(self) -> str:
        """How captions are written: tags or sentences."""
        return str(self.state.get("form", "tags"))

    @property
    def state(self) -> dict[str, Any]:
        """The notes of the journal's entries in force."""
        return self.once("state", self.moved, self.history.state)

    @property
    def moved(self) -> tuple[int, ...]:
        """Changes whenever something is done, undone or redone, here or by another process."""
        try:
            information = (self.project.folder / _HEAD).stat()
        except OSError:
            return ()
        return information.st_mtime_ns, information.st_ino, information.st_size

    def take(self, project: Project) -> None:
        """What project.json says now."""
        with self._lock:
            if project != self.place.project:
                self.place = replace(
                    self.place,
                    title=project.title,
                    kind=project.kind,
                    trigger=project.trigger_word,
                    project=project,
                )

    # ------------------------------------------------------------------ reading

    def sheet(self, now: bool = False, fresh: float = _OLDEST) -> Sheet:
        """What is there, `fresh` seconds ago at most; `now`: every file is looked at again."""
        with self._lock:
            if self._sheet is None or now or self._stale(fresh):
                if not (self._files_are_ours or self.history.settled):  # a full disk, or a process that died
                    self.writer.catch_up()
                start = time.monotonic()
                self._sheet, known = self.place.read(self._sheet, self.tools.tokens.counter()), self._sheet
                self._read = time.monotonic()
                self._took = self._read - start if known is not None else 0.0
            return self._sheet

    def _stale(self, fresh: float) -> bool:
        writing = self.writer.progress is not None
        was_writing, self._wrote = self._wrote, writing
        if was_writing and not writing:  # what another program changed meanwhile was left, and is to be seen
            return True
        return time.monotonic() - self._read > (_OLDEST if writing else min(fresh, _COST * self._took))

    def item(self, picture_id: str, now: bool = False) -> Item:
        """Raises UserError("collection.unknown_picture")."""
        item = self.sheet(now).by_id.get(picture_id)
        if item is None:
            raise UserError("collection.unknown_picture", "picture", count=1)
        return item

    def select(self, sheet: Sheet, text: str, language: str = "") -> list[int]:
        """Places in the sheet of the pictures that a filter finds. Raises UserError as `parse_filter`."""
        key = (sheet.revision, self.trigger, text, language)
        with self._lock:
            known = self._found.get(key)
        if known is None:
            search = self.tools.lexicon.translations(language).search if language else None
            known = select(sheet, parse_filter(text), self.trigger, search)
            with self._lock:
                self._found[key] = known
                while len(self._found) > _FILTERS:
                    self._found.popitem(last=False)
        return known

    def once(self, name: str, stamp: object, make: Any) -> Any:
        """What `make` gives, made once per `stamp`."""
        with self._lock:
            known = self._kept.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, make())
            with self._lock:
                self._kept[name] = known
        return known[1]

    # ------------------------------------------------------------------ changing

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around what reads captions, decides and writes: no other change comes between.

        Waits for others who change the project's pictures, but not for our own writing of files: that takes in what is
        done meanwhile. Others may read while this waits. Raises UserError("file.write").
        """
        if self.writer.progress is not None:
            with self._lock:
                yield
            return
        with locked(self.project), self._lock:
            self._files_are_ours = True
            try:
                yield
            finally:
                self._files_are_ours = False

    def write(self, sheet: Sheet, texts: Mapping[str, str], title: Log, note: Mapping[str, Any] | None = None) -> None:
        """Gives pictures, by id, other captions, as one step of undo; nothing at all when nothing changes and there is
        no note. Within `changing`, with a sheet that was read there.

        Raises UserError: editor.changed, history.changed, collection.caption_long, collection.caption_characters,
        caption.unreadable, file.write.
        """
        head = self.history.head
        for picture_id, text in texts.items():
            check_caption(text, sheet.by_id[picture_id].name)
        changes = self.history.changes_for({sheet.by_id[each].picture: text for each, text in texts.items()})
        changes = list({change.key: change for change in changes}.values())  # two pictures may share a caption file
        if not changes and not note:
            return
        check_unchanged([sheet.by_id[each] for each in texts], changes)
        entry = self.history.append(changes, title, note, expected_head=head)
        self._sheet = sheet.with_texts(texts)
        self.touched = (entry.number,)
        self._bring(len(changes))

    def follow(self, entries: Sequence[Entry]) -> None:
        """Within `changing`, after the journal has moved by `entries`: what is to be shown is read, then the files
        follow."""
        self.touched = tuple(entry.number for entry in entries)
        self.sheet(now=True)
        self._bring(sum(entry.count for entry in entries))

    def _bring(self, count: int) -> None:
        self.writer.write(count, self._files_are_ours)
        if self.writer.left:  # they are not what is shown
            self._read = _NEVER

    def left(self) -> list[str]:
        """Keys of the files that the last change left as another program had made them."""
        numbers: Iterable[int] = self.touched or (self.history.head,)
        return list(dict.fromkeys(key for number in numbers for key in self.history.left(number)))


def check_unchanged(items: Iterable[Item], changes: Iterable[TextChange]) -> None:
    """Raises UserError("editor.changed") when a file is not as it was read."""
    expected = {stem_of(item.picture): item for item in items}
    for change in changes:
        item = expected[stem_of(change.key)]
        if change.key != item.key and change.key.rpartition("/")[2] in item.files:
            continue  # it does not say anything
        version = item.version if change.key == item.key else ""
        if version != ("" if change.before is None else caption_from(change.before, item.name).version):
            raise UserError("editor.changed", item.name)
