"""Grids on disk: what each consists of, the stars that were given, what it cost; deleting with undo.

    <project>/grids/cells/<key>.png      pictures, shared by all grids of the project
    <project>/grids/<id>/grid.json       scores.json  job/
    <project>/grids/.trash/<id>-<random>/

LoRA files stand there by their run and name, or by their place in the LoRA folder: a grid can be looked at after they
were moved, and is the same on another computer.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.files import move, write_json
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.scores import Scores
from lib_lora_train.project import Project
from lib_lora_train.runs.grid_marks import GRIDS
from lib_lora_train.runs.pick_records import CHECKPOINTS

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

CELLS, RECORD, SCORES, JOB, TRASH = "cells", "grid.json", "scores.json", "job", ".trash"
VERSION = 1
MOST_TRASH = 10  # grids; the oldest go for good, and with them pictures that no other grid has
_ID = re.compile(r"g[0-9]{2,6}")
_TRASH_ID = re.compile(r"(g[0-9]{2,6})-[0-9a-f]{8}")


@dataclass(frozen=True)
class Asked:
    """What somebody asked for: runs by id, files of the LoRA folder by name, checkpoints by name, all settings."""

    runs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a column's file comes from: a run's file by name, or without a run its place in the LoRA folder."""

    run: str
    file: str


@dataclass(frozen=True)
class Cost:
    """What drawing has taken so far: seconds, pictures, and how often a LoRA was put on the model."""

    seconds: float = 0.0
    drawn: int = 0
    switches: int = 0


@dataclass(frozen=True)
class Kept:
    """A grid as its grid.json says. `sources` are those of the columns; `stars` are 1 to 5 by the cell's key."""

    id: str
    title: str
    created: float
    owner: str
    asked: Asked
    grid: Grid
    sources: tuple[Source, ...]
    stars: Mapping[str, int] = field(default_factory=dict)
    cost: Cost = Cost()

    @property
    def runs(self) -> list[str]:
        return list(dict.fromkeys(source.run for source in self.sources if source.run))


def cell_store(project: Project) -> CellStore:
    return CellStore(project.path(GRIDS, CELLS))


def grid_folder(project: Project, grid_id: str) -> Path:
    """Raises UserError("previews.no_grid")."""
    if not _ID.fullmatch(grid_id) or not (folder := project.path(GRIDS, grid_id)).is_dir():
        raise UserError("previews.no_grid", grid_id[:60])
    return folder


def list_ids(project: Project) -> list[str]:
    """The newest first."""
    folder = project.path(GRIDS)
    names = [path.name for path in folder.iterdir() if _ID.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(names, key=lambda name: int(name[1:]), reverse=True)


def new_folder(project: Project) -> Path:
    """grids/g01, g02, ...; a number in the trash is not given again. Raises UserError("file.write")."""
    used = [*list_ids(project), *(each.id for each in list_trash(project))]
    number = max((int(name[1:]) for name in used), default=0)
    while True:
        number += 1
        folder = project.path(GRIDS, f"g{number:02d}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError("file.write", folder.name, reason=error.strerror or str(error)) from error
        return folder


def write_grid(project: Project, kept: Kept) -> None:
    """Raises UserError("file.write")."""
    grid = kept.grid
    columns = [
        {"run": source.run, "file": source.file, "label": column.label, "identity": column.identity, "epoch": column.epoch, "step": column.step}
        for source, column in zip(kept.sources, grid.columns, strict=True)
    ]  # fmt: skip
    content = {
        "version": VERSION,
        "title": kept.title,
        "created": kept.created,
        "owner": kept.owner,
        "asked": asdict(kept.asked),
        "bases": [asdict(base) for base in grid.bases],
        "columns": columns,
        "weights": list(grid.weights),
        "prompts": [asdict(prompt) for prompt in grid.prompts],
        "seeds": list(grid.seeds),
        "drawing": asdict(grid.drawing),
        "host": grid.host,
        "stars": dict(kept.stars),
        "cost": asdict(kept.cost),
    }
    write_json(project.path(GRIDS, kept.id, RECORD), content)


def read_grid(host: Host, project: Project, grid_id: str) -> Kept:
    """Raises UserError: previews.no_grid, previews.damaged."""
    return _read(host, project, grid_folder(project, grid_id), grid_id)


def read_scores(project: Project, grid_id: str) -> Scores:
    """None known where there is no file, or a damaged one: pictures are then looked at again."""
    try:
        return Scores.from_dict(json.loads(project.path(GRIDS, grid_id, SCORES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Scores()


def write_scores(project: Project, grid_id: str, scores: Scores) -> None:
    """Raises UserError("file.write")."""
    write_json(project.path(GRIDS, grid_id, SCORES), scores.as_dict())


def forget_seen(project: Project, grid_id: str, keys: Collection[str]) -> None:
    """Pictures that are drawn again are looked at again. Raises UserError("file.write")."""
    scores = read_scores(project, grid_id)
    scores.seen = {key: seen for key, seen in scores.seen.items() if key not in set(keys)}
    write_scores(project, grid_id, scores)


def column_path(host: Host, project: Project, source: Source) -> Path:
    """Where the file is now; where it was made, when it is gone."""
    if not source.run:
        return host.paths.loras / source.file
    own = host.paths.loras / project.id / source.file
    moved = project.path("runs", source.run, CHECKPOINTS, source.file)
    return moved if moved.is_file() and not own.is_file() else own


# ---------------------------------------------------------------------- the trash


@dataclass(frozen=True)
class DeletedGrid:
    """`deleted` is in seconds since 1970."""

    trash_id: str
    title: str
    deleted: float

    @property
    def id(self) -> str:
        return self.trash_id.partition("-")[0]


def delete_grid(host: Host, project: Project, grid_id: str) -> str:
    """Moves a grid to the trash; returns its id there. Its pictures stay. Raises previews.no_grid, file.write."""
    folder = grid_folder(project, grid_id)
    trash_id = f"{grid_id}-{secrets.token_hex(4)}"
    write_json(folder / "trash.json", {"deleted": time.time()})
    move(folder, project.path(GRIDS, TRASH, trash_id))
    for old in list_trash(project)[MOST_TRASH:]:
        shutil.rmtree(project.path(GRIDS, TRASH, old.trash_id), ignore_errors=True)
        sweep_cells(host, project)
    return trash_id


def restore_grid(project: Project, trash_id: str) -> str:
    """Brings a grid back; returns its id. Raises UserError: previews.not_in_trash, file.write."""
    if trash_id not in {each.trash_id for each in list_trash(project)}:
        raise UserError("previews.not_in_trash", trash_id[:60])
    grid_id = trash_id.partition("-")[0]
    move(project.path(GRIDS, TRASH, trash_id), project.path(GRIDS, grid_id))
    return grid_id


def list_trash(project: Project) -> list[DeletedGrid]:
    """What can be brought back, the last deleted first."""
    folder = project.path(GRIDS, TRASH)
    found = []
    for path in folder.iterdir() if folder.is_dir() else []:
        if _TRASH_ID.fullmatch(path.name):
            title, deleted = _text(path / RECORD, "title"), _text(path / "trash.json", "deleted")
            found.append(
                DeletedGrid(path.name, str(title or path.name), deleted if isinstance(deleted, float) else 0.0)
            )
    return sorted(found, key=lambda each: (each.deleted, each.trash_id), reverse=True)


def sweep_cells(host: Host, project: Project) -> None:
    """Removes the pictures that no grid has, not even one in the trash; nothing where one of them cannot be read."""
    folders = [(project.path(GRIDS, name), name) for name in list_ids(project)]
    folders += [(project.path(GRIDS, TRASH, each.trash_id), each.id) for each in list_trash(project)]
    wanted: set[str] = set()
    try:
        for folder, grid_id in folders:
            wanted |= {cell.key for cell in _read(host, project, folder, grid_id).grid.cells()}
    except UserError:
        return
    store = cell_store(project)
    store.drop(store.present() - wanted)


# ---------------------------------------------------------------------- reading


def _read(host: Host, project: Project, folder: Path, grid_id: str) -> Kept:
    try:
        said = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if said["version"] != VERSION:
            raise ValueError("version")
        sources = tuple(Source(str(each["run"]), str(each["file"])) for each in said["columns"])
        grid = Grid(
            bases=tuple(Base(str(each["name"]), str(each["identity"])) for each in said["bases"]),
            columns=_columns(host, project, sources, said["columns"]),
            weights=tuple(float(weight) for weight in said["weights"]),
            prompts=tuple(GridPrompt(**{**each, "asks": tuple(each["asks"])}) for each in said["prompts"]),
            seeds=tuple(int(seed) for seed in said["seeds"]),
            drawing=Drawing(**said["drawing"]),
            host=str(said["host"]),
        )
        grid.check()
        asked = {name: tuple(map(str, said["asked"][name])) for name in ("runs", "files", "bases")}
        return Kept(
            id=grid_id,
            title=str(said["title"]),
            created=float(said["created"]),
            owner=str(said["owner"]),
            asked=Asked(**asked, settings=dict(said["asked"]["settings"])),
            grid=grid,
            sources=sources,
            stars={str(key): int(stars) for key, stars in said["stars"].items()},
            cost=Cost(**said["cost"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("previews.damaged", grid_id) from error


def _columns(
    host: Host, project: Project, sources: Sequence[Source], said: Sequence[Mapping[str, Any]]
) -> tuple[Column, ...]:
    return tuple(
        Column(
            column_path(host, project, source),
            str(each["label"]),
            str(each["identity"]),
            int(each["epoch"]),
            int(each["step"]),
        )
        for source, each in zip(sources, said, strict=True)
    )


def _text(path: Path, name: str) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def with_cost(kept: Kept, more: Cost) -> Kept:
    old = kept.cost
    return replace(kept, cost=Cost(old.seconds + more.seconds, old.drawn + more.drawn, old.switches + more.switches))
