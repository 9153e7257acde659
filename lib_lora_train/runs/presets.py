"""Presets: settings under a name, for any project. Some are shipped; the user's lie in the projects' folder.

A shipped preset holds what it is about and nothing else; the rest keeps its default. What belongs to one project or
one computer (`PRIVATE`) is never part of a preset and stays as it is when one is loaded.
"""

from __future__ import annotations

import copy
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.files import move, safe_name
from lib_lora_train.runs.managed import LOCAL_ONLY, MANAGED, without
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe
from lib_lora_train.settings.reading import from_document, load_settings
from lib_lora_train.settings.writing import write_settings

PRIVATE = MANAGED | LOCAL_ONLY | {
    "model.checkpoint",
    "network.network_weights",
    "network.dim_from_weights",
    "run.sample_prompts",
    "run.training_comment",
}  # fmt: skip
FOLDER, TRASH = ".presets", ".trash"
MOST = 500
_SHIPPED = Path(__file__).parent.parent / "presets"


@dataclass(frozen=True)
class Preset:
    name: str
    shipped: bool


def list_presets(root: Path) -> list[Preset]:
    """Shipped ones first, then the user's, each by name. `root` is the projects' folder."""
    shipped = [Preset(name, True) for name in sorted(_shipped())]
    return shipped + [Preset(name, False) for name in sorted(_own(root), key=str.casefold)]


def load_preset(root: Path, name: str, base: TrainSettings | None = None) -> TrainSettings:
    """A preset's settings on top of the defaults; what is private is taken from `base`.

    Raises UserError: preset.unknown, and as `reading.load_settings` for a file that was changed by hand.
    """
    path = _own(root).get(name)
    loaded = from_document(_shipped_document(name), name) if path is None else load_settings(path)
    return _with_private(loaded.settings, base or TrainSettings())


def save_preset(root: Path, name: str, settings: TrainSettings) -> None:
    """Writes a preset; one of that name goes to the trash first.

    Raises UserError: preset.name, preset.shipped, preset.too_many, file.write.
    """
    shown = name.strip()
    if not shown or safe_name(shown) != shown or shown.startswith("."):
        raise UserError("preset.name", "name", name=shown[:60], better=safe_name(shown.lstrip(". "), "preset"))
    if shown.casefold() in {each.casefold() for each in _shipped()}:
        raise UserError("preset.shipped", shown)
    own = _own(root)
    before = next((path for each, path in own.items() if each.casefold() == shown.casefold()), None)
    if before is not None:
        _to_trash(root, before)
    elif len(own) >= MOST:
        raise UserError("preset.too_many", shown, limit=MOST)
    write_settings(root / FOLDER / f"{shown}.json", without(settings, PRIVATE))


def delete_preset(root: Path, name: str) -> str:
    """Moves a preset of the user's to the trash; returns its id there. Raises preset.unknown, preset.shipped."""
    path = _own(root).get(name)
    if path is None:
        raise UserError("preset.shipped" if name in _shipped() else "preset.unknown", name)
    return _to_trash(root, path)


def restore_preset(root: Path, trash_id: str) -> Preset:
    """Brings a deleted preset back. Raises preset.unknown, preset.taken."""
    trash = root / FOLDER / TRASH
    found = {path.name.removesuffix(".json"): path for path in trash.glob("*.json")}
    if trash_id not in found:
        raise UserError("preset.unknown", trash_id)
    name = trash_id.rpartition("-")[0]
    if name in _own(root):
        raise UserError("preset.taken", name)
    move(found[trash_id], root / FOLDER / f"{name}.json")
    return Preset(name, False)


def _own(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in (root / FOLDER).glob("*.json") if not path.name.startswith(".")}


def _shipped() -> dict[str, Path]:
    documents = {path: json.loads(path.read_text(encoding="utf-8")) for path in _SHIPPED.glob("*.json")}
    return {document["name"]: path for path, document in documents.items()}


def _shipped_document(name: str) -> object:
    known = _shipped()
    if name not in known:
        raise UserError("preset.unknown", name)
    return json.loads(known[name].read_text(encoding="utf-8"))["settings"]


def _with_private(settings: TrainSettings, base: TrainSettings) -> TrainSettings:
    result = copy.deepcopy(settings)
    for item in describe(TrainSettings):
        if f"{item.group}.{item.name}" in PRIVATE:
            value = getattr(getattr(base, item.group), item.name)
            setattr(getattr(result, item.group), item.name, copy.copy(value))
    return result


def _to_trash(root: Path, path: Path) -> str:
    trash_id = f"{path.stem}-{secrets.token_hex(4)}"
    move(path, root / FOLDER / TRASH / f"{trash_id}.json")
    return trash_id
