"""Taking back a change of the data set: what was replaced comes back from `history/prepared/<id>/`.

Only the newest can be taken back, then the one before it. What somebody has changed since is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora_train.collection.caption_files import read_file
from lib_lora_train.collection.layout import MASKS, ConceptFolder, Layout
from lib_lora_train.collection.locking import locked, move_all
from lib_lora_train.collection.made import Made, made_entry
from lib_lora_train.collection.names import shown, stem_of
from lib_lora_train.collection.thumbnails import forget
from lib_lora_train.errors import UserError
from lib_lora_train.files import discard
from lib_lora_train.prepare.applying import CAPTION, HISTORY, RECORD, RECORD_VERSION, Staging
from lib_lora_train.prepare.state import read_state, write_state
from lib_lora_train.project import Project


@dataclass(frozen=True)
class UndoEntry:
    """A change of the data set that can be taken back. `time` in seconds since 1970."""

    id: str
    time: float
    counts: dict[str, int]


def list_undo(project: Project) -> list[UndoEntry]:
    """The newest first; only that one can be taken back."""
    folder = project.path(*HISTORY)
    found = []
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        record = _read_record(path)
        if record is not None:
            found.append(UndoEntry(path.name, float(record["time"]), dict(record["counts"])))
    return found


def undo(project: Project, entry_id: str) -> int:
    """Takes the newest change of the data set back; returns how many pictures and captions were left as they are,
    because somebody has changed them since.

    Raises UserError: prepare.no_undo for an entry that is not the newest, file.write.
    """
    with locked(project):
        entries = list_undo(project)
        if not entries or entries[0].id != entry_id:
            raise UserError("prepare.no_undo", "undo")
        history = project.path(*HISTORY, entry_id)
        record = _read_record(history) or {}
        layout = Layout.read(project)
        made = dict(layout.made)
        left, moves = 0, []
        with Staging(project, entry_id, undone=True) as staging:
            for item in record["items"]:
                back = list(_way_back(project, history, staging.aside, layout, item, made))
                left += not back
                moves += back
            moves += staging.replace_made(made)
            forget(project, [folder.picture_id(name) for folder in layout.folders for name in folder.pictures()])
            move_all(project, moves)
        state = read_state(project)
        state.applied = record.get("applied")
        write_state(project, state)
        discard(history)
        return left


def _read_record(history: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((history / RECORD).read_text(encoding="utf-8"))
        if record["version"] != RECORD_VERSION:
            return None
        for item in record["items"]:
            for name in (item["old"], item["new"], *item["holder"].split("/", 1)):
                _check_name(name)
        return record
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _check_name(name: str) -> None:
    """A record may only hold plain names, or none. Raises ValueError, TypeError."""
    if name in (".", "..") or name != Path(name).name or "\x00" in name:
        raise ValueError(name)


def _way_back(
    project: Project, history: Path, aside: Path, layout: Layout, item: dict[str, Any], made: dict[str, Made]
) -> Iterator[tuple[Path, Path]]:
    """Of one picture; nothing when somebody has changed it since."""
    folder = _folder(layout, item)
    if folder is None:
        return
    old, new = item["old"], item["new"]
    entry = made.get(new)
    if new and (entry is None or not entry.is_of(folder.path / new)):
        return
    if item["picture"] and new:
        yield folder.path / new, aside / folder.key / new
    if item["picture"] and old:
        yield history / item["holder"] / old, folder.path / old
    if item["caption"]:
        yield from _captions_back(history, aside, folder, item, entry)
    if item["mask"]:
        yield from _masks_back(project, history, aside, layout, folder, item)
    made.pop(new, None)
    if old and item["made"] is not None:
        made[old] = made_entry(item["made"])


def _captions_back(
    history: Path, aside: Path, folder: ConceptFolder, item: dict[str, Any], entry: Made | None
) -> Iterator[tuple[Path, Path]]:
    stem = stem_of(item["new"] or item["old"])
    name = stem + CAPTION
    if item["new"] and name in folder.names:
        if entry is None or read_file(folder.path / name, shown(name)).version != entry.caption:
            return  # somebody's own words since then
        yield folder.path / name, aside / folder.key / name
    place = history / item["holder"]
    for before in sorted(place.iterdir()) if place.is_dir() else []:
        if before.suffix in (CAPTION, ".caption") and before.stem == stem:
            yield before, folder.path / before.name


def _masks_back(
    project: Project, history: Path, aside: Path, layout: Layout, folder: ConceptFolder, item: dict[str, Any]
) -> Iterator[tuple[Path, Path]]:
    stem = stem_of(item["new"] or item["old"])
    place = project.path(MASKS, folder.path.name)
    present = layout.masks(folder).get(stem, "")
    if present:
        yield place / present, aside / MASKS / present
    before = history / MASKS / Path(item["holder"]).name
    for mask in sorted(before.iterdir()) if before.is_dir() else []:
        if mask.stem == stem:
            yield mask, place / mask.name


def _folder(layout: Layout, item: dict[str, Any]) -> ConceptFolder | None:
    """The concept's folder, whatever its repeats are by now."""
    training = [folder for folder in layout.folders if not folder.regularization]
    for folder in training:
        if folder.key == item["holder"]:
            return folder
    return next((folder for folder in training if folder.name == item["concept"]), None)
