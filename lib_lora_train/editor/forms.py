"""Captions as tags or as sentences: what the pictures have in the form that is not shown is kept beside the journal.

The entry that changed the form names the file that keeps the other one's texts, so undo and redo find the right one.
These files are never changed and have the hash of what they hold for a name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.signals import Log
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.sheet import Sheet

LOGGER = logging.getLogger("lib_lora_train.editor")
FORMS = ("tags", "sentences")
_ID = re.compile(r"[0-9a-f]{32}")
_TITLES = {"tags": Log("editor.did_tags"), "sentences": Log("editor.did_sentences")}


def change(desk: Desk, form: str) -> None:
    """Gives the pictures their captions of another form, where they have some, as one step of undo.

    Raises UserError: editor.choice, and as `Desk.write`.
    """
    if form not in FORMS:
        raise UserError("editor.choice", "form", value=form[:60], choices=", ".join(FORMS))
    with desk.changing():
        old = desk.form
        if form == old:
            return
        sheet = desk.sheet(now=True)
        other = _texts_of(sheet, _read(desk, desk.state.get(_note(form))))
        own = {item.picture: item.text for item in sheet.items if _is_own(item, other.get(item.id))}
        note = {"form": form, _note(old): _keep(desk, own)}
        desk.write(sheet, other, _TITLES[form], note)


def _is_own(item: Item, other: str | None) -> bool:
    """Whether a caption says something else than the one that it gives way to, or than nothing."""
    return item.text != other if other is not None else bool(item.text.strip())


def _texts_of(sheet: Sheet, kept: Mapping[str, str]) -> dict[str, str]:
    """By the pictures' ids. A picture that was moved is known by its name, where no other one has that."""
    names: dict[str, list[str]] = {}
    for picture, text in kept.items():
        names.setdefault(picture.rpartition("/")[2], []).append(text)
    found = {}
    for item in sheet.items:
        alike = names.get(item.picture.rpartition("/")[2], [])
        if item.picture in kept:
            found[item.id] = kept[item.picture]
        elif len(alike) == 1:
            found[item.id] = alike[0]
    return found


def _note(form: str) -> str:
    return f"kept_{form}"


def _folder(desk: Desk) -> Path:
    return desk.project.path("history", "forms")


def _keep(desk: Desk, texts: Mapping[str, str]) -> str:
    """Writes texts down, by the pictures' paths, and returns the name they have there. Raises UserError("file.write")."""
    content = json.dumps(texts, ensure_ascii=True, sort_keys=True)
    name = hashlib.sha256(content.encode("ascii")).hexdigest()[:32]
    path = _folder(desk) / f"{name}.json"
    if not path.is_file():
        write_text(path, content)
    return name


def _read(desk: Desk, name: object) -> dict[str, str]:
    """What was kept; nothing where that is gone or damaged: then the captions stay as they are."""
    if not isinstance(name, str) or not _ID.fullmatch(name):
        return {}
    try:
        content = (_folder(desk) / f"{name}.json").read_text(encoding="ascii")
        if hashlib.sha256(content.encode("ascii")).hexdigest()[:32] != name:
            raise ValueError(name)
        return {str(picture): str(text) for picture, text in json.loads(content).items()}
    except (OSError, ValueError) as error:
        LOGGER.warning("project %s: captions of the other form cannot be read: %s", desk.project.id, error)
        return {}
