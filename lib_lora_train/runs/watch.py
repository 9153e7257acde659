"""What a page shows of a run while it lives, kept at hand from its events: asked for every second by every open page."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from lib_lora_train.jobs import Job
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.project import Project
from lib_lora_train.runs.infos import RunInfo, run_title
from lib_lora_train.runs.records import RunRecord
from lib_lora_train.signals import Event, Sampled, Saved, Stage, Step

SAMPLES = "samples"
MOST_SAMPLES = 400
_SAMPLE = re.compile(r"(\d{8})-(\d{2,})\.png")


@dataclass(frozen=True)
class SampleName:
    """A sample picture by what its name says: `<step>-<number>.png`."""

    name: str
    step: int
    number: int


def sample_name(name: str) -> SampleName | None:
    """None for a file that is no sample."""
    match = _SAMPLE.fullmatch(name)
    return SampleName(name, int(match[1]), int(match[2])) if match else None


def list_samples(run_folder: Path) -> list[SampleName]:
    """The samples of a run by step and number."""
    folder = run_folder / SAMPLES
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((found for name in names if (found := sample_name(name))), key=lambda each: each.name)


class Watch:
    """A run's events, as far as a page shows them, and what of it does not change. Thread-safe."""

    def __init__(self, project: Project, folder: Path, record: RunRecord) -> None:
        self.project = project
        self.run_id = folder.name
        self.title = run_title(record, folder.name)
        self.record = record
        self.lora = ""
        self._guard = threading.Lock()
        self._samples = {each.name: each for each in list_samples(folder)}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Sampled):
            found = sample_name(event.path.name)
            if found is not None:
                with self._guard:
                    self._samples[found.name] = found
        elif isinstance(event, Saved):
            self.lora = event.path.name

    def samples(self) -> list[SampleName]:
        """By step and number, the newest `MOST_SAMPLES`."""
        with self._guard:
            found = list(self._samples.values())
        return sorted(found, key=lambda each: each.name)[-MOST_SAMPLES:]


def live_run(job: Job, watch: Watch, mine: bool, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
    """A running job as `GET /live` shows it: what RunInfo.as_dict has, `loss` being that of the last step, and more.

    Memory in bytes, times in seconds.
    """
    latest, record = job.latest, job.record
    step, stage = latest.get("Step"), latest.get("Stage")
    kinds = list(latest)
    # Between steps the trainer does other things (it draws samples) and says so; the next step tells that it is over.
    if step is not None and (stage is None or kinds.index("Step") > kinds.index("Stage")):
        stage = Stage("train.stage_training", step.step, step.total_steps)
    info = RunInfo(
        project_id=watch.project.id,
        id=watch.run_id,
        title=watch.title,
        state=record.state,
        place=record.place,
        created=watch.record.created,
        started=record.started,
        ended=record.ended,
        total_steps=watch.record.steps,
        attempt=record.attempt,
        lora=watch.lora,
        job_id=job.id,
        checkpoint=watch.record.checkpoint,
    )
    shown = _shown(info, job, step, language)
    return shown | {
        "stage": message(stage.code, language) if stage else "",
        "stage_done": stage.done if stage else 0,
        "stage_total": stage.total if stage else 0,
        "mine": mine,
        "samples": [vars(each) for each in watch.samples()],
    }


def hidden_run(job: Job) -> dict[str, object]:
    """The same of a run that is not the visitor's to see: how far it is, and nothing else about it."""
    step = job.latest.get("Step")
    info = RunInfo("", "", "", job.state, started=job.record.started)
    shown = _shown(info, job, step, DEFAULT_LANGUAGE) | {"loss": None, "loss_smoothed": None, "rates": {}}
    return shown | {"stage": "", "stage_done": 0, "stage_total": 0, "mine": False, "samples": []}


def _shown(info: RunInfo, job: Job, step: Event | None, language: str) -> dict[str, object]:
    told = step if isinstance(step, Step) else None
    values = {
        "paused": job.commands.paused,
        "stopping": job.commands.stopping,
        "total_epochs": told.total_epochs if told else 0,
        "loss_smoothed": told.loss_smoothed if told else None,
        "rates": dict(told.learning_rates) if told else {},
        "steps_per_second": told.steps_per_second if told else 0.0,
        "memory": told.memory if told else 0,
        "elapsed": told.elapsed if told else 0.0,
        "remaining": told.remaining if told else None,
    }
    if told:
        info = replace(info, step=told.step, total_steps=told.total_steps, epoch=told.epoch, loss=told.loss)
    return info.as_dict(language) | values
