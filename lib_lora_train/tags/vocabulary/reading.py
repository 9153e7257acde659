"""Lists of known tags from files: tagcomplete's `name,category,count,"aliases"`, and the taggers' `selected_tags.csv`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.tags.tables import MAX_CELL, read_table
from lib_lora_train.vision.tags_file import RATING, tag_words

MAX_ALIASES = 100
# Danbooru's categories by number; e621's lists use two of them otherwise, and some of their own.
_DANBOORU = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta"}
_E621 = {**_DANBOORU, 5: "species", 7: "meta", 8: "lore"}


@dataclass(frozen=True, slots=True)
class KnownTag:
    """One tag as captions write it, how many pictures of its source bear it (0: unknown), and other names for it."""

    tag: str
    count: int = 0
    category: str = ""
    aliases: tuple[str, ...] = ()


def read_list(path: Path) -> list[KnownTag]:
    """A list in tagcomplete's format; what lacks a category or a count has none. Raises UserError as `read_table`."""
    names = _E621 if path.name.lower().startswith("e621") else _DANBOORU
    tags = []
    for row in read_table(path):
        name, category, count, aliases = [*(cell.strip() for cell in row[:4]), "", "", ""][:4]
        if len(name) > MAX_CELL or (name.lower(), category.lower()) in (("name", "category"), ("tag", "category")):
            continue
        known = names.get(_number(category), "") if category else ""
        tags.append(KnownTag(tag_words(name), _number(count), known, _aliases(aliases)))
    return tags


def read_selected(path: Path) -> list[KnownTag]:
    """What a tagger knows, without ratings, which no caption holds. Raises UserError as `read_table`, words_tags.columns."""
    rows = read_table(path, f"{path.parent.name}/{path.name}")
    header = [cell.strip().lower() for cell in next(rows, [])]
    if "name" not in header or "category" not in header:
        raise UserError("words_tags.columns", f"{path.parent.name}/{path.name}")
    name, category = header.index("name"), header.index("category")
    count = header.index("count") if "count" in header else len(header)
    tags = []
    for row in rows:
        if len(row) <= max(name, category) or not 0 < len(row[name].strip()) <= MAX_CELL:
            continue
        kind = _number(row[category])
        if kind != RATING:
            number = _number(row[count]) if count < len(row) else 0
            tags.append(KnownTag(tag_words(row[name].strip()), number, _DANBOORU.get(kind, "")))
    return tags


def _aliases(cell: str) -> tuple[str, ...]:
    return tuple(tag_words(part.strip()) for part in cell.split(",")[:MAX_ALIASES] if 0 < len(part.strip()) <= MAX_CELL)


def _number(cell: str) -> int:
    """A count or a category; 0 for what is none. Counts of more than nine digits are none either."""
    cell = cell.strip()
    return int(cell) if cell.isdecimal() and cell.isascii() and len(cell) < 10 else 0
