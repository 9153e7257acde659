"""Planning a run, starting it, and what became of it: curve, log, samples, files."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

from fastapi import Depends, Query, Response
from PIL import Image

from lib_lora_train.api.bodies import Continued, NewRun, Nothing, Trashed, WishesBody
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import AN_HOUR, file_reply, inline_reply, reply, text_reply
from lib_lora_train.api.route import current_call
from lib_lora_train.dataset.images import open_image
from lib_lora_train.project import Project
from lib_lora_train.runs import deleting
from lib_lora_train.runs.drafts import read_draft
from lib_lora_train.runs.history import list_run_infos, lora_path, read_run, sample_path
from lib_lora_train.runs.launch import Started
from lib_lora_train.runs.metrics import read_metrics
from lib_lora_train.runs.runlog import read_log
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings.reading import from_document
from lib_lora_train.settings.writing import to_dict, to_kohya_command, to_kohya_toml
from lib_lora_train.words import word

CALL = Depends(current_call)
MOST = 10**15  # of what is counted; more fits into no file


@policy(Policy.WRITE)
def make_plan(project_id: str, body: WishesBody, call: Call = CALL) -> Response:
    """Planned settings for the pictures, with reasons, steps and memory in bytes. Nothing is kept of it."""
    project = call.studio.project(call.visitor, project_id)
    return reply(call.studio.plan(call.visitor, project, _wishes(body, project)).as_dict(call.language))


@policy(Policy.READ)
def read_settings(project_id: str, form: Literal["json", "toml", "command"] = "json", call: Call = CALL) -> Response:
    """The settings in the project's form: ours (`?form=json`), kohya's (`toml`), or kohya's command line (`command`)."""
    project = call.studio.project(call.visitor, project_id)
    settings = read_draft(project)
    if form == "json":
        return reply(to_dict(settings))
    if form == "toml":
        return text_reply(to_kohya_toml(settings), f"{project.title}.toml")
    return text_reply(to_kohya_command(settings), f"{project.title}.sh")


@policy(Policy.READ)
def list_runs(project_id: str, call: Call = CALL) -> Response:
    """A project's runs, newest first, and deleted ones that can be brought back."""
    project = call.studio.project(call.visitor, project_id)
    runs = [info.as_dict(call.language) for info in list_run_infos(call.studio.host, project)]
    return reply({"runs": runs, "trash": [vars(entry) for entry in deleting.list_deleted(project)]})


@policy(Policy.WRITE)
def start_run(project_id: str, body: NewRun, call: Call = CALL) -> Response:
    """Puts a run in line: with `settings`, planned after `wishes`, or with the settings in the project's form."""
    project = call.studio.project(call.visitor, project_id)
    settings = None if body.settings is None else from_document(body.settings, "settings").settings
    wishes = None if body.wishes is None else _wishes(body.wishes, project)
    return _started(call.studio.start(call.visitor, project, settings, wishes))


@policy(Policy.READ)
def show_run(project_id: str, run_id: str, call: Call = CALL) -> Response:
    """A run with its settings, files and samples."""
    details = read_run(call.studio.host, call.studio.project(call.visitor, project_id), run_id)
    return reply(
        {
            **details.info.as_dict(call.language),
            "settings": to_dict(details.settings),
            "changed": [{**vars(each), "label": word(each.label, call.language)} for each in details.changed],
            "files": [vars(each) for each in details.files],
            "samples": [vars(each) for each in details.samples],
        }
    )


@policy(Policy.WRITE)
def remove_run(project_id: str, run_id: str, call: Call = CALL) -> Response:
    """Moves a run with its LoRA files to the trash."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"trash_id": call.studio.delete_run(call.visitor, project, run_id)})


@policy(Policy.WRITE)
def restore_run(project_id: str, body: Trashed, call: Call = CALL) -> Response:
    """Brings a deleted run back."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"run": deleting.restore_run(call.studio.host, project, body.trash_id)})


@policy(Policy.WRITE)
def resume_run(project_id: str, run_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Goes on with an unfinished run where it was."""
    project = call.studio.project(call.visitor, project_id)
    return _started(call.studio.resume(call.visitor, project, run_id))


@policy(Policy.WRITE)
def continue_run(project_id: str, run_id: str, body: Continued, call: Call = CALL) -> Response:
    """A new run that begins with a file of this one, its newest when none is named."""
    project = call.studio.project(call.visitor, project_id)
    return _started(call.studio.continue_from(call.visitor, project, run_id, body.file))


@policy(Policy.READ)
def show_metrics(project_id: str, run_id: str, after: int = Query(0, ge=0, le=MOST), call: Call = CALL) -> Response:
    """The curve after a step: step, loss, smoothed loss, learning rate; thinned when it is long. From that step on the loss on pictures that are held back."""
    metrics = read_metrics(call.studio.project(call.visitor, project_id), run_id, after)
    return reply({"points": metrics.points, "last": metrics.last, "validation": metrics.validation})


@policy(Policy.READ)
def show_log(project_id: str, run_id: str, offset: int = Query(0, ge=0, le=MOST), call: Call = CALL) -> Response:
    """What the run said, in words, from an offset on."""
    project = call.studio.project(call.visitor, project_id)
    lines, end = read_log(project, run_id, offset, call.language)
    return reply({"lines": [vars(line) for line in lines], "offset": end})


@policy(Policy.READ)
def show_sample(
    project_id: str, run_id: str, name: str, side: int = Query(0, ge=0, le=4096), call: Call = CALL
) -> Response:
    """A sample picture: as it was drawn, or with `?side=256` as a JPEG of at most that side."""
    path = sample_path(call.studio.project(call.visitor, project_id), run_id, name)
    if not side:
        return inline_reply(path, "image/png", AN_HOUR)
    image, small = open_image(path, path.name).image, BytesIO()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(small, "JPEG", quality=85)
    return inline_reply(small.getvalue(), "image/jpeg", AN_HOUR)


@policy(Policy.READ)
def download_lora(project_id: str, run_id: str, name: str, call: Call = CALL) -> Response:
    """A LoRA file of a run."""
    path = lora_path(call.studio.host, call.studio.project(call.visitor, project_id), run_id, name)
    return file_reply(path, path.name)


def _wishes(body: WishesBody, project: Project) -> Wishes:
    return Wishes(body.kind or project.kind, body.medium, body.choice, body.checkpoint)


def _started(started: Started) -> Response:
    job = started.job
    return reply({"run": started.run_id, "job": job.id, "state": job.state, "place": job.record.place}, 201)


_RUN = "/projects/{project_id}/runs/{run_id}"
ROUTES = (
    ("POST", "/projects/{project_id}/plan", make_plan),
    ("GET", "/projects/{project_id}/settings", read_settings),
    ("GET", "/projects/{project_id}/runs", list_runs),
    ("POST", "/projects/{project_id}/runs", start_run),
    ("POST", "/projects/{project_id}/runs/restore", restore_run),
    ("GET", _RUN, show_run),
    ("DELETE", _RUN, remove_run),
    ("POST", f"{_RUN}/resume", resume_run),
    ("POST", f"{_RUN}/continue", continue_run),
    ("GET", f"{_RUN}/metrics", show_metrics),
    ("GET", f"{_RUN}/log", show_log),
    ("GET", f"{_RUN}/samples/{{name}}", show_sample),
    ("GET", f"{_RUN}/files/{{name}}", download_lora),
)
