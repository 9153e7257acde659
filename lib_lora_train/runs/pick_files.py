"""Which files a pick is about: the one that is picked, those that have its name, the run's others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import FolderLock
from lib_lora_train.network.rewriting import same_tensors
from lib_lora_train.project import Project, run_folder
from lib_lora_train.runs.editions import COMPANIONS
from lib_lora_train.runs.history import lora_path
from lib_lora_train.runs.infos import project_loras, run_files
from lib_lora_train.runs.naming import find_lora, loras_folder
from lib_lora_train.runs.pick_records import CHECKPOINTS, DONE, list_picks
from lib_lora_train.runs.publishing import published
from lib_lora_train.runs.records import read_record
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

KEEP, MOVE, TRASH = WHAT_OF_OTHERS = ("keep", "move", "trash")


def run_checkpoints(host: Host, project: Project, run_id: str) -> list[Path]:
    """LoRA files of a run, by name: in the LoRA folder, and those that a pick has moved to the run's own folder.

    Raises UserError: project.no_run, run.damaged.
    """
    folder = run_folder(project, run_id)
    name = read_record(folder).name
    found = {path.name: path for path in run_files(project_loras(folder / CHECKPOINTS), name)}
    found |= {path.name: path for path in run_files(project_loras(loras_folder(host, project)), name)}
    return [found[key] for key in sorted(found)]


def source_file(host: Host, project: Project, run_id: str, file: str) -> Path:
    """The file of a run, wherever it is, or one of the LoRA folder.

    Raises UserError: run.no_file, run.no_lora, project.no_run, run.damaged.
    """
    if not run_id:
        return find_lora(host, file)
    try:
        return lora_path(host, project, run_id, file)
    except UserError as error:
        moved = {path.name: path for path in run_checkpoints(host, project, run_id)}
        if error.code != "run.no_file" or file not in moved:
            raise
        return moved[file]


def own_set(host: Host, project: Project, run_id: str, source: Path, name: str) -> list[Path]:
    """What has the name already, if it was published by this project and holds the same weights as the file.

    Other weights never come under a name that was in use: the WebUI would go on drawing with those it has seen.
    """
    target = host.paths.loras / f"{name}{LORA_SUFFIX}"
    automatic = published(host, run_folder(project, run_id)) if run_id else ("", "")
    by_us = automatic == (name, source.name) or any(
        (each.state, each.name, each.run, each.file) == (DONE, name, run_id, source.name)
        for each in list_picks(project)
    )
    if not by_us or not target.is_file() or target == source or not same_tensors(target, source):
        return []
    return with_companions(target)


def other_files(host: Host, project: Project, run_id: str, others: str, source: Path, name: str) -> list[Path]:
    """The run's checkpoints but `source`, with what belongs to them, and the copy that the run published at its end,
    unless it has the `name` that is picked.

    Raises UserError: picking.others, run.lives.
    """
    if others not in WHAT_OF_OTHERS:
        raise UserError("picking.others", "others", value=others[:60], choices=", ".join(WHAT_OF_OTHERS))
    if others == KEEP or not run_id:
        return []
    folder = run_folder(project, run_id)
    if FolderLock.held(folder):
        raise UserError("run.lives", run_id)
    loras = loras_folder(host, project)
    checkpoints = [path for path in run_files(project_loras(loras), read_record(folder).name) if path != source]
    found = [each for path in checkpoints for each in with_companions(path)]
    copy, file = published(host, folder)
    if copy and copy != name and (loras / file).is_file():
        found += own_set(host, project, run_id, loras / file, copy)
    return found


def with_companions(path: Path) -> list[Path]:
    """A model with the card and the thumbnails that the WebUI takes for its own; the model comes last."""
    endings = (*COMPANIONS, *(f".preview{ending}" for ending in COMPANIONS))
    beside = [path.with_name(f"{path.stem}{ending}") for ending in endings]
    return [*(each for each in beside if each.is_file()), path]
