"""Deleting so that it can be undone: a picture goes to `.trash/<id>/` with its original, caption and mask.

A record there says what came from where. What is brought back goes to its old place; where a name is taken by now it
gets another one, all files of a picture alike.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.layout import (
    HOLDERS,
    IMAGES,
    MASKS,
    Belongings,
    ConceptFolder,
    Layout,
    visible_names,
)
from lib_lora_train.collection.locking import locked, move_all
from lib_lora_train.collection.names import fold, free_stem, parse_folder, shown, stem_of
from lib_lora_train.collection.thumbnails import forget
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.project import TRASH, Project

LOGGER = logging.getLogger("lib_lora_train.collection")
RECORD, RECORD_VERSION = "record.json", 1


@dataclass(frozen=True)
class TrashEntry:
    """What one deletion took. `title` is the concept or the first picture; `count` the number of pictures; `deleted`
    in seconds since 1970; `kind` is pictures or concept."""

    id: str
    title: str
    count: int
    deleted: float
    kind: str = "pictures"

    def as_dict(self) -> dict[str, object]:
        """For the REST routes."""
        return {"trash_id": self.id, "title": self.title, "count": self.count, "deleted": self.deleted, "kind": self.kind}  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """A picture in the trash; names only."""

    folder: str
    regularization: bool
    picture: str
    captions: tuple[str, ...]
    mask: str
    original: str


@dataclass(frozen=True)
class _Record:
    entry: TrashEntry
    items: list[_Item]
    concept: tuple[str, bool] | None  # folder and regularization, of a concept that was deleted
    others: list[tuple[str, str]]  # (folder in the project, name) of files that are no pictures'


def delete_pictures(project: Project, picture_ids: Collection[str]) -> str:
    """Moves pictures to the trash and returns the id to restore them by.

    Raises UserError: collection.nothing_chosen, collection.unknown_picture (then none is moved), file.write.
    """
    if not picture_ids:
        raise UserError("collection.nothing_chosen", "pictures")
    with locked(project):
        layout = Layout.read(project)
        chosen = layout.locate(picture_ids)
        forget(project, picture_ids)
        return _throw(project, shown(chosen[0][1]), layout.belongings(chosen), None, [])


def delete_concept(project: Project, concept_id: str) -> str:
    """Moves a concept with all that lies in its folder to the trash and returns the id to restore it by.

    Raises UserError: collection.unknown_concept, file.write.
    """
    with locked(project):
        layout = Layout.read(project)
        folder = layout.folder(concept_id)
        belongings = layout.belongings([(folder, name) for name in folder.pictures()])
        forget(project, [folder.picture_id(name) for name in folder.pictures()])
        gone = {name for each in belongings for name in (each.picture, *each.captions)}
        others = [(folder.key, name) for name in sorted(set(os.listdir(folder.path)) - gone)]  # noqa: PTH208 - names
        masks = layout.mask_folder(folder)
        if masks is not None:
            left = set(os.listdir(masks)) - {each.mask for each in belongings}  # noqa: PTH208
            others += [(f"{MASKS}/{folder.path.name}", name) for name in sorted(left)]
        trash_id = _throw(project, shown(folder.name), belongings, folder, others)
        for emptied in filter(None, (folder.path, masks)):
            try:
                emptied.rmdir()
            except OSError as error:  # somebody looks into it: it stays, empty
                LOGGER.warning("project %s: %s could not be removed: %s", project.id, emptied.name, error)
        return trash_id


def list_trash(project: Project) -> list[TrashEntry]:
    """What can be brought back, last deleted first."""
    found = []
    for name in visible_names(project.path(TRASH)):
        try:
            found.append(_read(project, name).entry)
        except UserError as error:
            LOGGER.warning("project %s: %s", project.id, error)
    return sorted(found, key=lambda entry: (entry.deleted, entry.id), reverse=True)


def restore(project: Project, trash_id: str) -> int:
    """Brings back what one deletion took, and returns how many pictures that were.

    Raises UserError: collection.unknown_trash (also when it was brought back before), collection.trash_damaged,
    file.write.
    """
    with locked(project):
        record = _read(project, trash_id)
        source = project.path(TRASH, trash_id)
        layout = Layout.read(project)
        moves, count = _way_back(project, layout, record, source)
        if record.concept is not None:
            _make_folder(_home(project, layout, *record.concept))
        move_all(project, moves)
        _tidy(source)
        return count


def empty_trash(project: Project) -> int:
    """Deletes for good what lies in the trash, and returns how many entries that were. Raises UserError("file.write")."""
    with locked(project):
        folder = project.path(TRASH)
        names = visible_names(folder)
        try:
            for name in names:
                shutil.rmtree(folder / name)
        except OSError as error:
            raise UserError("file.write", TRASH, reason=error.strerror or "?") from error
        return len(names)


def _throw(
    project: Project, title: str, chosen: Sequence[Belongings], concept: ConceptFolder | None,
    others: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    trash_id = secrets.token_hex(8)
    target = project.path(TRASH, trash_id)
    base = project.path()
    files = [file for each in chosen for file in _files(each)] + [f"{folder}/{name}" for folder, name in others]
    record = {
        "version": RECORD_VERSION,
        "kind": "pictures" if concept is None else "concept",
        "title": title,
        "deleted": time.time(),
        "concept": None if concept is None else [concept.path.name, concept.regularization],
        "items": [
            [each.folder.path.name, each.folder.regularization, each.picture, each.captions, each.mask, each.original]
            for each in chosen
        ],
        "others": others,
    }
    write_json(target / RECORD, record)
    try:
        move_all(project, [(base / file, target / file) for file in files])
    except UserError:
        _tidy(target)
        raise
    return trash_id


def _files(each: Belongings) -> Iterator[str]:
    """All files of a picture, by their paths in the project."""
    for name in (each.picture, *each.captions):
        yield f"{each.folder.key}/{name}"
    if each.mask:
        yield f"{MASKS}/{each.folder.path.name}/{each.mask}"
    if each.original:
        yield f"{IMAGES}/{each.original}"


def _read(project: Project, trash_id: str) -> _Record:
    """Raises UserError: collection.unknown_trash, collection.trash_damaged."""
    root = project.path(TRASH)
    if trash_id not in visible_names(root):
        raise UserError("collection.unknown_trash", shown(trash_id))
    try:
        content = json.loads((root / trash_id / RECORD).read_text(encoding="utf-8"))
        items = [_item(*values) for values in content["items"]]
        concept = content["concept"]
        if concept is not None:
            concept = (_folder(concept[0]), bool(concept[1]))
        others = [(_holder(folder), _name(name)) for folder, name in content["others"]]
        entry = TrashEntry(
            trash_id, shown(content["title"]), len(items), float(content["deleted"]), str(content["kind"])
        )
        if content["version"] != RECORD_VERSION:
            raise ValueError(content["version"])
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError("collection.trash_damaged", shown(trash_id)) from error
    return _Record(entry, items, concept, others)


def _item(folder: str, regularization: bool, picture: str, captions: list[str], mask: str, original: str) -> _Item:
    names = tuple(_name(caption) for caption in captions)
    return _Item(
        _folder(folder), bool(regularization), _name(picture), names, mask and _name(mask), original and _name(original)
    )


def _name(name: str) -> str:
    """A record may only hold plain names. Raises ValueError."""
    if name in ("", ".", "..") or name != Path(name).name or "\x00" in name:
        raise ValueError(name)
    return name


def _folder(name: str) -> str:
    if parse_folder(_name(name)) is None:
        raise ValueError(name)
    return name


def _holder(folder: str) -> str:
    holder, _, name = folder.partition("/")
    if holder not in (*HOLDERS.values(), MASKS):
        raise ValueError(folder)
    return f"{holder}/{_folder(name)}"


def _way_back(project: Project, layout: Layout, record: _Record, source: Path) -> tuple[list[tuple[Path, Path]], int]:
    moves: list[tuple[Path, Path]] = []
    taken, given, count = set(layout.stems), set(), 0

    def back(file: Path, target: Path) -> None:
        if os.path.lexists(file):
            moves.append((file, target))

    for item in record.items:
        place = source / HOLDERS[item.regularization] / item.folder
        if not os.path.lexists(place / item.picture):
            continue
        count += 1
        home = _home(project, layout, item.folder, item.regularization)
        stem = stem_of(item.picture)
        fresh = stem if _is_of_kept(layout, item, given) else free_stem(stem, taken)
        taken.add(fold(fresh))
        given.add(fold(fresh))
        for name in (item.picture, *item.captions):
            back(place / name, home / (fresh + name[len(stem) :]))
        if item.mask:
            masks = project.path(MASKS, home.name)
            back(source / MASKS / item.folder / item.mask, masks / (fresh + item.mask[len(stem) :]))
        if item.original:
            ending = item.original[len(stem_of(item.original)) :]
            back(source / IMAGES / item.original, project.path(IMAGES) / (fresh + ending))
    for folder, name in record.others:
        holder, _, folder_name = folder.partition("/")
        home = _home(project, layout, folder_name, holder == HOLDERS[True])
        place = home if holder != MASKS else project.path(MASKS, home.name)
        back(source / folder / name, _unused(place / name, {target for _, target in moves}))
    return moves, count


def _is_of_kept(layout: Layout, item: _Item, given: set[str]) -> bool:
    """Whether the name of a picture is only taken by the original that it was made from, which stayed. `given` are the
    stems of pictures that came back before it."""
    made, stem = layout.made.get(item.picture), fold(stem_of(item.picture))
    own = made is not None and not item.original and fold(stem_of(made.original)) == stem
    return own and stem in layout.originals and stem not in layout.used_stems | given


def _home(project: Project, layout: Layout, folder: str, regularization: bool) -> Path:
    """Where a deleted concept's pictures go: its folder, one of its name with other repeats, or a new one."""
    alike = [other for other in layout.folders if other.regularization == regularization]
    for other in alike:
        if other.path.name == folder:
            return other.path
    name = (parse_folder(folder) or (1, folder))[1]
    for other in alike:
        if fold(other.name) == fold(name):
            return other.path
    return project.path(HOLDERS[regularization], folder)


def _unused(path: Path, planned: Collection[Path]) -> Path:
    stem, number, free = stem_of(path.name), 1, path
    while os.path.lexists(free) or free in planned:
        number += 1
        free = path.with_name(f"{stem}-{number}{path.name[len(stem) :]}")
    return free


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error


def _tidy(folder: Path) -> None:
    """Removes an entry of which nothing is left but its record; anything else stays."""
    left = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    if left not in ([], [folder / RECORD]):
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UserError("file.write", folder.name, reason=error.strerror or "?") from error
