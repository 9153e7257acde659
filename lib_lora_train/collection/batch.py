"""Many pictures at once, out of a folder or a zip: received by a few threads, put in their places in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lib_lora_train.collection.caption_files import caption_text
from lib_lora_train.collection.concepts import default_folder, find_existing, find_or_make
from lib_lora_train.collection.intake import Added, Received, receive_picture, receive_text, sweep
from lib_lora_train.collection.kohya import Wish
from lib_lora_train.collection.layout import ConceptFolder, Layout
from lib_lora_train.collection.limits import Limits, Room
from lib_lora_train.collection.locking import locked
from lib_lora_train.collection.shelf import Shelf
from lib_lora_train.dataset import captions
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

SLICE = 16
WORKERS = 4
_FINAL = (
    "file.write",
    "collection.too_many",
    "collection.no_room",
    "collection.zip_total",
)  # after these the rest would fail as well

Chunks = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Incoming:
    """A file to be taken in. `where` is its name in messages, `name` what it is called; `chunks` opens it."""

    where: str
    name: str
    chunks: Chunks
    wish: Wish | None = None  # None: the concept that was chosen
    caption: Incoming | None = None
    mask: Incoming | None = None


@dataclass
class Found:
    """What a folder or a zip has: pictures, captions whose picture is not among them, and what is not taken."""

    pictures: list[Incoming] = field(default_factory=list)
    captions: list[Incoming] = field(default_factory=list)
    problems: list[UserError] = field(default_factory=list)
    notes: list[Log] = field(default_factory=list)


@dataclass
class _Ready:
    """One picture on its way. `item` came out as `picture`, or not at all."""

    item: Incoming
    picture: Received | None = None
    mask: Received | None = None
    caption: str = ""
    problems: list[UserError] = field(default_factory=list)

    def discard(self) -> None:
        for received in (self.picture, self.mask):
            if received is not None:
                received.discard()


def take_all(
    project: Project,
    concept_id: str,
    found: Found,
    limits: Limits,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Added:
    """Takes in what can be; each thing that cannot is a problem of its own, and a Log event.

    `concept_id` is where pictures without a wish go, "" for the default concept. Pictures that are in stay in when a
    limit ends the rest, or the job is stopped. Raises UserError("collection.unknown_concept"), Stopped.
    """
    sweep(project)
    added = Added(problems=list(found.problems))
    for note in found.notes:
        events(note)
    layout = Layout.read(project)
    chosen = layout.folder(concept_id).key if concept_id else ""
    room = Room(project, limits, sum(folder.count for folder in layout.folders))
    reported, large = 0, threading.Lock()
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(found.pictures), SLICE):
            if commands is not None and commands.stopping:
                raise Stopped
            part = found.pictures[start : start + SLICE]
            ready = list(pool.map(lambda item: _prepare(project, item, limits, large), part))
            try:
                goes_on = _put_slice(project, chosen, ready, room, added)
            finally:
                for each in ready:
                    each.discard()
            reported = _report(added, reported, events)
            events(Stage("collection.adding", min(start + SLICE, len(found.pictures)), len(found.pictures)))
            if not goes_on:
                break
    _put_captions(project, chosen, found.captions, added)
    _report(added, reported, events)
    return added


def read_text(item: Incoming) -> str:
    """A caption's text, "" for a blank one. Raises UserError."""
    data = receive_text(item.chunks(), item.where, captions.MAX_CAPTION_BYTES)
    return caption_text(data, item.where)


def _prepare(project: Project, item: Incoming, limits: Limits, large: threading.Lock) -> _Ready:
    ready = _Ready(item)
    try:
        ready.picture = receive_picture(project, item.chunks(), item.where, limits.file_bytes, large)
    except UserError as error:
        ready.problems.append(error)
        return ready
    if item.mask is not None:
        mask = item.mask
        try:
            ready.mask = receive_picture(project, mask.chunks(), mask.where, limits.file_bytes, large)
        except UserError as error:
            ready.problems.append(error)
    if item.caption is not None:
        try:
            ready.caption = read_text(item.caption)
        except UserError as error:
            ready.problems.append(error)
    return ready


def _put_slice(project: Project, chosen: str, ready: Sequence[_Ready], room: Room, added: Added) -> bool:
    """Whether there is any use in going on."""
    with locked(project):
        shelf = Shelf(project)
        for each in ready:
            added.problems += each.problems
            if each.picture is None:
                if any(problem.code in _FINAL for problem in each.problems):
                    return False
                continue
            size = each.picture.size + (each.mask.size if each.mask else 0)
            try:
                room.check(each.item.where, size)
                folder = _folder(shelf.layout, each.item.wish, chosen)
                if shelf.put(folder, each.item.name, each.picture, each.caption, each.mask, added):
                    room.take(size)
            except UserError as error:
                added.problems.append(error)
                if error.code in _FINAL:
                    return False
    return True


def _folder(layout: Layout, wish: Wish | None, chosen: str) -> ConceptFolder:
    """Where a picture goes; made when it is not there yet."""
    if wish is not None:
        return find_or_make(layout, wish.name, wish.repeats, wish.regularization)
    for folder in layout.folders:
        if folder.key == chosen:
            return folder
    if chosen:  # deleted meanwhile
        raise UserError("collection.unknown_concept", "concept")
    return default_folder(layout)


def _put_captions(project: Project, chosen: str, items: Sequence[Incoming], added: Added) -> None:
    """Captions whose picture did not come with them may belong to one that is there."""
    if not items:
        return
    with locked(project):
        shelf = Shelf(project)
        for item in items:
            folder = _existing(shelf.layout, item.wish, chosen)
            if folder is None:
                added.problems.append(UserError("collection.alone", item.where))
            else:
                put_stray_caption(shelf, folder, item, added, waits=False)


def _existing(layout: Layout, wish: Wish | None, chosen: str) -> ConceptFolder | None:
    if wish is not None:
        return find_existing(layout, wish.name, wish.repeats, wish.regularization)
    training = [folder for folder in layout.folders if not folder.regularization]
    return next((folder for folder in layout.folders if folder.key == chosen), training[0] if training else None)


def put_stray_caption(shelf: Shelf, folder: ConceptFolder, item: Incoming, added: Added, waits: bool) -> None:
    """A caption that came by itself; with `waits` its picture may still come."""
    try:
        text = read_text(item)
        if not text:
            added.problems.append(UserError("collection.caption_blank", item.where))
        elif not shelf.put_caption(folder, item.name, text, added, waits) and not waits:
            added.problems.append(UserError("collection.alone", item.where))
    except UserError as error:
        added.problems.append(error)


def _report(added: Added, reported: int, events: EventSink) -> int:
    for problem in added.problems[reported:]:
        events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))
    return len(added.problems)
