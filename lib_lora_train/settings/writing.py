"""Writing settings: our JSON, and kohya's TOML for kohya's scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from lib_lora_train.files import write_json
from lib_lora_train.settings import kohya
from lib_lora_train.settings.fields import Setting, describe
from lib_lora_train.settings.tables import SCHEMA_VERSION, TrainSettings
from lib_lora_train.settings.values import NUMBERS_AS_TEXT


def to_dict(settings: TrainSettings) -> dict[str, object]:
    """The nested form that `reading.from_document` takes, every setting included."""
    return {"version": SCHEMA_VERSION, **asdict(settings)}


def write_settings(path: Path, settings: TrainSettings) -> None:
    """Atomic write as JSON. Raises UserError("file.write")."""
    write_json(path, to_dict(settings))


def to_kohya_toml(settings: TrainSettings) -> str:
    """A config file for kohya's train_network.py.

    Settings that those scripts do not have are left out, and so are empty ones. A rate with steps has no equal
    there; it is written as a comment, so that the reader sees what is missing.
    """
    lines = ['network_module = "networks.lora"', 'save_model_as = "safetensors"']
    if settings.model.prediction == "v_prediction":
        lines.append("v_parameterization = true")
    if settings.run.checkpointed_blocks:
        lines.append("gradient_checkpointing = true")
    dropouts = {"rank_dropout": settings.network.rank_dropout, "module_dropout": settings.network.module_dropout}
    arguments = [f"{name}={value}" for name, value in dropouts.items() if value]
    if arguments:
        lines.append(f"network_args = {json.dumps(arguments)}")
    group = ""
    for item in describe(TrainSettings):
        value = getattr(getattr(settings, item.group), item.name)
        if item.kohya in kohya.OWN or value in (None, "", []):
            continue
        if item.name == "max_token_length" and value == 75:  # the default there, which the flag does not offer
            continue
        if item.name == "max_train_epochs" and value == 0:
            continue
        if item.group != group:
            group = item.group
            lines += ["", f"[{group}]"]
        lines.append(_line(item, value))
    return "\n".join(lines) + "\n"


def _line(item: Setting, value: object) -> str:
    if item.name in ("mixed_precision", "save_precision") and value == "fp32":
        value = "no" if item.name == "mixed_precision" else "float"
    if item.name in NUMBERS_AS_TEXT and item.name != "resolution":
        try:
            value = float(str(value))
        except ValueError:
            return f"# {item.kohya} = {json.dumps(value)}  (steps: kohya's scripts have no such thing)"
    return f"{item.kohya} = {json.dumps(value, ensure_ascii=False)}"
