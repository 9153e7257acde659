"""Tags that may be meant by what somebody types."""

from __future__ import annotations

from typing import Any

from lib_lora_train.editor.desk import Desk


def complete(desk: Desk, text: str, limit: int, language: str) -> list[dict[str, Any]]:
    """`GET /complete`; `own` is in how many captions here a tag stands."""
    lexicon = desk.tools.lexicon
    own = desk.sheet().counts
    return [
        {
            "tag": found.tag,
            "count": found.count,
            "category": found.category,
            "alias": found.alias,
            "translation": found.translation,
            "own": found.own,
        }
        for found in lexicon.vocabulary().complete(text, limit, lexicon.translations(language), own)
    ]
