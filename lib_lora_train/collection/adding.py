"""Adding to a concept: one file from a browser or a program, or the pictures of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lib_lora_train.collection.archive import add_zip
from lib_lora_train.collection.batch import Incoming, put_stray_caption, take_all
from lib_lora_train.collection.concepts import default_folder
from lib_lora_train.collection.intake import Added, receive, receive_picture, sweep
from lib_lora_train.collection.layout import Layout
from lib_lora_train.collection.limits import Limits, Room
from lib_lora_train.collection.locking import locked
from lib_lora_train.collection.names import (
    ARCHIVE_SUFFIXES,
    CAPTION_SUFFIXES,
    base_name,
    is_picture_name,
    shown,
    split_name,
)
from lib_lora_train.collection.shelf import Shelf
from lib_lora_train.collection.sources import Source, check_not_empty, read_source
from lib_lora_train.dataset.listing import root_folder
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, ignore_events

__all__ = ["Added", "add_folder", "add_stream"]


def add_stream(project: Project, concept_id: str, name: str, chunks: Iterable[bytes], limits: Limits) -> Added:
    """Takes in one file called `name`: a picture, a caption (.txt or .caption) before or after its picture, or a zip.

    `concept_id` "" is the default concept. What cannot be used, or is there already, is a problem of the result.
    Raises UserError: collection.unknown_concept, file.write, and for what is over a limit collection.too_heavy,
    collection.too_many, collection.no_room and, of a zip, collection.zip_members and collection.zip_damaged.
    """
    base = base_name(name)
    where, suffix = shown(base), split_name(base)[1]
    if concept_id:
        Layout.read(project).folder(concept_id)
    if not base or base.startswith("."):
        return Added(problems=[UserError("collection.not_used", where)])
    if suffix == ".zip":
        archive = receive(project, chunks, where, limits.total_bytes)
        try:
            return add_zip(project, concept_id, archive.path, limits, where=where)
        finally:
            archive.discard()
    if suffix in ARCHIVE_SUFFIXES:
        return Added(problems=[UserError("collection.archive", where)])
    if suffix in CAPTION_SUFFIXES:
        return _add_caption(project, concept_id, Incoming(where, base, lambda: chunks))
    return _add_picture(project, concept_id, Incoming(where, base, lambda: chunks), limits)


def add_folder(
    project: Project,
    concept_id: str,
    folder: Path,
    limits: Limits,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Added:
    """Takes in the pictures straight in a folder, with their captions; the folder itself is only read.

    Raises UserError: collection.unknown_concept, dataset.folder_missing, dataset.folder, dataset.empty; Stopped.
    """
    root = root_folder(str(folder), "path")
    found = read_source(Source(root, root))
    check_not_empty(root, [found])
    return take_all(project, concept_id, found, limits, events, commands)


def _add_picture(project: Project, concept_id: str, item: Incoming, limits: Limits) -> Added:
    sweep(project)
    added = Added()
    room = Room(project, limits, sum(folder.count for folder in Layout.read(project).folders))
    room.check(item.where, 0)
    try:
        picture = receive_picture(project, item.chunks(), item.where, limits.file_bytes)
    except UserError as error:
        if not error.code.startswith("image."):
            raise
        known = is_picture_name(item.name)
        added.problems.append(error if known else UserError("collection.not_used", item.where))
        return added
    try:
        with locked(project):
            room.check(item.where, picture.size)
            shelf = Shelf(project)
            folder = shelf.layout.folder(concept_id) if concept_id else default_folder(shelf.layout)
            shelf.put(folder, item.name, picture, "", None, added)
    finally:
        picture.discard()
    return added


def _add_caption(project: Project, concept_id: str, item: Incoming) -> Added:
    added = Added()
    with locked(project):
        shelf = Shelf(project)
        folder = shelf.layout.folder(concept_id) if concept_id else default_folder(shelf.layout)
        shelf.pending.sweep()
        put_stray_caption(shelf, folder, item, added, waits=True)
    return added
