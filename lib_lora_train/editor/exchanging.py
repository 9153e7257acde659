"""Captions out of a project, and captions of other programs into it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from lib_lora_train.collection.names import base_name, shown
from lib_lora_train.editor.batches import Target, shown_proposal, texts_of
from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log
from lib_lora_train.tags.exchange import EXPORTS, Incoming, export, matched, read_import
from lib_lora_train.tags.proposing import Proposal, propose_texts
from lib_lora_train.tags.sheet import Sheet

MOST_UNMATCHED = 1_000  # names that are shown
TYPES = {"kohya": "application/json", "lines": "text/plain", "folder": "application/zip"}


@dataclass(frozen=True)
class Import:
    """A file that was sent, and not applied yet."""

    token: str
    name: str
    incoming: Incoming


def export_captions(desk: Desk, kind: str, text: str, language: str) -> tuple[bytes, str, str]:
    """Contents, name and media type of a file with the captions that a filter finds. Raises UserError:
    edits.export_kind, and as `parse_filter`."""
    sheet = desk.sheet(fresh=0.0)
    content = export(Target(text).items(desk, sheet, language), kind)
    return content, desk.place.title + EXPORTS[kind], TYPES[kind]


def read_captions(desk: Desk, data: bytes, name: str, offset: int, limit: int, language: str) -> dict[str, Any]:
    """What the captions of a file would change, and which of its names fit no picture; nothing changes yet.

    Raises UserError: editor.page, and as `read_import`.
    """
    token = hashlib.sha256(name.encode("utf-8", "replace") + b"\0" + data).hexdigest()[:32]
    known = desk.held
    if known is None or known.token != token:
        known = desk.held = Import(token, shown(base_name(name)), read_import(data, name))
    sheet = desk.sheet()
    proposal, unmatched = _proposed(sheet, known.incoming)
    return {
        **shown_proposal(proposal, len(known.incoming.texts), offset, limit, language),
        "unmatched": unmatched[:MOST_UNMATCHED],
        "token": token,
    }


def apply_captions(desk: Desk, token: str, digest: str) -> None:
    """Gives pictures the captions of the file that was sent last, as one step of undo.

    Raises UserError: editor.import_gone, editor.changed, and as `Desk.write`.
    """
    with desk.changing():
        known = desk.held
        if known is None or known.token != token:
            raise UserError("editor.import_gone", "token")
        sheet = desk.sheet(now=True)
        proposal, _ = _proposed(sheet, known.incoming)
        if proposal.digest != digest:
            raise UserError("editor.changed", "digest")
        desk.write(sheet, texts_of(proposal), Log("editor.did_import", {"name": known.name}))
        desk.held = None


def _proposed(sheet: Sheet, incoming: Incoming) -> tuple[Proposal, list[str]]:
    found = matched(sheet.items, incoming)
    return propose_texts(sheet.items, found.texts), found.unmatched
