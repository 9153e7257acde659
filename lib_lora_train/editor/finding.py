"""Pictures that a filter finds, the tags that stand in them, and captions as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lib_lora_train.editor.desk import Desk
from lib_lora_train.editor.limits import token_limit
from lib_lora_train.errors import UserError
from lib_lora_train.tags.filters import exclude, include, parse_filter, without
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.sheet import UNSURE, Sheet
from lib_lora_train.tags.token_counts import cut_at, first_cut_tag
from lib_lora_train.tags.translations import Translations

if TYPE_CHECKING:
    from lib_lora_train.host.base import TokenCounter

MOST_SHOWN = 200  # pictures
MOST_TAGS = 3_000
ORDERS = ("name", "tokens", "tags", "changed")
_CLICKS = {"include": include, "exclude": exclude, "without": without}


def find(desk: Desk, text: str, order: str, reverse: bool, language: str) -> dict[str, Any]:
    """`POST /find`. Raises UserError: editor.order, and as `parse_filter`."""
    if order not in ORDERS:
        raise UserError("editor.choice", "order", value=order[:60], choices=", ".join(ORDERS))
    sheet = desk.sheet()
    found = desk.select(sheet, text, language)
    counts = sheet.counts if len(found) == sheet.total else sheet.tags_of(found)
    translations = desk.tools.lexicon.translations(language)
    return {
        "revision": sheet.revision,
        "total": len(found),
        "captioned": sum(1 for index in found if sheet.items[index].tags),
        "pictures": [sheet.items[index].id for index in _ordered(sheet, found, order, reverse)],
        "tags": [
            {"tag": tag, "count": count, "all": sheet.counts[tag], "translation": translations.of(tag)}
            for tag, count in sorted(counts.items(), key=_frequent)[:MOST_TAGS]
        ],
    }


def click(text: str, tag: str, how: str) -> str:
    """`POST /filter`: the filter with a tag put in, kept out, or taken away. Raises UserError: editor.choice, and as
    `parse_filter`."""
    if how not in _CLICKS:
        raise UserError("editor.choice", "how", value=how[:60], choices=", ".join(_CLICKS))
    parse_filter(text)
    return _CLICKS[how](text, tag)


def show_pictures(desk: Desk, ids: Sequence[str], language: str) -> list[dict[str, Any]]:
    """`POST /pictures`: those that are still there, in the order asked for. Raises UserError("editor.too_many")."""
    if len(ids) > MOST_SHOWN:
        raise UserError("editor.too_many", "pictures", most=MOST_SHOWN)
    known = desk.sheet().by_id
    counter, limit = desk.tools.tokens.counter(), token_limit(desk)
    translations = desk.tools.lexicon.translations(language)
    shown = []
    for item in [known[each] for each in dict.fromkeys(ids) if each in known]:
        cuts = _cuts(item, counter, limit) if counter is not None and item.tokens > limit else (-1, -1)
        shown.append(_shown(item, translations, cuts, language))
    return shown


def _cuts(item: Item, counter: TokenCounter, limit: int) -> tuple[int, int]:
    """Index of the first tag that the limit cuts off, and that of the first character; -1 for none."""
    return -1 if item.prose else first_cut_tag(item.tags, counter, limit), cut_at(item.text, counter, limit)


def _shown(item: Item, translations: Translations, cuts: tuple[int, int], language: str) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "concept": item.concept,
        "width": item.width,
        "height": item.height,
        "stamp": item.stamp,
        "text": item.text,
        "version": item.version,
        "tags": list(item.tags),
        "translations": [translations.of(tag) for tag in item.tags],
        "prose": item.prose,
        "tokens": item.tokens,
        "cut": cuts[0],
        "cut_at": cuts[1],
        "problem": item.problem.as_dict(language) if item.problem is not None else None,
    }


def _frequent(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def _ordered(sheet: Sheet, found: Sequence[int], order: str, reverse: bool) -> Sequence[int]:
    items = sheet.items
    if order == "tokens":
        found = sorted(found, key=lambda index: items[index].tokens)
    elif order == "tags":
        found = sorted(found, key=lambda index: len(items[index].tags))
    elif order == "changed":
        changed = _changed(sheet)
        found = sorted(found, key=lambda index: -changed[index])
    return found[::-1] if reverse else found


def _changed(sheet: Sheet) -> list[float]:
    """When the caption of each picture was written; what is being written now is the newest."""
    times: list[float] = []
    for shelf in sheet.shelves:
        for item in shelf.items:
            mark = shelf.marks.get(item.key.rpartition("/")[2], UNSURE) if item.files else None
            times.append(0 if mark is None else float("inf") if mark == UNSURE else mark.st_mtime_ns)
    return times
