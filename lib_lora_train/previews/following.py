"""The grid that follows a training without being asked for: of one run, or of all the runs of a sweep together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lib_lora_train.access import Visitor
from lib_lora_train.errors import UserError
from lib_lora_train.job_files import read_job
from lib_lora_train.jobs import MAX_WAITING, Job
from lib_lora_train.previews.asking import Question
from lib_lora_train.previews.previews import Previews
from lib_lora_train.previews.store import JOB, Asked, grid_folder
from lib_lora_train.project import Project, run_folder
from lib_lora_train.runs.grid_marks import GridMark, read_mark, write_mark
from lib_lora_train.runs.pick_files import run_checkpoints
from lib_lora_train.runs.records import RunRecord, read_record
from lib_lora_train.runs.sweeps import MOST_RUNS, runs_of_sweep
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.signals import Log, Step

MOST_PICTURES = 600  # of a grid that nobody has asked for
LONGEST = 900.0  # seconds that it may take, where that is known
_ROOM = MAX_WAITING + MOST_RUNS  # as many as trainings may wait
# The usual settings, then less and less: fewer files of each run before fewer prompts.
_SIZES: tuple[dict[str, Any], ...] = (
    {},
    {"checkpoints": 7},
    {"checkpoints": 5},
    {"checkpoints": 3},
    {"checkpoints": 2},
    {"checkpoints": 1},
    {"checkpoints": 1, "templates": False, "captions": 2},
)


class Following:
    """All methods may be called from any thread."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews
        self._guard = threading.Lock()
        self._over: set[str] = set()  # jobs that have ended, or are about to write that they have

    def training_ended(self, project: Project, run_id: str, job: Job, outcome: str) -> Log | None:
        """Puts the grid of a run in line, or notes why there is none; what is to be said of it. `outcome` is done, stopped
        or failed. Of a sweep it is one grid for all runs, when the last of them has ended in whatever way."""
        try:
            folder = run_folder(project, run_id)
            record = read_record(folder)
            self._time(record, job)
            if not record.settings.run.grid_after_training:
                return None
            with self._guard:
                self._over.add(job.id)
                found = self._follow(project, run_id, job.owner, outcome)
            if found is not None:
                write_mark(folder, found)
        except UserError as error:  # the run has gone, or cannot be read
            return Log("previews.skipped", {"reason": error.sentence()}, "warning")
        return found.note if found is not None else None

    def _time(self, record: RunRecord, job: Job) -> None:
        """How fast it was trained tells how long drawing takes, before anything was drawn."""
        step, run = job.latest.get("Step"), record.settings.run
        if isinstance(step, Step):
            width, height = parse_resolution(record.settings.dataset.resolution)
            at_once = run.train_batch_size * run.gradient_accumulation_steps
            self._previews.rates.trained(record.checkpoint, step.steps_per_second * at_once, width * height)

    def _follow(self, project: Project, run_id: str, owner: str, outcome: str) -> GridMark | None:
        swept = [each.run_id for each in runs_of_sweep(project, run_id)]
        if not swept:
            if outcome == "failed":  # the run says what was wrong
                return None
            if outcome == "stopped":
                return GridMark("", Log("previews.skipped_stopped"))
            return self._grid(project, [run_id], owner)
        left = sum(self._lives(project, each) for each in swept)
        if left:
            return GridMark("", Log("previews.sweep_waits", {"left": left}))
        with_files = [each for each in swept if run_checkpoints(self._previews.host, project, each)]
        if not with_files:
            return GridMark("", Log("previews.skipped_empty"))
        found = self._grid(project, with_files, owner)
        for each in with_files:
            write_mark(run_folder(project, each), found)
        return found

    def _lives(self, project: Project, run_id: str) -> bool:
        """Whether a run of the sweep is still to end."""
        try:
            job = read_job(run_folder(project, run_id))
        except UserError:  # deleted, or damaged: nothing will come of it
            return False
        return job is not None and job.state in ("queued", "running") and job.id not in self._over

    def _grid(self, project: Project, runs: Sequence[str], owner: str) -> GridMark:
        previews, visitor = self._previews, Visitor(owner)
        try:
            grid_id, asked = self._earlier(project, runs)
            settings = (
                dict(asked.settings)
                if asked is not None
                else previews.fitting(project, visitor, runs, _SIZES, MOST_PICTURES, LONGEST)
            )
            question = Question(runs=runs, bases=asked.bases if asked is not None else (), settings=settings)
            made = previews.start(project, visitor, question, grid_id, room=_ROOM, keep=True)
        except UserError as error:
            return GridMark("", Log("previews.skipped", {"reason": error.sentence()}, "warning"))
        pictures = len(previews.view(project, made).cells)
        waits = previews.line.in_folder(grid_folder(project, made) / JOB) is not None
        return GridMark(
            made, Log("previews.queued" if waits else "previews.kept", {"grid": made, "pictures": pictures})
        )

    def _earlier(self, project: Project, runs: Sequence[str]) -> tuple[str, Asked | None]:
        """The grid that followed these runs before, when some of them were not done yet."""
        for run_id in runs:
            grid_id = read_mark(project, run_folder(project, run_id)).grid
            try:
                asked = self._previews.view(project, grid_id).kept.asked if grid_id else None
            except UserError:  # in the trash, or damaged
                continue
            if asked is None or asked.files or not set(asked.runs) <= set(runs):
                continue
            if self._previews.line.in_folder(grid_folder(project, grid_id) / JOB) is None:  # else it cannot be changed
                return grid_id, asked
        return "", None
