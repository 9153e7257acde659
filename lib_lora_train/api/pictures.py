"""The pictures of a project: list, look, caption, move, delete, bring back."""

from __future__ import annotations

from fastapi import Depends, Query, Response

from lib_lora_train.api.bodies import Caption, MovedPictures, Pictures, Trashed
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import STAMPED, inline_reply, reply
from lib_lora_train.api.route import current_call
from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.entries import find_picture, list_pictures
from lib_lora_train.collection.moving import move_pictures
from lib_lora_train.collection.thumbnails import thumbnail
from lib_lora_train.collection.trash import delete_pictures, list_trash, restore

CALL = Depends(current_call)
SMALL, LARGE = 256, 1600  # px of the longer side
MOST_AT_ONCE = 1000


@policy(Policy.READ)
def read_pictures(
    project_id: str,
    concept: str = "",
    offset: int = Query(0, ge=0, le=10**9),
    limit: int = Query(200, ge=1, le=MOST_AT_ONCE),
    call: Call = CALL,
) -> Response:
    """Pictures with their captions, of one concept or of all."""
    project = call.studio.project(call.visitor, project_id)
    pictures = list_pictures(project, concept)
    shown = [picture.as_dict(call.language) for picture in pictures[offset : offset + limit]]
    return reply({"total": len(pictures), "pictures": shown})


@policy(Policy.READ)
def read_thumbnail(project_id: str, picture_id: str, v: str = "", call: Call = CALL) -> Response:
    """A picture, small, as JPEG."""
    return _picture(call, project_id, picture_id, v, SMALL)


@policy(Policy.READ)
def read_view(project_id: str, picture_id: str, v: str = "", call: Call = CALL) -> Response:
    """A picture, large, as JPEG."""
    return _picture(call, project_id, picture_id, v, LARGE)


@policy(Policy.WRITE)
def change_caption(project_id: str, picture_id: str, body: Caption, call: Call = CALL) -> Response:
    """A new caption in place of the version that the writer saw; 409 with both when it has changed since."""
    project = call.studio.project(call.visitor, project_id)
    return reply(write_caption(project, picture_id, body.text, body.version).as_dict(call.language))


@policy(Policy.WRITE)
def move(project_id: str, body: MovedPictures, call: Call = CALL) -> Response:
    """Moves pictures to another concept; answers with the ids they have there."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"pictures": move_pictures(project, body.pictures, body.concept)})


@policy(Policy.WRITE)
def delete(project_id: str, body: Pictures, call: Call = CALL) -> Response:
    """Moves pictures to the project's trash."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"trash_id": delete_pictures(project, body.pictures)})


@policy(Policy.READ)
def read_trash(project_id: str, call: Call = CALL) -> Response:
    """What was deleted from a project and can be brought back."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"trash": [entry.as_dict() for entry in list_trash(project)]})


@policy(Policy.WRITE)
def restore_trash(project_id: str, body: Trashed, call: Call = CALL) -> Response:
    """Brings deleted pictures or a concept back."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"restored": restore(project, body.trash_id)})


def _picture(call: Call, project_id: str, picture_id: str, stamp: str, side: int) -> Response:
    project = call.studio.project(call.visitor, project_id)
    found = find_picture(project, picture_id)
    kept = STAMPED if stamp == found.stamp else ""
    return inline_reply(thumbnail(project, picture_id, side), "image/jpeg", kept)


ROUTES = (
    ("GET", "/projects/{project_id}/pictures", read_pictures),
    ("GET", "/projects/{project_id}/pictures/{picture_id}/thumbnail", read_thumbnail),
    ("GET", "/projects/{project_id}/pictures/{picture_id}/view", read_view),
    ("PUT", "/projects/{project_id}/pictures/{picture_id}/caption", change_caption),
    ("POST", "/projects/{project_id}/pictures/move", move),
    ("POST", "/projects/{project_id}/pictures/delete", delete),
    ("GET", "/projects/{project_id}/trash", read_trash),
    ("POST", "/projects/{project_id}/trash/restore", restore_trash),
)
