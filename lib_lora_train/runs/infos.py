"""A run in one line: read from its folder with a handful of small reads, so that a list of hundreds is cheap."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora_train.errors import UserError, in_language
from lib_lora_train.job_files import JobRecord, read_job
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.project import Project
from lib_lora_train.runs.grid_marks import GridMark, read_mark
from lib_lora_train.runs.records import RunRecord, read_record
from lib_lora_train.train.output import LORA_SUFFIX

METRICS = "metrics.jsonl"
TAIL_BYTES = 8192  # of the metrics: a line takes some hundred
_FILE = re.compile(r"-(?:step)?\d+\.safetensors")


@dataclass(frozen=True)
class RunInfo:
    """`state` is queued, running, done, stopped, failed or interrupted; `place` that in line, 1 being the next.

    Times are in seconds since 1970. `loss` is the smoothed one of the last step; `error` what UserError.as_record
    gives; `lora` the name of the newest LoRA file; `job_id` that of the last job, which may have died. `grid` is the
    grid that was made of it when it was done, or says why there is none.
    """

    project_id: str
    id: str
    title: str
    state: str
    place: int = 0
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float | None = None
    error: dict[str, object] | None = None
    attempt: int = 1
    can_resume: bool = False
    lora: str = ""
    job_id: str = ""
    checkpoint: str = ""
    grid: GridMark = GridMark()

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """As the page and the REST routes show it."""
        others = ("project_id", "job_id", "error", "grid")
        values = {name: value for name, value in vars(self).items() if name not in others}
        error = in_language(self.error, language) if self.error else None
        grid = {"grid": self.grid.grid, "grid_note": self.grid.said(language)}
        return {**values, **grid, "project": self.project_id, "job": self.job_id, "error": error}


def read_info(project: Project, folder: Path, loras: Sequence[Path]) -> RunInfo:
    """`loras` are the LoRA files of the project's runs. A run whose record cannot be read is shown as failed."""
    try:
        record, job = read_record(folder), read_job(folder)
    except UserError as error:
        return RunInfo(project.id, folder.name, folder.name, "failed", error=error.as_record())
    info = RunInfo(
        project_id=project.id,
        id=folder.name,
        title=run_title(record, folder.name),
        state="interrupted",  # it died before its job was put in line
        can_resume=True,
        created=record.created,
        total_steps=record.steps,
        checkpoint=record.checkpoint,
        grid=read_mark(project, folder),
    )
    if job is not None:
        info = _with_job(info, job)
    last = last_metrics(folder)
    if last is not None:
        info = replace(
            info, step=last["step"], total_steps=last["total_steps"], epoch=last["epoch"], loss=last["loss_smoothed"]
        )
    newest = max(run_files(loras, record.name), key=_written, default=None)
    return replace(info, lora=newest.name if newest else "")


def _with_job(info: RunInfo, job: JobRecord) -> RunInfo:
    return replace(
        info,
        state=job.state,
        place=job.place,
        started=job.started,
        ended=job.ended,
        error=job.error,
        attempt=job.attempt,
        can_resume=job.can_resume,
        job_id=job.id,
    )


def run_title(record: RunRecord, run_id: str) -> str:
    return f"{record.title} {run_id}"


def run_files(loras: Sequence[Path], name: str) -> list[Path]:
    """Of LoRA files those of the run with this `RunRecord.name`."""
    return [path for path in loras if path.name.startswith(name) and _FILE.fullmatch(path.name[len(name) :])]


def project_loras(folder: Path) -> list[Path]:
    """LoRA files of a project's runs, by name; none where there is no folder."""
    return sorted(folder.glob(f"*{LORA_SUFFIX}")) if folder.is_dir() else []


def last_metrics(folder: Path) -> dict[str, object] | None:
    """The last whole line of the metrics; None before the first step."""
    try:
        with (folder / METRICS).open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - TAIL_BYTES))
            lines = handle.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        found = metrics_line(line)
        if found is not None:
            return found
    return None


def metrics_line(line: bytes) -> dict[str, object] | None:
    """A step's numbers; None for a line that a kill or a full disk has cut."""
    try:
        found = json.loads(line)
        numbers = [found[name] for name in ("step", "total_steps", "epoch", "loss", "loss_smoothed")]
    except (ValueError, KeyError, TypeError):
        return None
    return found if all(isinstance(number, int | float) for number in numbers) else None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed meanwhile
        return 0.0
