"""The models that a preparation works with: which there are, and getting those that are not there."""

from __future__ import annotations

from fastapi import Depends, Response

from lib_lora_train.api.bodies import Nothing
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.workshop.toolbox import shown_models

CALL = Depends(current_call)


@policy(Policy.READ)
def list_models(call: Call = CALL) -> Response:
    """The known models with size and licence, and whether they are there."""
    return reply(shown_models(call.studio.workshop, call.visitor))


@policy(Policy.WRITE)
def fetch_model(name: str, body: Nothing, call: Call = CALL) -> Response:
    """Puts the download of a model in line."""
    call.studio.workshop.fetch_model(call.visitor, name)
    return reply(shown_models(call.studio.workshop, call.visitor))


@policy(Policy.WRITE)
def stop_model(name: str, body: Nothing, call: Call = CALL) -> Response:
    """Ends the download of a model; nothing of it stays."""
    call.studio.workshop.stop_model(call.visitor, name)
    return reply(shown_models(call.studio.workshop, call.visitor))


ROUTES = (
    ("GET", "/models", list_models),
    ("POST", "/models/{name}/fetch", fetch_model),
    ("POST", "/models/{name}/stop", stop_model),
)
