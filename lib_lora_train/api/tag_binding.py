"""The tag editor: what to bind."""

from __future__ import annotations

from fastapi import Depends, Response

from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.api.tag_bodies import TagBinding, TagChoices
from lib_lora_train.api.tags import desk_of, overview_reply
from lib_lora_train.editor import binding

CALL = Depends(current_call)


@policy(Policy.READ)
def read_binding(project_id: str, outfit: bool | None = None, call: Call = CALL) -> Response:
    """Which tags belong to the subject and should go, and which describe what stays free."""
    return reply(binding.show(desk_of(call, project_id), outfit, call.language))


@policy(Policy.WRITE)
def choose_binding(project_id: str, body: TagChoices, call: Call = CALL) -> Response:
    """Own decisions in place of the proposed ones."""
    desk = desk_of(call, project_id)
    binding.choose(desk, body.choices, body.outfit)
    return reply(binding.show(desk, None, call.language))


@policy(Policy.WRITE)
def apply_binding(project_id: str, body: TagBinding, call: Call = CALL) -> Response:
    """Takes the bound tags out of all captions and puts the misspelt ones right, as one edit."""
    desk = desk_of(call, project_id)
    binding.apply(desk, body.outfit, body.digest)
    return overview_reply(call, desk)


_BINDING = "/projects/{project_id}/tags/binding"
ROUTES = (
    ("GET", _BINDING, read_binding),
    ("PUT", _BINDING, choose_binding),
    ("POST", f"{_BINDING}/apply", apply_binding),
)
