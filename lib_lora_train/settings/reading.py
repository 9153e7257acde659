"""Reading settings from JSON and TOML: our own form and kohya's flat names, strictly.

Our form is nested and carries a version: {"version": 1, "network": {"network_dim": 8}, ...}. A file without a
version is kohya's: flat names, in sections whose titles mean nothing, as those config files have them. Whatever is
not understood is an error that names the field; what is left out keeps its default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.settings import kohya
from lib_lora_train.settings.fields import Setting, describe
from lib_lora_train.settings.tables import OPTIMIZERS, SCHEMA_VERSION, TrainSettings
from lib_lora_train.settings.values import check_value
from lib_lora_train.signals import Log

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Reader = Callable[[Setting, object, str], object]
Migration = Callable[[dict[str, object]], dict[str, object]]

# MIGRATIONS[n] turns a document of version n into one of version n + 1. Version 1 is the first there is.
MIGRATIONS: dict[int, Migration] = {}

_SMALLEST, _LARGEST = 32, 8192  # px, of a training side


@dataclass
class Loaded:
    """Settings that were read, with what the reader should be told about them."""

    settings: TrainSettings
    notes: list[Log] = field(default_factory=list)


def load_settings(path: Path) -> Loaded:
    """Reads a .json or .toml file of either form.

    Raises UserError: settings.missing, settings.encoding for the file, and what `parse_settings` raises.
    """
    _check_suffix(path.name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("settings.encoding", path.name) from error
    except OSError as error:
        raise UserError("settings.missing", path.name, reason=error.strerror or str(error)) from error
    return parse_settings(text, path.name)


def parse_settings(text: str, name: str) -> Loaded:
    """Settings from the text of a file; its name's ending says how it is read.

    Raises UserError: settings.suffix, settings.syntax, and what `from_document` raises for what stands in it.
    """
    suffix = _check_suffix(name)
    try:
        document = json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # both parsers' errors are ValueErrors; neither bounds its depth
        raise UserError("settings.syntax", name, reason=str(error)) from error
    return from_document(document, name)


def _check_suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in (".json", ".toml"):
        raise UserError("settings.suffix", name)
    return suffix


def from_document(document: object, where: str) -> Loaded:
    """Settings from a parsed file of either form. Raises UserError naming the field, or `where` for the whole."""
    if not isinstance(document, dict):
        raise UserError("settings.not_a_table", where)
    if "version" in document:
        return Loaded(_from_nested(migrate(document, where)))
    return from_flat(_flatten(document, where))


def migrate(
    document: dict[str, object],
    where: str,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> dict[str, object]:
    """The document as version `current` writes it. Raises UserError("settings.newer") or ("settings.version")."""
    version = document["version"]
    if type(version) is not int:
        raise UserError("settings.version", where, version=str(version), current=current)
    if version > current:
        raise UserError("settings.newer", where, version=version, current=current)
    while version < current:
        if version not in migrations:
            raise UserError("settings.version", where, version=version, current=current)
        document = {**migrations[version](document), "version": version + 1}
        version += 1
    return document


def from_flat(values: Mapping[str, object], base: TrainSettings | None = None, read: Reader = check_value) -> Loaded:
    """Settings from names without groups: kohya's, or ours. None means "not given".

    What is not named stays as in `base`, which is changed, or at its default. `read` is `check_value` for parsed
    files and `parse_text` for the words of a command line. Raises UserError: settings.unknown,
    settings.unsupported, and what `read` raises.
    """
    loaded = Loaded(base or TrainSettings())
    known = flat_names()
    for name, value in values.items():
        if name in known:
            if value is not None or known[name].optional:
                _set(loaded.settings, known[name], _kohya_value(name, value), name, read)
            continue
        translated = kohya.translate(name, value)
        if translated is None:
            names = [*known, *kohya.TRANSLATED]
            raise UserError("settings.unknown", name, nearest=kohya.nearest(name, names))
        for target, replacement in translated[0].items():
            _set(loaded.settings, known[target], replacement, name)
        if translated[1] is not None:
            loaded.notes.append(translated[1])
    return loaded


def flat_names() -> dict[str, Setting]:
    """Every setting by its kohya name and by its own."""
    described = list(describe(TrainSettings))
    return {item.name: item for item in described} | {item.kohya: item for item in described}


def parse_resolution(text: str) -> tuple[int, int]:
    """Width and height in pixels from "512" or "512,768". Raises UserError("settings.resolution")."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if len(parts) not in (1, 2) or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        raise UserError("settings.resolution", "resolution", value=text, smallest=_SMALLEST, largest=_LARGEST)
    width, height = int(parts[0]), int(parts[-1])
    if not (_SMALLEST <= width <= _LARGEST and _SMALLEST <= height <= _LARGEST):
        raise UserError("settings.resolution", "resolution", value=text, smallest=_SMALLEST, largest=_LARGEST)
    return width, height


def validate(settings: TrainSettings) -> list[Log]:
    """Checks settings against each other; returns what is allowed but worth saying.

    What only the training knows (losses, rates, schedules, what is trained) the trainer checks itself.
    Raises UserError: settings.resolution, settings.side, settings.buckets, settings.no_weights.
    """
    dataset, network, run = settings.dataset, settings.network, settings.run
    width, height = parse_resolution(dataset.resolution)
    if not dataset.enable_bucket and (width % 8 or height % 8):
        raise UserError("settings.side", "resolution", value=dataset.resolution)
    if dataset.enable_bucket and dataset.min_bucket_reso > dataset.max_bucket_reso:
        raise UserError(
            "settings.buckets", "min_bucket_reso", smallest=dataset.min_bucket_reso, largest=dataset.max_bucket_reso
        )
    if network.dim_from_weights and not network.network_weights:
        raise UserError("settings.no_weights", "network_weights")
    notes = []
    if network.network_alpha > network.network_dim:
        notes.append(Log("settings.alpha", {"alpha": network.network_alpha, "dim": network.network_dim}, "warning"))
    samples = run.sample_every_n_epochs or run.sample_every_n_steps
    if samples and not run.sample_prompts:
        notes.append(Log("settings.no_prompts", {}, "warning"))
    return notes


def _from_nested(document: dict[str, object]) -> TrainSettings:
    settings = TrainSettings()
    groups: dict[str, dict[str, Setting]] = {}
    for item in describe(TrainSettings):
        groups.setdefault(item.group, {})[item.name] = item
    for group, table in document.items():
        if group == "version":
            continue
        if group not in groups:
            raise UserError("settings.unknown", group, nearest=kohya.nearest(group, list(groups)))
        if not isinstance(table, dict):
            raise UserError("settings.not_a_table", group)
        for name, value in table.items():
            where = f"{group}.{name}"
            if name not in groups[group]:
                raise UserError("settings.unknown", where, nearest=kohya.nearest(name, list(groups[group])))
            _set(settings, groups[group][name], value, where)
    return settings


def _flatten(document: dict[str, object], where: str) -> dict[str, object]:
    """kohya's sections, titles ignored. A name given twice would hide one of the two, so it is refused."""
    flat: dict[str, object] = {}
    for name, value in _leaves(document):
        if name in flat:
            raise UserError("settings.twice", where, name=name)
        flat[name] = value
    return flat


def _leaves(document: dict[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _set(settings: TrainSettings, item: Setting, value: object, where: str, read: Reader = check_value) -> None:
    setattr(getattr(settings, item.group), item.name, read(item, value, where))


def _kohya_value(name: str, value: object) -> object:
    """kohya's spelling of a value as ours. Optimizer names are matched without regard to case."""
    if name == "optimizer_type" and isinstance(value, str):
        return {known.lower(): known for known in OPTIMIZERS}.get(value.lower(), value)
    return kohya.VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
