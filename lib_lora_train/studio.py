"""The one object behind page and REST routes: who may do what with which project, run and job.

Faces hold a `Studio` and a `Visitor`. What a visitor may not see does not exist for them; what they may see and not
change is refused with a sentence. All methods may be called from any thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train import project as projects_on_disk
from lib_lora_train.access import Exposure, Sessions, Visitor, check_folders, check_owner, is_mine
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.collection.limits import Limits
from lib_lora_train.editor.editor import Editor
from lib_lora_train.errors import UserError
from lib_lora_train.job_files import read_job
from lib_lora_train.jobs import Job, Registry
from lib_lora_train.previews.following import Following
from lib_lora_train.previews.previews import Previews
from lib_lora_train.project import Project, open_project, run_folder
from lib_lora_train.runs import deleting, launch, sweeps
from lib_lora_train.runs.checks import RunLimits, check_limits, check_trainable
from lib_lora_train.runs.choices import CheckpointChoice, checkpoint_choices
from lib_lora_train.runs.drafts import read_draft, write_wishes
from lib_lora_train.runs.launch import Started
from lib_lora_train.runs.managed import LOCAL_ONLY
from lib_lora_train.runs.naming import lora_files
from lib_lora_train.runs.planning import Planned, apply_repeats, plan_for
from lib_lora_train.runs.records import read_record
from lib_lora_train.runs.sweeps import SweepRun
from lib_lora_train.runs.watch import hidden_run, live_run
from lib_lora_train.runs.watches import Watches
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.workshop.workshop import Workshop

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

ACTIONS = ("stop", "stop_and_save", "save", "sample", "pause", "continue", "cancel", "move")
MOST_PROJECTS = 200  # where strangers can reach the server


class Studio:
    """`root` is the projects' folder. `limits` are those of a project's pictures, `run_limits` those of a run where
    strangers can reach the server. `language` is the host's own setting; empty: that of each browser."""

    def __init__(
        self,
        host: Host,
        registry: Registry,
        root: Path,
        exposure: Exposure,
        limits: Limits | None = None,
        language: str = "",
        run_limits: RunLimits | None = None,
    ) -> None:
        self.host = host
        self.registry = registry
        self.root = root
        self.exposure = exposure
        self.limits = limits or (Limits.local() if exposure.local else Limits())
        self.run_limits = run_limits or RunLimits()
        self.language = language
        self.sessions = Sessions()
        self.workshop = Workshop(host, exposure, self._check_not_training, self.limits)
        self.editor = Editor(host, root)
        self.previews = Previews(host, exposure, self.limits, self.loras, registry)
        self.id = secrets.token_hex(4)  # tells this server's cookies from those of another one on the same machine
        self._starting = threading.Lock()
        self._watches = Watches(host, root)
        self._following = Following(self.previews)
        registry.around(self.previews.turns.begin, self._follow)

    # ------------------------------------------------------------------ projects

    def projects(self, visitor: Visitor) -> tuple[list[Project], list[UserError]]:
        """The visitor's projects, newest first, and what was found but could not be read.

        Whose a project is that cannot be read is not known: with logins such problems are nobody's.
        """
        found, problems = projects_on_disk.list_projects(self.root)
        mine = [project for project in found if self._may_see(visitor, project)]
        return mine, [] if self.exposure.has_logins else problems

    def project(self, visitor: Visitor, project_id: str) -> Project:
        """Raises UserError("project.unknown"), also for somebody else's."""
        project = open_project(self.root, project_id)
        if not self._may_see(visitor, project):
            raise UserError("project.unknown", project_id)
        return project

    def create_project(self, visitor: Visitor, title: str, kind: str = "character", trigger_word: str = "") -> Project:
        """Raises UserError: project.title, project.kind, studio.too_many_projects, file.write."""
        if self.exposure.has_quotas and len(self.projects(visitor)[0]) >= MOST_PROJECTS:
            raise UserError("studio.too_many_projects", title[:60], limit=MOST_PROJECTS)
        owner = visitor.name if self.exposure.has_logins else ""
        return projects_on_disk.create_project(self.root, title, kind, trigger_word, owner)

    def delete_project(self, visitor: Visitor, project_id: str) -> str:
        """Moves a project to the trash; returns its id there. Raises project.unknown, studio.project_lives."""
        project = self.project(visitor, project_id)
        with self._starting:
            busy = self.workshop.line.of(project) is not None or self.previews.lives(project)
            if self._jobs_of(project) or busy:
                raise UserError("studio.project_lives", project.title)
            self.editor.leave(project)
            return projects_on_disk.delete_project(self.root, project_id)

    def project_trash(self, visitor: Visitor) -> list[tuple[str, Project]]:
        """Trash ids and projects that the visitor can bring back."""
        found = projects_on_disk.list_trash(self.root)
        return [(trash_id, project) for trash_id, project in found if self._may_see(visitor, project)]

    def restore_project(self, visitor: Visitor, trash_id: str) -> Project:
        """Raises UserError: project.unknown, project.taken."""
        if trash_id not in {known for known, _ in self.project_trash(visitor)}:
            raise UserError("project.unknown", trash_id[:60])
        return projects_on_disk.restore_project(self.root, trash_id)

    def _may_see(self, visitor: Visitor, project: Project) -> bool:
        return is_mine(self.exposure, visitor, project.owner)

    # ------------------------------------------------------------------ what can be chosen

    def checkpoints(self) -> list[CheckpointChoice]:
        """Those of the host, by name."""
        return checkpoint_choices(self.host)

    def checkpoint_names(self) -> list[str]:
        """Those of the host, none of which is looked into."""
        return [info.name for info in self.host.checkpoints()]

    def current_checkpoint(self) -> str:
        """The name of the one that the host has loaded; empty where that is none of its own."""
        current = self.host.current()
        return next((info.name for info in self.host.checkpoints() if current and info.path == current.path), "")

    def loras(self, visitor: Visitor | None = None) -> list[str]:
        """Names of the LoRA files that can be continued, without those of projects that the visitor may not see."""
        folder = self.host.paths.loras
        hidden: set[str] = set()
        if self.exposure.has_logins:  # also of projects that are deleted, or cannot be read
            trash = self.root / projects_on_disk.TRASH
            deleted = [path.name.rpartition("-")[0] for path in trash.iterdir()] if trash.is_dir() else []
            visitor = visitor or Visitor()
            mine = [*self.projects(visitor)[0], *(project for _, project in self.project_trash(visitor))]
            hidden = {*deleted, *(path.name for path in self.root.iterdir())} - {project.id for project in mine}
        files = [path for path in lora_files(folder) if path.relative_to(folder).parts[0] not in hidden]
        return sorted({path.stem for path in files}, key=str.casefold)

    def check_settings(self, visitor: Visitor, settings: TrainSettings) -> None:
        """Refuses what this visitor may not ask for.

        Raises UserError: train.no_checkpoint, host.checkpoint_missing, access.folders, run.no_lora.
        """
        chosen, weights = settings.model.checkpoint, settings.network.network_weights
        if not chosen:
            raise UserError("train.no_checkpoint", "checkpoint")
        if chosen not in self.checkpoint_names():
            raise UserError("host.checkpoint_missing", chosen[:120])
        if weights and weights.removesuffix(".safetensors") not in self.loras(visitor):
            raise UserError("run.no_lora", "network_weights", name=weights[:120])
        for name in sorted(LOCAL_ONLY):
            group, _, setting = name.partition(".")
            if getattr(getattr(settings, group), setting):
                check_folders(self.exposure, setting)

    # ------------------------------------------------------------------ preparation

    def prepare(
        self, visitor: Visitor, project: Project, steps: Sequence[str], apply: bool, train: Wishes | None = None
    ) -> Job:
        """Puts a pass over a project's pictures in line; with `train` a run follows once they are in the data set.

        Raises UserError as `Workshop.start`, and host.checkpoint_missing, run.wish for what the run would refuse.
        """
        if train is None:
            return self.workshop.start(project, visitor, steps, apply)
        train.check()
        if train.checkpoint and train.checkpoint not in self.checkpoint_names():
            raise UserError("host.checkpoint_missing", train.checkpoint[:120])

        def then() -> None:
            self.start(visitor, open_project(self.root, project.id), wishes=train)

        return self.workshop.start(project, visitor, steps, True, then)

    def _check_not_training(self, project: Project) -> None:
        """Raises UserError("prepare.training"): a run that waits would find other pictures than it was started with."""
        if self._jobs_of(project):
            raise UserError("prepare.training", project.title)

    # ------------------------------------------------------------------ runs

    def plan(self, visitor: Visitor, project: Project, wishes: Wishes, base: TrainSettings | None = None) -> Planned:
        """Raises UserError as `planning.plan_for`, host.checkpoint_missing."""
        if wishes.checkpoint and wishes.checkpoint not in self.checkpoint_names():
            raise UserError("host.checkpoint_missing", wishes.checkpoint[:120])
        return plan_for(self.host, project, wishes, base)

    def start(
        self,
        visitor: Visitor,
        project: Project,
        settings: TrainSettings | None = None,
        wishes: Wishes | None = None,
    ) -> Started:
        """Puts a run in line: with `settings`, or planned after `wishes`, or with the project's draft.

        A planned run gives the concepts their planned repeats. Raises UserError as `launch.start_run`,
        `check_settings`, run.limit and run.repeats_busy.
        """
        with self._starting:  # of two that plan at once, one renames the folders
            if wishes is not None:
                planned = self.plan(visitor, project, wishes, settings or read_draft(project))
                self._take_repeats(project, planned.repeats)
                write_wishes(project, wishes)
                settings = planned.settings
            settings = settings or read_draft(project)
            self._check(visitor, project, settings)
            started = launch.start_run(self.host, self.registry, project, settings, visitor.name)
        return self._watches.remember(started)

    def resume(self, visitor: Visitor, project: Project, run_id: str) -> Started:
        """Goes on with an unfinished run. Raises UserError as `launch.resume_run` and `check_settings`."""
        self._check(visitor, project, read_record(run_folder(project, run_id)).settings)
        return self._watches.remember(launch.resume_run(self.host, self.registry, project, run_id, visitor.name))

    def continue_from(self, visitor: Visitor, project: Project, run_id: str, file: str = "") -> Started:
        """A new run from a run's file. Raises UserError as `launch.continue_run` and `check_settings`."""
        settings = read_record(run_folder(project, run_id)).settings
        settings.network.network_weights = ""  # is replaced by the file, and may be gone
        self._check(visitor, project, settings)
        return self._watches.remember(
            launch.continue_run(self.host, self.registry, project, run_id, visitor.name, file)
        )

    def sweep(self, visitor: Visitor, project: Project, runs: Sequence[SweepRun]) -> list[Started]:
        """Puts all of the runs in line, or none. Raises UserError as `sweeps.start_sweep` and `check_settings`."""
        with self._starting:
            for run in runs:
                self._check(visitor, project, run.settings)
            started = sweeps.start_sweep(self.host, self.registry, project, runs, visitor.name)
        return [self._watches.remember(each) for each in started]

    def delete_run(self, visitor: Visitor, project: Project, run_id: str) -> str:
        """Moves a run to the trash. Raises access.not_owner, and as `deleting.delete_run`."""
        job = read_job(run_folder(project, run_id))
        if job is not None:
            check_owner(self.exposure, visitor, job.owner, run_id)
        return deleting.delete_run(self.host, project, run_id)

    def _check(self, visitor: Visitor, project: Project, settings: TrainSettings) -> None:
        self.check_settings(visitor, settings)
        if self.exposure.has_quotas:
            check_limits(settings, self.run_limits, check_trainable(self.host, project, settings))

    def take_repeats(self, project: Project, repeats: int) -> None:
        """Gives the training concepts the planned repeats, by their folders' names.

        Raises UserError: run.repeats_busy while a run of the project is running or waiting, and as `edit_concept`.
        """
        with self._starting:
            self._take_repeats(project, repeats)

    def _take_repeats(self, project: Project, repeats: int) -> None:
        concepts = [concept for concept in list_concepts(project) if not concept.regularization]
        if all(concept.repeats == repeats for concept in concepts):
            return
        if self._jobs_of(project):  # a run that waits would find other folders than it was started with
            raise UserError("run.repeats_busy", project.title)
        apply_repeats(project, repeats)

    # ------------------------------------------------------------------ jobs

    def job(self, visitor: Visitor, job_id: str) -> Job:
        """Raises UserError("job.unknown"), also for one that the visitor may not see."""
        job = self.registry.find(job_id)
        if not self._sees(visitor, job):
            raise UserError("job.unknown", job_id[:60])
        return job

    def jobs(self, visitor: Visitor) -> list[Job]:
        """The running one, those in line, those that ended lately."""
        running = self.registry.running()
        all_of_them = [*([running] if running else []), *self.registry.waiting(), *reversed(self.registry.ended())]
        return [job for job in all_of_them if self._sees(visitor, job)]

    def control(self, visitor: Visitor, job_id: str, action: str, place: int = 1) -> Job:
        """Tells a job something; `place` is for "move", 1 being the next.

        Raises UserError: run.wish for an unknown action, job.unknown, access.not_owner, run.not_running,
        job.not_waiting.
        """
        if action not in ACTIONS:
            raise UserError("run.wish", "action", value=action[:60], choices=", ".join(ACTIONS))
        job = self.registry.find(job_id)
        check_owner(self.exposure, visitor, job.owner, job_id)
        if action == "move":
            self._check_passing(visitor, job, place)
            self.registry.move(job, place)
        elif job.state != "running" and not (job.state == "queued" and action in ("stop", "stop_and_save", "cancel")):
            raise UserError("run.not_running", job.title)
        elif action in ("stop", "cancel", "stop_and_save"):
            self.registry.stop(job, save=action == "stop_and_save")
        else:
            commands = job.commands
            tell = {"save": commands.save_now, "sample": commands.sample_now}
            tell |= {"pause": commands.pause, "continue": lambda: self.previews.turns.go_on(job)}
            tell[action]()
        return job

    def live(self, visitor: Visitor) -> dict[str, object]:
        """What every open page asks for every second: `GET /live`. Reads no file but that a run that ended is there."""
        running = self.registry.running()
        return {
            "running": self._live(visitor, running) if running else None,
            "queue": [self._queued(visitor, job) for job in self.registry.waiting()],
            "last": self._last(visitor),
            "time": time.time(),
        }

    def close(self, timeout: float | None = None) -> bool:
        """Writes captions, ends both lines, saves and stops the running jobs; True when all of it has ended."""
        written = self.editor.close(timeout)
        prepared = self.workshop.close(timeout)
        drawn = self.previews.close(timeout)  # before a training is told to stop: it may wait for the model
        return self.registry.close(timeout, save=True) and prepared and drawn and written

    def _check_passing(self, visitor: Visitor, job: Job, place: int) -> None:
        """Where logins exist nobody is put behind a job of somebody else's that came later."""
        ahead = [each for each in self.registry.waiting() if each.record.place >= place]
        for each in ahead:
            if each.record.place < job.record.place:
                check_owner(self.exposure, visitor, each.owner, each.id)

    def _jobs_of(self, project: Project) -> list[Job]:
        running = self.registry.running()
        living = [*([running] if running else []), *self.registry.waiting()]
        return [job for job in living if job.folder.parent.parent.name == project.id]

    def _follow(self, job: Job, outcome: str) -> None:
        """After a training, before it is written that it has ended."""
        watch = self._watches.of(job)
        if watch is not None and (said := self._following.training_ended(watch.project, watch.run_id, job, outcome)):
            job.send(said)

    def _sees(self, visitor: Visitor, job: Job) -> bool:
        if not self.exposure.has_logins:
            return True
        watch = self._watches.of(job)
        return watch is not None and self._may_see(visitor, watch.project)

    def _mine(self, visitor: Visitor, job: Job) -> bool:
        return is_mine(self.exposure, visitor, job.owner)

    def _live(self, visitor: Visitor, job: Job) -> dict[str, object]:
        watch = self._watches.of(job)
        if watch is None or not self._sees(visitor, job):
            return hidden_run(job)
        return live_run(job, watch, self._mine(visitor, job), visitor.language)

    def _queued(self, visitor: Visitor, job: Job) -> dict[str, object]:
        watch = self._watches.of(job)
        if watch is None or not self._sees(visitor, job):
            return {"job": "", "project": "", "run": "", "title": "", "place": job.record.place, "mine": False}
        return {
            "job": job.id,
            "project": watch.project.id,
            "run": watch.run_id,
            "title": watch.title,
            "place": job.record.place,
            "mine": self._mine(visitor, job),
        }

    def _last(self, visitor: Visitor) -> dict[str, object] | None:
        running = self.registry.running()
        for job in reversed(self.registry.ended()):
            watch = self._watches.of(job)
            resumed = running is not None and running.folder == job.folder
            if watch is not None and not resumed and self._sees(visitor, job) and job.folder.is_dir():
                return self._watches.ended(job, watch).as_dict(visitor.language)
        return None
