"""`selected_tags.csv`, the list of what a tagger of the WD14 family knows, and how captions write its tags."""

from __future__ import annotations

import csv
from pathlib import Path

from lib_lora_train.errors import UserError

GENERAL, ARTIST, COPYRIGHT, CHARACTER, META, RATING = 0, 1, 3, 4, 5, 9  # Danbooru's categories, and the taggers' 9
# Faces made of signs, whose underscores are part of the face: the list of the taggers' author.
KAOMOJI = frozenset(
    ["0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||"]
)  # fmt: skip
_MAX_BYTES = 32_000_000


def tag_words(name: str) -> str:
    """A tag as captions write it: spaces for underscores, but in the faces made of signs."""
    return name if name in KAOMOJI else name.replace("_", " ")


def read_tags(path: Path) -> tuple[list[str], list[int]]:
    """Names with their underscores, and categories, in the order of the model's outputs.

    Columns are found by their names (`tag_id,name,category,count`; only `name` and `category` are needed).
    Raises UserError("onnx.missing_file") or ("tagger.unreadable_tags").
    """
    if not path.is_file():
        raise UserError("onnx.missing_file", path.name)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError("tagger.unreadable_tags", path.name)
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = [
                (row["name"].strip(), int(row["category"])) for row in csv.DictReader(handle, skipinitialspace=True)
            ]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError("tagger.unreadable_tags", path.name) from error
    return [name for name, _ in rows], [category for _, category in rows]
