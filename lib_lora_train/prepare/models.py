"""Which models the steps of a preparation need, and getting those that are not there."""

from __future__ import annotations

from collections.abc import Sequence

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Commands, EventSink

_FACES = {"auto": ("yunet", "anime-face"), "photo": ("yunet",), "drawn": ("anime-face",)}
_MATTES = {"auto": ("isnet-anime",), "photo": ("birefnet-lite",), "drawn": ("isnet-anime",)}


def needed_models(settings: PrepareSettings, steps: Sequence[str]) -> list[str]:
    """Names of known models, in the order in which they are needed; a folder of the user's own is none."""
    names: list[str] = []
    if "check" in steps or "crop" in steps:
        names += _FACES[settings.check.medium]
    if "matte" in steps and settings.matte.background != "none":
        chosen = settings.matte.matte
        names += _MATTES[settings.check.medium] if chosen == "auto" else () if chosen == "grabcut" else (chosen,)
    if "tag" in steps:
        names += settings.tag.taggers
    return list(dict.fromkeys(names))


def fetch_models(
    tools: Tools, settings: PrepareSettings, steps: Sequence[str], events: EventSink, commands: Commands | None
) -> list[UserError]:
    """Gets what is missing, and returns what could not be had. Raises Stopped.

    After one that cannot be had no other is tried: whoever is offline should not wait for each.
    """
    known = {status.model.name for status in tools.store.known()}
    for name in needed_models(settings, steps):
        if name not in known:
            continue
        try:
            if tools.store.find(name) is None and tools.downloads and not tools.store.offline:
                tools.store.fetch(name, events, commands or Commands())
        except UserError as error:
            return [error]
    return []
