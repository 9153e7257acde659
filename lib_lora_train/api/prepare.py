"""The preparation of a project: its steps, what they found, and what will be written."""

from __future__ import annotations

from fastapi import Depends, Query, Response

from lib_lora_train.api.bodies import (
    Fixed,
    Nothing,
    PrepareValues,
    Preparing,
    TagPreview,
    Undone,
)
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.api.schema import shown_groups
from lib_lora_train.prepare.reading import groups
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.workshop.buckets import shown_buckets
from lib_lora_train.workshop.checks import fix_finding, shown_report
from lib_lora_train.workshop.tags import preview_tags

CALL = Depends(current_call)


@policy(Policy.READ)
def read_overview(project_id: str, call: Call = CALL) -> Response:
    """Settings, steps, what is under way, and what would change."""
    return _overview(call, project_id)


@policy(Policy.READ)
def read_schema(project_id: str, call: Call = CALL) -> Response:
    """Every setting of a preparation with its label, help and bounds."""
    call.studio.project(call.visitor, project_id)
    return reply({"groups": shown_groups(groups())})


@policy(Policy.WRITE)
def change_settings(project_id: str, body: PrepareValues, call: Call = CALL) -> Response:
    """New values for some settings."""
    call.studio.workshop.change_settings(call.studio.project(call.visitor, project_id), body.settings)
    return _overview(call, project_id)


@policy(Policy.WRITE)
def start(project_id: str, body: Preparing, call: Call = CALL) -> Response:
    """Puts a pass over the named steps in line; then into the data set with `apply`, and a training with `train`."""
    wishes = None
    if body.train is not None:
        wishes = Wishes(**{name: value for name, value in vars(body.train).items() if value})
    call.studio.prepare(call.visitor, call.studio.project(call.visitor, project_id), body.steps, body.apply, wishes)
    return _overview(call, project_id)


@policy(Policy.WRITE)
def stop(project_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Ends what is under way; the data set is as it was."""
    call.studio.workshop.line.stop(call.studio.project(call.visitor, project_id), call.visitor)
    return _overview(call, project_id)


@policy(Policy.WRITE)
def apply(project_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Puts what was prepared into the data set."""
    call.studio.prepare(call.visitor, call.studio.project(call.visitor, project_id), [], True, None)
    return _overview(call, project_id)


@policy(Policy.WRITE)
def discard(project_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Forgets what was prepared and is not in the data set."""
    call.studio.workshop.discard(call.studio.project(call.visitor, project_id))
    return _overview(call, project_id)


@policy(Policy.WRITE)
def undo(project_id: str, body: Undone, call: Call = CALL) -> Response:
    """Takes the newest change of the data set back."""
    call.studio.workshop.undo(call.studio.project(call.visitor, project_id), body.id)
    return _overview(call, project_id)


@policy(Policy.READ)
def read_report(project_id: str, call: Call = CALL) -> Response:
    """What the health check found."""
    project = call.studio.project(call.visitor, project_id)
    return reply(shown_report(call.studio.workshop.context(project), call.studio.workshop.tools, call.language))


@policy(Policy.WRITE)
def fix(project_id: str, body: Fixed, call: Call = CALL) -> Response:
    """Does what a finding's button says, to all of its pictures or to some."""
    project = call.studio.project(call.visitor, project_id)
    done = fix_finding(call.studio.workshop, project, call.visitor, body.finding, body.fix, body.sources)
    return reply({**done, "overview": call.studio.workshop.overview(project, call.visitor)})


@policy(Policy.WRITE)
def show_tags(project_id: str, body: TagPreview, call: Call = CALL) -> Response:
    """Tags and captions as other settings would give them, from what was seen already. Nothing is kept of it."""
    project = call.studio.project(call.visitor, project_id)
    workshop = call.studio.workshop
    shown = preview_tags(workshop.context(project), workshop.settings(project), body.settings, body.offset, body.limit)
    return reply(shown)


@policy(Policy.READ)
def read_buckets(project_id: str, checkpoint: str = Query("", max_length=1000), call: Call = CALL) -> Response:
    """Which buckets the pictures will be trained in."""
    project = call.studio.project(call.visitor, project_id)
    return reply(shown_buckets(call.studio.workshop.context(project), call.studio.host, checkpoint))


def _overview(call: Call, project_id: str) -> Response:
    project = call.studio.project(call.visitor, project_id)
    return reply(call.studio.workshop.overview(project, call.visitor))


ROUTES = (
    ("GET", "/projects/{project_id}/prepare", read_overview),
    ("GET", "/projects/{project_id}/prepare/schema", read_schema),
    ("PUT", "/projects/{project_id}/prepare/settings", change_settings),
    ("POST", "/projects/{project_id}/prepare/start", start),
    ("POST", "/projects/{project_id}/prepare/stop", stop),
    ("POST", "/projects/{project_id}/prepare/apply", apply),
    ("POST", "/projects/{project_id}/prepare/discard", discard),
    ("POST", "/projects/{project_id}/prepare/undo", undo),
    ("GET", "/projects/{project_id}/prepare/report", read_report),
    ("POST", "/projects/{project_id}/prepare/fix", fix),
    ("POST", "/projects/{project_id}/prepare/tags/preview", show_tags),
    ("GET", "/projects/{project_id}/prepare/buckets", read_buckets),
)
