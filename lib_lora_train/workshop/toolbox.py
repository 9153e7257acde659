"""Which models and helpers there are, as faces show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Visitor
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.prepare.captioners import captioners, label
from lib_lora_train.vision.store import ModelStatus

if TYPE_CHECKING:
    from lib_lora_train.workshop.workshop import Workshop

_HAAR = "Haar"


def shown_tools(workshop: Workshop, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """Part of the overview."""
    tools, store = workshop.tools, workshop.store
    faces = [status.model.label for status in store.known("face") if status.state == "ready"]
    own = [{"name": name, "label": name, "state": "ready", "megabytes": 0, "licence": "", "commercial": True} for name in store.user_folders()]  # fmt: skip
    return {
        "faces": faces or [_HAAR],
        "upscalers": tools.host.upscalers() if tools.host is not None else [],
        "captioners": [
            {"name": each.name, "label": label(each.name, language)}
            for each in captioners(tools.host, models=store.folder)
            if each.trouble() is None
        ],
        "taggers": [*map(_short, store.known("tagger")), *own],
        "mattes": [_short(status) for status in store.known("matte")],
        "may_download": tools.may_download,
        "models_folder": workshop.models_folder,
    }


def shown_models(workshop: Workshop, visitor: Visitor) -> dict[str, Any]:
    """`GET /models`."""
    tools, exposure = workshop.tools, workshop.exposure
    models = []
    for status in tools.store.known():
        values = status.as_dict(visitor.language)
        if not exposure.names_folders:
            values["folder"] = status.model.name
        models.append({**values, "job": workshop.download(status.model.name, visitor)})
    return {
        "offline": not tools.may_download,
        "folder": workshop.models_folder,
        "models": models,
    }


def _short(status: ModelStatus) -> dict[str, Any]:
    model = status.model
    return {
        "name": model.name,
        "label": model.label,
        "state": status.state,
        "megabytes": model.megabytes,
        "licence": model.licence,
        "commercial": model.commercial,
    }
