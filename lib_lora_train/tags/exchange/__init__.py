"""Captions to and from other programs: metadata of sd-scripts, folders of captions, tags one to a line."""

from __future__ import annotations

from collections.abc import Sequence

from lib_lora_train.collection.names import CAPTION_SUFFIXES, base_name, shown, split_name
from lib_lora_train.errors import UserError
from lib_lora_train.tags.exchange.folder import read_captions, read_folder, write_captions, write_folder
from lib_lora_train.tags.exchange.kohya import read_metadata, write_metadata
from lib_lora_train.tags.exchange.lines import read_lines, write_lines
from lib_lora_train.tags.exchange.names import Incoming, Matched, matched
from lib_lora_train.tags.item import Item

__all__ = [
    "EXPORTS",
    "Incoming",
    "Matched",
    "export",
    "matched",
    "read_folder",
    "read_import",
    "read_metadata",
    "write_folder",
    "write_metadata",
]

EXPORTS = {"kohya": ".json", "lines": ".txt", "folder": ".zip"}


def read_import(data: bytes, name: str) -> Incoming:
    """What a file that somebody sends has to say, by its name's ending: .json is metadata of sd-scripts, .zip holds
    captions, and .txt or .caption is the caption of the picture with its name.

    Raises UserError: edits.import_unknown, and what the readers raise.
    """
    ending, where = split_name(base_name(name))[1], shown(base_name(name))
    if ending == ".json":
        return Incoming(read_metadata(data, where))
    if ending == ".zip":
        return Incoming(read_captions(data, where), whole=True)
    if ending in CAPTION_SUFFIXES:
        text = read_lines(data, where)
        if not text:
            raise UserError("edits.import_none", where)
        return Incoming({name: text})
    raise UserError("edits.import_unknown", where)


def export(items: Sequence[Item], kind: str) -> bytes:
    """A file of one of the kinds in `EXPORTS`, which says its ending: "kohya", "lines", or "folder" for a zip.

    Raises UserError("edits.export_kind").
    """
    writers = {"kohya": write_metadata, "lines": write_lines, "folder": write_captions}
    if kind not in writers:
        raise UserError("edits.export_kind", "as", value=shown(kind), choices=", ".join(writers))
    return writers[kind](items)
