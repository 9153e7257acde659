"""Who can say in sentences what is in a picture, on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.prepare.endpoint import URL, Endpoint
from lib_lora_train.prepare.florence import Florence
from lib_lora_train.prepare.tables import TagSettings

if TYPE_CHECKING:
    from lib_lora_train.host.base import Captioner, Host

_LABELS = {
    "blip": "tagging.captioner_blip",
    "deepdanbooru": "tagging.captioner_deepdanbooru",
    "florence2": "tagging.captioner_florence2",
    "endpoint": "tagging.captioner_endpoint",
}


def captioners(
    host: Host | None, environment: Mapping[str, str] | None = None, models: Path | None = None
) -> list[Captioner]:
    """All that this host and installation have: the host's, Florence-2, and the operator's endpoint where one is set.

    They need not be usable now; `trouble()` says so. Without a host (on the command line) `models` is where Florence-2
    may lie.
    """
    found: list[Captioner] = []
    if host is not None:
        found += [*host.captioners(), Florence(host.paths.models, host.device)]
    elif models is not None:
        found.append(Florence(models))
    endpoint = Endpoint.of(os.environ if environment is None else environment)
    return [*found, endpoint] if endpoint else found


def found(
    host: Host | None,
    settings: TagSettings,
    environment: Mapping[str, str] | None = None,
    models: Path | None = None,
) -> Captioner | None:
    """The captioner that the settings name; None for "none".

    Raises UserError: that of its `trouble`, or tagging.no_captioner, tagging.no_endpoint when there is no such one.
    """
    if settings.captioner == "none":
        return None
    chosen = next((each for each in captioners(host, environment, models) if each.name == settings.captioner), None)
    if chosen is None:
        if settings.captioner == "endpoint":
            raise UserError("tagging.no_endpoint", URL)
        raise UserError("tagging.no_captioner", settings.captioner)
    trouble = chosen.trouble()
    if trouble is not None:
        raise trouble
    return chosen


def label(name: str, language: str = DEFAULT_LANGUAGE) -> str:
    """What a captioner is called on the page."""
    return message(_LABELS[name], language)
