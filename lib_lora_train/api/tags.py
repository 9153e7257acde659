"""The tag editor: what there is, what is found, one caption, and what was done before."""

from __future__ import annotations

from fastapi import Depends, Query, Response

from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.api.tag_bodies import TagClick, TagEntry, TaggedCaption, TaggedPictures, TagRollback, TagSearch
from lib_lora_train.editor import finding, going_back, overview, saving
from lib_lora_train.editor.desk import Desk

CALL = Depends(current_call)
MOST_TEXT = 1000  # characters of a query


def desk_of(call: Call, project_id: str) -> Desk:
    """Raises UserError("project.unknown")."""
    return call.studio.editor.desk(call.studio.project(call.visitor, project_id))


def overview_reply(call: Call, desk: Desk) -> Response:
    return reply(overview.show(desk, call.language))


@policy(Policy.READ)
def read_overview(project_id: str, call: Call = CALL) -> Response:
    """How many captions, in which form; trigger word, undo and redo, what is being written, what counts and completes."""
    return overview_reply(call, desk_of(call, project_id))


@policy(Policy.WRITE)
def find(project_id: str, body: TagSearch, call: Call = CALL) -> Response:
    """Pictures that a filter finds, and how often each tag stands in them."""
    desk = desk_of(call, project_id)
    return reply(finding.find(desk, body.filter, body.order, body.reverse, call.language))


@policy(Policy.WRITE)
def click_tag(project_id: str, body: TagClick, call: Call = CALL) -> Response:
    """A filter with a tag put in, kept out or taken away again."""
    desk_of(call, project_id)
    return reply({"filter": finding.click(body.filter, body.tag, body.how)})


@policy(Policy.WRITE)
def show_pictures(project_id: str, body: TaggedPictures, call: Call = CALL) -> Response:
    """Captions of at most 200 pictures."""
    return reply({"pictures": finding.show_pictures(desk_of(call, project_id), body.pictures, call.language)})


@policy(Policy.WRITE)
def save_caption(project_id: str, body: TaggedCaption, call: Call = CALL) -> Response:
    """A new caption, as text or as tags, in place of the version the writer saw; 409 when it has changed since.

    It may also be in place of what the same writer sent just before and has no answer to: `after`.
    """
    desk = desk_of(call, project_id)
    after = None if body.after is None else saving.Wording(body.after.text, body.after.tags)
    saving.save_caption(desk, body.picture, saving.Wording(body.text, body.tags), body.version, after)
    [picture] = finding.show_pictures(desk, [body.picture], call.language)
    return reply({"picture": picture, "overview": overview.show(desk, call.language)})


@policy(Policy.WRITE)
def undo(project_id: str, body: TagEntry, call: Call = CALL) -> Response:
    """Takes the newest edit back."""
    desk = desk_of(call, project_id)
    going_back.undo(desk, body.number)
    return overview_reply(call, desk)


@policy(Policy.WRITE)
def redo(project_id: str, body: TagEntry, call: Call = CALL) -> Response:
    """Does the edit again that was taken back last."""
    desk = desk_of(call, project_id)
    going_back.redo(desk, body.number)
    return overview_reply(call, desk)


@policy(Policy.WRITE)
def roll_back(project_id: str, body: TagRollback, call: Call = CALL) -> Response:
    """Takes every edit after the one with this number back; 0 for all of them."""
    desk = desk_of(call, project_id)
    going_back.roll_back(desk, body.to)
    return overview_reply(call, desk)


@policy(Policy.WRITE)
def go_forward(project_id: str, body: TagRollback, call: Call = CALL) -> Response:
    """Does the edits again up to the one with this number."""
    desk = desk_of(call, project_id)
    going_back.go_forward(desk, body.to)
    return overview_reply(call, desk)


@policy(Policy.READ)
def read_log(
    project_id: str,
    offset: int = Query(0, ge=0, le=10**9),
    limit: int = Query(100, ge=1, le=500),
    call: Call = CALL,
) -> Response:
    """What was done, newest first; also what was taken back and can be done again."""
    return reply(going_back.log(desk_of(call, project_id), offset, limit, call.language))


_TAGS = "/projects/{project_id}/tags"
ROUTES = (
    ("GET", _TAGS, read_overview),
    ("POST", f"{_TAGS}/find", find),
    ("POST", f"{_TAGS}/filter", click_tag),
    ("POST", f"{_TAGS}/pictures", show_pictures),
    ("PUT", f"{_TAGS}/caption", save_caption),
    ("POST", f"{_TAGS}/undo", undo),
    ("POST", f"{_TAGS}/redo", redo),
    ("POST", f"{_TAGS}/rollback", roll_back),
    ("POST", f"{_TAGS}/forward", go_forward),
    ("GET", f"{_TAGS}/log", read_log),
)
