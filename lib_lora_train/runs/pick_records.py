"""What a pick has done to the folders, written down before it is done: the way back, also after a crash.

    <project>/picks/<id>/  pick.json  replaced/  taken/  others/
    <project>/runs/<run id>/checkpoints/          files that were moved out of the LoRA folder

`replaced` holds the set that had the name before, `taken` what an undone pick had published, `others` the checkpoints
that went to the trash. There a file's name has an ending more, so that no list of models shows it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lib_lora_train.collection.file_lock import hold
from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside, write_json
from lib_lora_train.project import Project
from lib_lora_train.runs.editions import put

PICKS = "picks"
CHECKPOINTS = "checkpoints"  # in a run's folder
REPLACED, TAKEN, OTHERS = "replaced", "taken", "others"
ASIDE = ".aside"
PUBLISHING, DONE, UNDONE = "publishing", "done", "undone"
_RECORD, _VERSION = "pick.json", 1
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Pick:
    """One act of publishing. `time` is in seconds since 1970; `files` are the published set's.

    `moves` are (from, to): the first is a path in the LoRA folder, the second one in the project. What is undone goes
    back from the second to the first. `difference` is in grey levels; None where no picture was compared.
    """

    id: str
    time: float
    state: str
    name: str
    run: str
    file: str
    weight: float
    files: tuple[str, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    matched: int = 0
    total: int = 0
    difference: int | None = None


def new_id() -> str:
    return secrets.token_hex(8)


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """One pick of a project at a time; others wait. Raises UserError("file.write")."""
    folder = project.path(PICKS)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError("file.write", PICKS, reason=error.strerror or str(error)) from error
    with hold(folder / ".lock", PICKS):
        yield


def write_pick(project: Project, pick: Pick) -> None:
    """Raises UserError("file.write")."""
    write_json(project.path(PICKS, pick.id, _RECORD), {"version": _VERSION, **asdict(pick)})


def read_pick(project: Project, pick_id: str) -> Pick:
    """Raises UserError("picking.no_pick")."""
    try:
        if not _ID.fullmatch(pick_id):
            raise ValueError(pick_id)
        content = json.loads(project.path(PICKS, pick_id, _RECORD).read_text(encoding="utf-8"))
        if content.pop("version") != _VERSION:
            raise ValueError(pick_id)
        difference = content["difference"]
        return Pick(
            id=pick_id,
            time=float(content["time"]),
            state=str(content["state"]),
            name=str(content["name"]),
            run=str(content["run"]),
            file=str(content["file"]),
            weight=float(content["weight"]),
            files=tuple(map(str, content["files"])),
            moves=tuple((str(source), str(target)) for source, target in content["moves"]),
            matched=int(content["matched"]),
            total=int(content["total"]),
            difference=None if difference is None else int(difference),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("picking.no_pick", pick_id[:60]) from error


def list_picks(project: Project) -> list[Pick]:
    """All that were made, the newest first; a damaged record is left out."""
    folder = project.path(PICKS)
    found = []
    for path in folder.iterdir() if folder.is_dir() else []:
        try:
            found.append(read_pick(project, path.name))
        except UserError:
            continue
    return sorted(found, key=lambda pick: (pick.time, pick.id), reverse=True)


def picked_files(project: Project, run_id: str, loras: Path) -> set[str]:
    """Names of the files of a run that were picked, as long as what was published is there."""
    picks = [pick for pick in list_picks(project) if pick.state == DONE and pick.run == run_id and pick.files]
    return {pick.file for pick in picks if (loras / pick.files[-1]).is_file()}


def move_away(project: Project, loras: Path, pick: Pick) -> None:
    """Moves what the record says out of the LoRA folder; what is gone already is passed over. Raises as `put`."""
    for source, target in pick.moves:
        path = resolve_inside(loras, source)
        if path.is_file():
            put(path, project.path(target))


def take_back(project: Project, loras: Path, pick: Pick, state: str = UNDONE) -> Pick:
    """Takes the published set away and brings back what was moved. To be called again after a crash, it goes on.

    Raises UserError: picking.in_way, when a file that comes back would meet another; nothing is done then; file.write.
    """
    published = {name for name in pick.files if (loras / name).is_file()}
    back = [(project.path(target), resolve_inside(loras, source)) for source, target in pick.moves]
    for source, target in back:
        free = not os.path.lexists(target) or (target.parent == loras.resolve() and target.name in published)
        if source.is_file() and not free:
            raise UserError("picking.in_way", target.name)
    for name in reversed(pick.files):  # the model first: what is left of a set is then no LoRA
        if name in published and not _came_back(project, loras, pick, name):
            put(loras / name, _unused(project.path(PICKS, pick.id, TAKEN), f"{name}{ASIDE}"))
    for source, target in back:
        if source.is_file():
            put(source, target)
    undone = replace(pick, state=state)
    write_pick(project, undone)
    return undone


def settle(project: Project, loras: Path) -> None:
    """Takes back what a process that died had not finished. To be called with the lock held."""
    for pick in list_picks(project):
        if pick.state == PUBLISHING:
            take_back(project, loras, pick)


def aside(pick_id: str, kind: str, name: str) -> str:
    """Where a file of this name goes, relative to the project."""
    return f"{PICKS}/{pick_id}/{kind}/{name}{ASIDE}"


def moves_of(loras: Path, paths: Sequence[Path], target: str, ending: str = "") -> tuple[tuple[str, str], ...]:
    """For `Pick.moves`: files of the LoRA folder to a folder of the project."""
    return tuple((path.relative_to(loras).as_posix(), f"{target}/{path.name}{ending}") for path in paths)


def now() -> float:
    return time.time()


def _came_back(project: Project, loras: Path, pick: Pick, name: str) -> bool:
    """Whether the file under a published name is the earlier one again: an undoing that was cut had got that far."""
    return any(source == name and not project.path(target).is_file() for source, target in pick.moves)


def _unused(folder: Path, name: str) -> Path:
    path, number = folder / name, 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{number}-{name}"
    return path
