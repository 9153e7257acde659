"""Writing settings: our JSON, and kohya's TOML for kohya's scripts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib_lora_train.files import write_json
from lib_lora_train.settings import kohya
from lib_lora_train.settings.fields import describe
from lib_lora_train.settings.tables import SCHEMA_VERSION, TrainSettings
from lib_lora_train.settings.values import NUMBERS_AS_TEXT

# Those scripts divide by some of these, and take 0 kept files at its word: there, "never" is to leave them out.
_NONE_AT_ZERO = frozenset(
    {
        "max_train_epochs", "save_every_n_epochs", "save_every_n_steps", "save_last_n", "sample_every_n_epochs",
        "sample_every_n_steps", "validation_split",
    }
)  # fmt: skip


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
    lines, group = [], ""
    for title, name, value in _kohya_values(settings):
        if title != group:
            group = title
            lines += ["", f"[{group}]"]
        if _has_steps(name, value):
            lines.append(f"# {name} = {json.dumps(value)}  (steps: kohya's scripts have no such thing)")
        else:
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def to_kohya_command(settings: TrainSettings, script: str = "train_network.py") -> str:
    """The same as a command line for a POSIX shell, an option on each line; what is off is not named."""
    options = []
    for _, name, value in _kohya_values(settings):
        if value is False or _has_steps(name, value):
            continue
        if value is True:
            options.append(f"--{name}")
        elif isinstance(value, list):
            options.append(" ".join([f"--{name}", *(shlex.quote(str(item)) for item in value)]))
        else:
            options.append(f"--{name}={shlex.quote(str(value))}")
    return " \\\n  ".join([f"accelerate launch {script}", *options])


def _kohya_values(settings: TrainSettings) -> Iterator[tuple[str, str, Any]]:
    """Section, name and value of all that kohya's scripts are told."""
    yield "", "network_module", "networks.lora"
    yield "", "save_model_as", "safetensors"
    if settings.model.prediction == "v_prediction":
        yield "", "v_parameterization", True
    if settings.run.checkpointed_blocks:
        yield "", "gradient_checkpointing", True
    dropouts = {"rank_dropout": settings.network.rank_dropout, "module_dropout": settings.network.module_dropout}
    arguments = [f"{name}={value}" for name, value in dropouts.items() if value]
    if arguments:
        yield "", "network_args", arguments
    for item in describe(TrainSettings):
        value = getattr(getattr(settings, item.group), item.name)
        if item.name == "validation_seed" and value is None and settings.dataset.validation_split:
            value = settings.run.seed  # without one those scripts choose twice, and train on what they held back
        if item.kohya in kohya.OWN or value in (None, "", []):
            continue
        if item.name == "max_token_length" and value == 75:  # the default there, which the flag does not offer
            continue
        if item.name in _NONE_AT_ZERO and value == 0:
            continue
        yield item.group, item.kohya, _kohya_value(item.name, value)


def _kohya_value(name: str, value: Any) -> Any:
    if name in ("mixed_precision", "save_precision") and value == "fp32":
        return "no" if name == "mixed_precision" else "float"
    if name in NUMBERS_AS_TEXT and name != "resolution":
        try:
            return float(str(value))
        except ValueError:
            return value
    return value


def _has_steps(name: str, value: Any) -> bool:
    return name in NUMBERS_AS_TEXT and name != "resolution" and isinstance(value, str)
