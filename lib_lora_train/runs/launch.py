"""Starting runs: a folder, a job in line, and the training as that job's work."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.files import discard
from lib_lora_train.job_files import FolderLock, read_job
from lib_lora_train.jobs import MAX_WAITING, Job, Registry, Work
from lib_lora_train.project import Project, new_run, run_folder
from lib_lora_train.runs.checks import check_trainable
from lib_lora_train.runs.drafts import write_draft
from lib_lora_train.runs.infos import project_loras, run_files, run_title
from lib_lora_train.runs.managed import MANAGED, prepare, without
from lib_lora_train.runs.naming import loras_folder, take_name
from lib_lora_train.runs.publishing import publish
from lib_lora_train.runs.records import RunRecord, installed_versions, read_record, write_record
from lib_lora_train.runs.threads import limited_threads
from lib_lora_train.runs.watch import Watch
from lib_lora_train.settings import TrainSettings
from lib_lora_train.signals import Commands, Event, EventSink, Log

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

REPLACED = "replaced"


@dataclass(frozen=True)
class Started:
    """A run that is running or waiting; `watch` gets its events."""

    run_id: str
    job: Job
    watch: Watch


def start_run(host: Host, registry: Registry, project: Project, settings: TrainSettings, owner: str = "") -> Started:
    """Puts a new run of a project in line, and keeps its settings as the project's draft.

    Raises UserError as `checks.check_trainable`, job.queue_full, file.write; nothing is left of the run then.
    """
    steps = check_trainable(host, project, settings)
    write_draft(project, settings)
    return _start_new(host, registry, project, settings, steps, owner)


def start_one_of_many(
    host: Host,
    registry: Registry,
    project: Project,
    settings: TrainSettings,
    owner: str,
    room: int,
    mark: Callable[[Path], None],
) -> Started:
    """As `start_run`, but the project's draft stays as it is, and up to `room` may wait in line.

    `mark` may write to the run's folder before it begins; a run clears away what it finds half written.
    """
    steps = check_trainable(host, project, settings)
    return _start_new(host, registry, project, settings, steps, owner, room, mark)


def continue_run(
    host: Host, registry: Registry, project: Project, run_id: str, owner: str = "", file: str = ""
) -> Started:
    """A new run that begins with the weights of an earlier one's file, its newest when none is named.

    Settings are the earlier run's; ranks are the file's. Raises UserError: project.no_run, run.damaged, run.no_file,
    and as `start_run`.
    """
    record = read_record(run_folder(project, run_id))
    files = run_files(project_loras(loras_folder(host, project)), record.name)
    if file:
        files = [path for path in files if path.name == file]
    if not files:
        raise UserError("run.no_file", file[:120] or run_id)
    settings = copy.deepcopy(record.settings)
    settings.network.network_weights = max(files, key=lambda path: path.stat().st_mtime).name
    settings.network.dim_from_weights = True
    steps = check_trainable(host, project, settings)
    return _start_new(host, registry, project, settings, steps, owner)


def resume_run(host: Host, registry: Registry, project: Project, run_id: str, owner: str = "") -> Started:
    """Goes on with an unfinished run, in its folder: from its newest state, or from the start when it has none.

    Raises UserError: project.no_run, run.damaged, run.not_resumable, job.busy, job.queue_full, file.write.
    """
    folder = run_folder(project, run_id)
    record, job = read_record(folder), read_job(folder)
    if job is not None and not job.can_resume:
        code = "run.not_resumable" if job.state == "done" else "job.busy"
        raise UserError(code, run_title(record, run_id))
    return _put_in_line(host, registry, project, folder, record, owner, resume=True)


def _start_new(
    host: Host,
    registry: Registry,
    project: Project,
    settings: TrainSettings,
    steps: int,
    owner: str,
    room: int = MAX_WAITING,
    mark: Callable[[Path], None] = lambda folder: None,
) -> Started:
    folder = new_run(project)
    try:
        name = take_name(host, project, folder.name)
        record = RunRecord(
            settings=without(settings, MANAGED),
            title=project.title,
            kind=project.kind,
            trigger_word=project.trigger_word,
            checkpoint=settings.model.checkpoint,
            name=name.name,
            base=name.base,
            created=time.time(),
            steps=steps,
            versions=installed_versions(),
        )
        write_record(folder, record)
        mark(folder)
        return _put_in_line(host, registry, project, folder, record, owner, resume=False, room=room)
    except BaseException:
        if not FolderLock.held(folder):  # else somebody has resumed it in the moment before its job was put in line
            discard(folder)  # made a moment ago, and never a run
        raise


def _put_in_line(
    host: Host,
    registry: Registry,
    project: Project,
    folder: Path,
    record: RunRecord,
    owner: str,
    resume: bool,
    room: int = MAX_WAITING,
) -> Started:
    watch = Watch(project, folder, record)
    work = _work(host, project, folder, record, watch, resume)
    job = registry.start(run_title(record, folder.name), folder, work, owner, room)
    return Started(folder.name, job, watch)


def _work(host: Host, project: Project, folder: Path, record: RunRecord, watch: Watch, resume: bool) -> Work:
    """The training as a job does it."""

    def work(events: EventSink, commands: Commands) -> str:
        from lib_lora_train.train.state import newest_first
        from lib_lora_train.train.trainer import train

        def tell(event: Event) -> None:
            watch(event)
            events(event)
            host.tell(event)

        goes_on = resume and bool(newest_first(folder))
        settings, output = prepare(host, project, folder, goes_on)
        if resume and not goes_on:
            _set_aside(project_loras(output.loras), record, folder)
            tell(Log("run.starts_over"))
        facts = host.describe(settings.model.checkpoint)
        with limited_threads(host.memory().device, facts.parameters["unet"]):
            result = train(host, settings, tell, commands, output)
        if result.outcome == "done" and result.lora is not None:
            _publish(host, folder, record, result.lora, facts.family, tell)
        host.refresh_loras()
        return result.outcome

    return work


def _set_aside(loras: list[Path], record: RunRecord, folder: Path) -> None:
    """Moves what a run wrote before its first state to its folder: the trainer never overwrites a file."""
    for path in run_files(loras, record.name):
        target = folder / REPLACED / f"{path.name}.{time.time_ns()}"
        try:
            target.parent.mkdir(exist_ok=True)
            shutil.move(path, target)
        except OSError as error:
            raise UserError("file.write", path.name, reason=error.strerror or str(error)) from error


def _publish(host: Host, folder: Path, record: RunRecord, lora: Path, family: str, events: EventSink) -> None:
    """A run whose file cannot be published is done all the same; the log says why."""
    try:
        name = publish(host, folder, record, lora, family)
    except UserError as error:
        events(Log("run.publish_failed", {"reason": error.sentence()}, "warning"))
        return
    if name is None:
        events(Log("run.name_taken", {"name": record.base, "file": lora.name}))
    else:
        events(Log("run.published", {"name": name}))
