"""How things stand with a project's captions, in one answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.editor import triggers
from lib_lora_train.editor.desk import FRESH, Desk
from lib_lora_train.editor.going_back import shown_entry
from lib_lora_train.editor.limits import token_limit

_NAMES = 20  # of files that were left


def show(desk: Desk, language: str) -> dict[str, Any]:
    """`GET /tags`."""
    sheet = desk.sheet(fresh=FRESH)
    newest, following, sitting = desk.once("steps", desk.moved, lambda: _steps(desk))
    translations = desk.tools.lexicon.translations(language)
    word = desk.trigger
    vocabulary = desk.tools.lexicon.vocabulary_soon()
    stamp = (sheet.revision, word, language, len(vocabulary), sheet.token_counts.key)
    notes = desk.once("notes", stamp, lambda: triggers.notes(desk, word, language, vocabulary)) if word else []
    trouble = desk.writer.trouble or desk.history.trouble
    return {
        "revision": sheet.revision,
        "form": desk.form,
        "total": sheet.total,
        "captioned": sheet.captioned,
        "concepts": _concepts(desk),
        "trigger": {
            "word": word,
            "notes": notes,
            "everywhere": triggers.missing(desk),
        },
        "undo": _step(newest, language),
        "redo": _step(following, language),
        "sitting": sitting,
        "writing": desk.writer.progress,
        "left": _left(desk),
        "trouble": trouble.as_dict(language) if trouble is not None else None,
        "tokens": _tokens(desk, language),
        "vocabulary": {"source": ", ".join(vocabulary.sources), "count": len(vocabulary)},
        "translation": {"language": translations.language if len(translations) else "", "count": len(translations)},
    }


def _steps(desk: Desk) -> tuple[Entry | None, Entry | None, dict[str, int] | None]:
    """What undo takes back, what redo does again, and how many steps the present sitting has in force, with the entry
    to roll back to."""
    newest, following = desk.history.ends()
    count, to = desk.history.sitting()
    return newest, following, {"count": count, "to": to} if count else None


def _step(entry: Entry | None, language: str) -> dict[str, Any] | None:
    if entry is None:
        return None
    shown = shown_entry(entry, language)
    return {name: shown[name] for name in ("number", "title", "time", "count")}


def _concepts(desk: Desk) -> list[dict[str, Any]]:
    sheet = desk.sheet()
    counts = Counter(item.concept for item in sheet.items)
    return [
        {
            "id": concept.id,
            "name": concept.name,
            "repeats": concept.repeats,
            "regularization": concept.regularization,
            "pictures": counts[concept.id],
        }
        for concept in sheet.concepts
    ]


def _left(desk: Desk) -> dict[str, Any] | None:
    left = desk.left()
    if not left:
        return None
    return {"count": len(left), "names": [key.rpartition("/")[2] for key in left[:_NAMES]]}


def _tokens(desk: Desk, language: str) -> dict[str, Any]:
    counter = desk.tools.tokens.counter()
    trouble = counter.trouble if counter is not None else None
    return {
        "available": counter is not None and trouble is None,
        "name": counter.name if counter is not None else "",
        "limit": token_limit(desk),
        "trouble": trouble.text(language) if trouble is not None else "",
    }
