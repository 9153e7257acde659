"""Metadata of sd-scripts, as its finetune scripts make it: {"picture": {"caption": "...", "tags": "..."}}."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lib_lora_train.collection.caption_files import check_caption
from lib_lora_train.collection.names import shown
from lib_lora_train.dataset.tag_text import first_line, is_prose
from lib_lora_train.errors import UserError
from lib_lora_train.tags.exchange.names import exported_name
from lib_lora_train.tags.item import Item

MOST_BYTES = 64_000_000
MOST_NAMES = 100_000
_JOINT = ", "  # sd-scripts trains on caption and tags with its caption_separator and a blank between them


def read_metadata(data: bytes, where: str = "metadata") -> dict[str, str]:
    """Captions by picture: a stem, or a path. A caption and tags are joined as sd-scripts joins them.

    What else stands in an entry (sizes, buckets) is left out, and so are pictures without any words.
    Raises UserError: edits.import_large, edits.import_json, edits.import_form, edits.import_entry, edits.import_many,
    collection.caption_long, collection.caption_characters.
    """
    if len(data) > MOST_BYTES:
        raise UserError("edits.import_large", where, limit=MOST_BYTES // 1_000_000)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError too; the parser does not bound its depth
        raise UserError("edits.import_json", where) from error
    if not isinstance(document, dict):
        raise UserError("edits.import_form", where)
    if len(document) > MOST_NAMES:
        raise UserError("edits.import_many", where, most=MOST_NAMES)
    texts = {name: _text(name, entry) for name, entry in document.items()}
    return {name: text for name, text in texts.items() if text}


def write_metadata(items: Sequence[Item]) -> bytes:
    """Of pictures that have captions: their trained lines, as tags or as a caption. UTF-8, in the order of the pictures.

    Names are paths without endings below the training folder (train_data_dir), as sd-scripts looks them up.
    """
    document: dict[str, Mapping[str, str]] = {}
    for item in items:
        line = first_line(item.text)[1]
        if line:
            document[exported_name(item)] = {"caption" if item.prose or is_prose(line) else "tags": line}
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "replace")


def _text(name: str, entry: object) -> str:
    place = shown(name)
    if not isinstance(entry, dict):
        raise UserError("edits.import_entry", place)
    parts = [_words(place, entry.get("caption")), _words(place, entry.get("tags"))]
    text = _JOINT.join(part for part in parts if part)
    check_caption(text, place)
    return text


def _words(place: str, value: object) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = _JOINT.join(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError("edits.import_entry", place)
    return value.strip()
