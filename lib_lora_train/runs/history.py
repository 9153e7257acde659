"""What became of a project's runs: lists and details, files by their names, deleting with undo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import EVENTS
from lib_lora_train.project import Project, list_runs, run_folder
from lib_lora_train.runs.infos import RunInfo, project_loras, read_info, run_files
from lib_lora_train.runs.managed import MANAGED
from lib_lora_train.runs.naming import loras_folder
from lib_lora_train.runs.pick_records import picked_files
from lib_lora_train.runs.publishing import published_file
from lib_lora_train.runs.records import RunRecord, read_record
from lib_lora_train.runs.validation import read_validation
from lib_lora_train.runs.watch import SAMPLES, list_samples
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_SAVED, _SAMPLED = b'{"event": "Saved"', b'{"event": "Sampled"'


@dataclass(frozen=True)
class Changed:
    """A setting that a run has other than by default; `setting` is `group.name`."""

    setting: str
    label: str
    value: object
    default: object


@dataclass(frozen=True)
class RunFile:
    """A LoRA file of a run. `published` when a copy of it has a plain name; `validation` is its loss on pictures that the
    run held back, None where there is none."""

    name: str
    bytes: int
    step: int
    epoch: int
    published: bool
    validation: float | None = None


@dataclass(frozen=True)
class RunSample:
    name: str
    step: int
    prompt: str
    seed: int
    number: int


@dataclass(frozen=True)
class RunDetails:
    """`files` are the newest last, `samples` by step and number."""

    info: RunInfo
    record: RunRecord
    changed: list[Changed]
    files: list[RunFile]
    samples: list[RunSample]

    @property
    def settings(self) -> TrainSettings:
        return self.record.settings


def list_run_infos(host: Host, project: Project) -> list[RunInfo]:
    """All runs, the newest first. A folder with nothing in it is one that is being made, or was refused a place."""
    loras = project_loras(loras_folder(host, project))
    folders = [project.path("runs", name) for name in reversed(list_runs(project))]
    found = [(folder, read_info(project, folder, loras)) for folder in folders if _has_files(folder)]
    return [info for folder, info in found if _has_files(folder)]  # again: it may have gone while it was read


def run_info(host: Host, project: Project, run_id: str) -> RunInfo:
    """Raises UserError("project.no_run")."""
    return read_info(project, run_folder(project, run_id), project_loras(loras_folder(host, project)))


def read_run(host: Host, project: Project, run_id: str) -> RunDetails:
    """Raises UserError: project.no_run, run.damaged."""
    folder = run_folder(project, run_id)
    loras = project_loras(loras_folder(host, project))
    record = read_record(folder)
    saved, sampled = _events(folder)
    published = {published_file(host, folder), *picked_files(project, run_id, host.paths.loras)}
    losses = {each.file: each.loss for each in read_validation(folder)}
    files = []
    for path in run_files(loras, record.name):
        told = saved.get(path.name, {})
        step, epoch = _whole(told.get("step")), _whole(told.get("epoch"))
        loss = losses.get(path.name)
        files.append(RunFile(path.name, _size(path), step, epoch, path.name in published, loss))
    samples = []
    for each in list_samples(folder):
        told = sampled.get(each.name, {})
        samples.append(
            RunSample(each.name, each.step, str(told.get("prompt", "")), _whole(told.get("seed")), each.number)
        )
    return RunDetails(
        info=read_info(project, folder, loras),
        record=record,
        changed=changed_settings(record.settings),
        files=sorted(files, key=lambda file: (file.step, file.name)),
        samples=samples,
    )


def changed_settings(settings: TrainSettings) -> list[Changed]:
    """Settings that are not at their defaults, in the order of the form; not those that the project decides."""
    found = []
    for item in describe(TrainSettings):
        value = getattr(getattr(settings, item.group), item.name)
        if value != item.default and f"{item.group}.{item.name}" not in MANAGED:
            found.append(Changed(f"{item.group}.{item.name}", item.label, value, item.default))
    return found


def lora_path(host: Host, project: Project, run_id: str, name: str) -> Path:
    """A LoRA file of a run by its name. Raises UserError: project.no_run, run.damaged, run.no_file."""
    record = read_record(run_folder(project, run_id))
    for path in run_files(project_loras(loras_folder(host, project)), record.name):
        if path.name == name:
            return path
    raise UserError("run.no_file", name[:120])


def sample_path(project: Project, run_id: str, name: str) -> Path:
    """A sample of a run by its name. Raises UserError: project.no_run, run.no_file."""
    folder = run_folder(project, run_id)
    for each in list_samples(folder):
        if each.name == name:
            return folder / SAMPLES / each.name
    raise UserError("run.no_file", name[:120])


def _events(folder: Path) -> tuple[dict[str, dict], dict[str, dict]]:
    """What was said of saved files and of samples, by file name; the last word counts."""
    saved: dict[str, dict] = {}
    sampled: dict[str, dict] = {}
    for raw in _lines(folder / EVENTS):
        kind = saved if raw.startswith(_SAVED) else sampled if raw.startswith(_SAMPLED) else None
        if kind is None:
            continue
        try:
            event = json.loads(raw)
            kind[Path(str(event["path"])).name] = event
        except (ValueError, KeyError):  # torn by a power cut
            continue
    return saved, sampled


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as handle:
            yield from handle
    except FileNotFoundError:
        return


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed meanwhile
        return 0


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
