"""Deleting a run and bringing it back: its folder and its LoRA files go to the project's trash together.

    runs/.trash/<run id>-<random>/  trash.json  run/  loras/

The published copy is not the run's any more and stays. A number is never given twice (`project.new_run`).
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.job_files import FolderLock
from lib_lora_train.project import RUN_TRASH, Project, run_folder
from lib_lora_train.runs.infos import project_loras, run_files, run_title
from lib_lora_train.runs.naming import fold, lora_files, loras_folder
from lib_lora_train.runs.records import read_record
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_CARD = "trash.json"
_TRASH_ID = re.compile(r"(r\d{2,6})-[0-9a-f]{8}")
_ASIDE = ".deleted"  # so that no model scanner takes a file in the trash for one in use


@dataclass(frozen=True)
class DeletedRun:
    """`deleted` is in seconds since 1970."""

    trash_id: str
    title: str
    deleted: float


def delete_run(host: Host, project: Project, run_id: str) -> str:
    """Moves a run to the trash; returns its id there. Raises UserError: project.no_run, run.lives, file.write."""
    folder = run_folder(project, run_id)
    lock = FolderLock.take(folder)
    if lock is None:
        raise UserError("run.lives", run_id)
    lock.release()  # Windows cannot move a folder with an open file in it
    title, name = _title_and_name(folder)
    trash_id = f"{run_id}-{secrets.token_hex(4)}"
    place = project.path("runs", RUN_TRASH, trash_id)
    write_json(place / _CARD, {"title": title, "deleted": time.time()})
    _move(folder, place / "run")  # first, so that a crash after it leaves what can be restored
    if name:
        for path in run_files(project_loras(loras_folder(host, project)), name):
            _move(path, place / "loras" / f"{path.name}{_ASIDE}")
    host.refresh_loras()
    return trash_id


def restore_run(host: Host, project: Project, trash_id: str) -> str:
    """Brings a run back; returns its id. Raises UserError: run.not_in_trash, run.taken, file.write."""
    place = _place(project, trash_id)
    run_id = _TRASH_ID.fullmatch(trash_id)[1]
    target = project.path("runs", run_id)
    loras = loras_folder(host, project)
    files = {path: loras / path.name.removesuffix(_ASIDE) for path in (place / "loras").glob(f"*{LORA_SUFFIX}{_ASIDE}")}
    there = {fold(path.stem) for path in lora_files(host.paths.loras)}
    taken = next((path.name for path in files.values() if fold(path.stem) in there), None)
    if target.exists() or taken:
        raise UserError("run.taken", taken or run_id)
    for source, lora in files.items():
        _move(source, lora)
    _move(place / "run", target)
    shutil.rmtree(place, ignore_errors=True)  # all that is left there is the card
    host.refresh_loras()
    return run_id


def list_deleted(project: Project) -> list[DeletedRun]:
    """What can be brought back, the last deleted first."""
    found = []
    folder = project.path("runs", RUN_TRASH)
    for path in folder.iterdir() if folder.is_dir() else []:
        if _TRASH_ID.fullmatch(path.name) and (path / "run").is_dir():
            found.append(DeletedRun(path.name, *_card(path)))
    return sorted(found, key=lambda each: each.deleted, reverse=True)


def _place(project: Project, trash_id: str) -> Path:
    if trash_id not in {each.trash_id for each in list_deleted(project)}:
        raise UserError("run.not_in_trash", trash_id[:60])
    return project.path("runs", RUN_TRASH, trash_id)


def _card(place: Path) -> tuple[str, float]:
    try:
        content = json.loads((place / _CARD).read_text(encoding="utf-8"))
        return str(content["title"]), float(content["deleted"])
    except (OSError, ValueError, KeyError, TypeError):
        return place.name.rpartition("-")[0], 0.0


def _title_and_name(folder: Path) -> tuple[str, str]:
    """A run whose record is damaged can be deleted too; its LoRA files then stay."""
    try:
        record = read_record(folder)
    except UserError:
        return folder.name, ""
    return run_title(record, folder.name), record.name


def _move(source: Path, target: Path) -> None:
    """Also between disks: LoRA files may lie on another one than projects."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    except OSError as error:
        raise UserError("file.write", source.name, reason=error.strerror or str(error)) from error
