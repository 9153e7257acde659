"""The tag editor: many captions at once, the trigger word, the form, completion."""

from __future__ import annotations

from fastapi import Depends, Query, Response

from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.api.tag_bodies import TagEdit, TagEditPreview, TagForm, TagTrigger
from lib_lora_train.api.tags import MOST_TEXT, desk_of, overview_reply
from lib_lora_train.editor import batches, completing, forms, triggers
from lib_lora_train.editor.batches import Target

CALL = Depends(current_call)


def target_of(body: TagEditPreview | TagEdit) -> Target:
    return Target(body.filter, None if body.pictures is None else tuple(body.pictures))


@policy(Policy.READ)
def read_schema(project_id: str, call: Call = CALL) -> Response:
    """Every kind of edit with its settings, their labels, helps and bounds."""
    call.studio.project(call.visitor, project_id)
    return reply({"edits": batches.schema(call.language)})


@policy(Policy.WRITE)
def preview(project_id: str, body: TagEditPreview, call: Call = CALL) -> Response:
    """What an edit of the filtered or named pictures would change. Nothing is kept of it."""
    desk = desk_of(call, project_id)
    return reply(batches.preview(desk, body.edit, target_of(body), body.offset, body.limit, call.language))


@policy(Policy.WRITE)
def apply(project_id: str, body: TagEdit, call: Call = CALL) -> Response:
    """Does what a preview showed; 409 when the captions are not as they were then."""
    desk = desk_of(call, project_id)
    batches.apply(desk, body.edit, target_of(body), body.digest, call.language)
    return overview_reply(call, desk)


@policy(Policy.READ)
def check_trigger(project_id: str, word: str = Query("", max_length=MOST_TEXT), call: Call = CALL) -> Response:
    """What speaks against a trigger word, and how many captions lack it."""
    return reply(triggers.check(desk_of(call, project_id), word, call.language))


@policy(Policy.WRITE)
def set_trigger(project_id: str, body: TagTrigger, call: Call = CALL) -> Response:
    """Another trigger word, put first in every caption."""
    desk = desk_of(call, project_id)
    triggers.change(desk, body.word)
    return overview_reply(call, desk_of(call, project_id))


@policy(Policy.READ)
def complete(
    project_id: str,
    text: str = Query("", max_length=MOST_TEXT),
    limit: int = Query(20, ge=1, le=100),
    call: Call = CALL,
) -> Response:
    """Tags that begin like a text, or hold it, or whose translation does."""
    return reply({"suggestions": completing.complete(desk_of(call, project_id), text, limit, call.language)})


@policy(Policy.WRITE)
def change_form(project_id: str, body: TagForm, call: Call = CALL) -> Response:
    """Captions as tags or as sentences; those of the other form come back when it is chosen again."""
    desk = desk_of(call, project_id)
    forms.change(desk, body.form)
    return overview_reply(call, desk)


_TAGS = "/projects/{project_id}/tags"
ROUTES = (
    ("GET", f"{_TAGS}/schema", read_schema),
    ("POST", f"{_TAGS}/preview", preview),
    ("POST", f"{_TAGS}/apply", apply),
    ("GET", f"{_TAGS}/trigger", check_trigger),
    ("POST", f"{_TAGS}/trigger", set_trigger),
    ("GET", f"{_TAGS}/complete", complete),
    ("POST", f"{_TAGS}/form", change_form),
)
