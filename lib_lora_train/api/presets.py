"""Presets: settings under a name."""

from __future__ import annotations

from fastapi import Depends, Response

from lib_lora_train.api.bodies import Preset
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.runs.presets import delete_preset, list_presets, load_preset, save_preset
from lib_lora_train.settings.reading import from_document
from lib_lora_train.settings.writing import to_dict

CALL = Depends(current_call)


@policy(Policy.READ)
def show_presets(call: Call = CALL) -> Response:
    """Names of presets, those that come with the program first."""
    return reply({"presets": [vars(preset) for preset in list_presets(call.studio.root)]})


@policy(Policy.READ)
def show_preset(name: str, call: Call = CALL) -> Response:
    """A preset's settings."""
    return reply({"settings": to_dict(load_preset(call.studio.root, name))})


@policy(Policy.WRITE)
def write_preset(name: str, body: Preset, call: Call = CALL) -> Response:
    """Keeps settings as a preset, without what belongs to one project."""
    save_preset(call.studio.root, name, from_document(body.settings, "settings").settings)
    return reply({"name": name.strip(), "shipped": False})


@policy(Policy.WRITE)
def remove_preset(name: str, call: Call = CALL) -> Response:
    """Moves a preset to the trash."""
    return reply({"trash_id": delete_preset(call.studio.root, name)})


ROUTES = (
    ("GET", "/presets", show_presets),
    ("GET", "/presets/{name}", show_preset),
    ("PUT", "/presets/{name}", write_preset),
    ("DELETE", "/presets/{name}", remove_preset),
)
