"""Putting what was prepared into the data set: all of it at once, or none.

What is replaced goes to `history/prepared/<id>/`, where it lay before, with a record. The moves are written down before
the first is made (`collection.locking`), so that a process that dies between two of them is finished by the next one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib_lora_train.collection.layout import IMAGES, MASKS, Layout
from lib_lora_train.collection.limits import Limits, megabytes, used_bytes
from lib_lora_train.collection.locking import locked, move_all
from lib_lora_train.collection.made import MADE, Made, made_text
from lib_lora_train.collection.names import stem_of
from lib_lora_train.collection.thumbnails import forget
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_json, write_text
from lib_lora_train.prepare.bench import Bench
from lib_lora_train.prepare.sources import cache_folder
from lib_lora_train.prepare.state import read_state, write_state
from lib_lora_train.prepare.wanted import Captioning, Change, count_changes, find_wanted
from lib_lora_train.project import Project

LOGGER = logging.getLogger("lib_lora_train.prepare")
HISTORY, RECORD, RECORD_VERSION = ("history", "prepared"), "record.json", 1
CAPTION = ".txt"

Moves = list[tuple[Path, Path]]


@dataclass(frozen=True)
class Applied:
    """What was changed. `id` is that of the undo entry; empty when nothing had to be."""

    id: str = ""
    counts: dict[str, int] = field(default_factory=dict)


def apply(
    project: Project, bench: Bench, captioning: Captioning, limits: Limits | None = None, taggers: Sequence[str] = ()
) -> Applied:
    """Makes the data set what it should be. What could not be rendered stays as it is. `taggers` are noted beside the
    pictures whose captions are written.

    Raises UserError: file.write, and collection.too_many, collection.no_room where it would exceed `limits`; everything
    is then as it was before.
    """
    with locked(project):
        state = read_state(project)
        layout = Layout.read(project)
        wanted = find_wanted(project, state, bench, captioning, layout)
        changes = [change for change in wanted.changes if _is_ready(bench, change)]
        state.note_applied()
        if not changes:
            write_state(project, state)
            return Applied()
        entry_id = f"{time.time_ns():020d}-{secrets.token_hex(3)}"  # names sort by time
        counts = count_changes(changes)
        with Staging(project, entry_id) as staging:
            made = dict(layout.made)
            moves: Moves = []
            for change in changes:
                moves += _moves(project, bench, staging, layout, change, made, taggers)
            if limits is not None:
                _check_room(project, limits, layout, counts, staging)
            moves += staging.replace_made(made)
            _write_record(project, staging.history, changes, layout.made, counts)
            forget(project, [change.folder.picture_id(change.old) for change in changes if change.old])
            move_all(project, moves)
        write_state(project, state)
        return Applied(entry_id, counts)


class Staging:
    """New files that wait for their moves, and the place for what they replace; gone again when nothing came of it."""

    def __init__(self, project: Project, entry_id: str, undone: bool = False) -> None:
        self.project = project
        self.folder = cache_folder(project) / "new" / entry_id
        self.aside = cache_folder(project) / "undone" / entry_id
        self.history = project.path(*HISTORY, entry_id)
        self._undone = undone
        self._number = 0

    def __enter__(self) -> Staging:
        for left in (self.folder.parent, self.aside.parent):  # of a process that died; its moves are finished by now
            shutil.rmtree(left, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.aside, ignore_errors=True)
        if kind is not None and not self._undone and not (self.history / MADE).exists():
            shutil.rmtree(self.history, ignore_errors=True)

    def file(self, ending: str) -> Path:
        self._number += 1
        return self.folder / f"{self._number:06d}{ending}"

    def replace_made(self, made: dict[str, Made]) -> Moves:
        """The record of what was made goes along with the moves, so that it is never of another moment."""
        fresh = self.file(".json")
        write_text(fresh, made_text(made))
        current = self.project.folder / MADE
        kept = (self.aside if self._undone else self.history) / MADE
        return [*([(current, kept)] if current.exists() else []), (fresh, current)]


def _check_room(project: Project, limits: Limits, layout: Layout, counts: dict[str, int], staging: Staging) -> None:
    pictures = sum(folder.count for folder in layout.folders) + counts["added"]
    if pictures > limits.files:
        raise UserError("collection.too_many", project.title, count=pictures, limit=limits.files)
    used = used_bytes(project)
    if used + sum(path.stat().st_size for path in staging.folder.iterdir()) > limits.total_bytes:
        raise UserError("collection.no_room", project.title, used=megabytes(used), limit=megabytes(limits.total_bytes))


def _is_ready(bench: Bench, change: Change) -> bool:
    """Whether the files of a change are there."""
    recipe = change.recipe
    if recipe is not None and recipe.key and not bench.picture(recipe).is_file():
        return False
    if change.mask and change.mask_key:
        return bench.mask(change.mask_key).is_file()
    return True


def _moves(
    project: Project,
    bench: Bench,
    staging: Staging,
    layout: Layout,
    change: Change,
    made: dict[str, Made],
    taggers: Sequence[str],
) -> Iterator[tuple[Path, Path]]:
    """Of one picture; `made` is brought up to date. A move away from a place comes before the one to it."""
    folder, history = change.folder, staging.history
    old, new = change.old, change.new
    if change.moves_picture and old:
        yield folder.path / old, history / folder.key / old
        made.pop(old, None)
    entry = change.made
    if change.recipe is not None:
        fresh = staging.file(Path(new).suffix)
        _copy(
            bench.picture(change.recipe) if change.recipe.key else project.path(IMAGES) / change.original, fresh,
            linked=not change.recipe.key,
        )  # fmt: skip
        yield fresh, folder.path / new
        entry = _entry(change, fresh, entry)
    elif new and entry is None:  # only its caption or mask is ours
        entry = _entry(change, folder.path / new, None)
    caption_moves, version = _caption_moves(staging, change)
    yield from caption_moves
    yield from _mask_moves(project, bench, staging, layout, change)
    if new and entry is not None:
        if version is not None:
            entry = replace(entry, caption=version, before=change.before, how={**entry.how, "tags": list(taggers)})
        made[new] = replace(entry, mask=change.mask_key)


def _entry(change: Change, file: Path, known: Made | None) -> Made:
    information = file.stat()
    recipe = change.recipe
    how: dict[str, Any] = {}
    if recipe is not None:
        how = {"crop": recipe.crop.as_dict(), "sha256": recipe.digest}
        if recipe.background is not None:
            how |= {"matte": recipe.background.matte, "background": vars(recipe.background.settings)}
        if recipe.enlarged:
            how["enlarged"] = recipe.enlarged
    return Made(
        original=change.original,
        place=change.place,
        key=recipe.key if recipe is not None else "",
        size=information.st_size,
        time=information.st_mtime_ns,
        caption=known.caption if known is not None else "",
        before=known.before if known is not None else "",
        mask=change.mask_key,
        how=how,
    )


def _caption_moves(staging: Staging, change: Change) -> tuple[Moves, str | None]:
    """And the version of what is written, None when the caption stays."""
    folder, moves = change.folder, []
    goes = change.caption is not None or not change.new
    if goes and change.old:
        moves += [(folder.path / name, staging.history / folder.key / name) for name in folder.captions(change.old)]
    if change.caption is None:
        return moves, None
    if not change.caption.strip():
        return moves, ""
    fresh = staging.file(CAPTION)
    write_text(fresh, change.caption)
    moves.append((fresh, folder.path / (stem_of(change.new) + CAPTION)))
    return moves, hashlib.sha256(change.caption.encode("utf-8")).hexdigest()[:16]


def _mask_moves(project: Project, bench: Bench, staging: Staging, layout: Layout, change: Change) -> Moves:
    if not change.mask:
        return []
    folder, moves = change.folder, []
    place = project.path(MASKS, folder.path.name)
    known = layout.masks(folder).get(stem_of(change.old or change.new), "")
    if known:
        moves.append((place / known, staging.history / MASKS / folder.path.name / known))
    if change.mask_key and change.new:
        fresh = staging.file(".png")
        _copy(bench.mask(change.mask_key), fresh)
        moves.append((fresh, place / f"{stem_of(change.new)}.png"))
    return moves


def _copy(source: Path, target: Path, linked: bool = False) -> None:
    """A hard link of an original, which is never written to; of what is kept for the next time, a copy."""
    try:
        if linked:
            os.link(source, target)
            return
    except (OSError, NotImplementedError):  # no hard links here
        LOGGER.debug("copied instead of linked: %s", target.name)
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _write_record(
    project: Project, history: Path, changes: Sequence[Change], made: dict[str, Made], counts: dict[str, int]
) -> None:
    items = []
    for change in changes:
        items.append(
            {
                "holder": change.folder.key,
                "concept": change.folder.name,
                "old": change.old,
                "new": change.new,
                "picture": change.moves_picture,
                "caption": change.caption is not None or not change.new,
                "mask": change.mask,
                "made": made[change.old].as_dict() if change.old in made else None,
            }
        )
    before = read_state(project).applied
    write_json(
        history / RECORD,
        {"version": RECORD_VERSION, "time": time.time(), "counts": counts, "items": items, "applied": before},
    )
