"""Sheets of captions without any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lib_lora_train.collection.caption_files import Caption, caption_from
from lib_lora_train.collection.names import stem_of
from lib_lora_train.errors import UserError
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.sheet import Concept, Sheet, Shelf, captioned
from lib_lora_train.tags.token_counts import TokenCounts

HERO = Concept("c1", "hero", "dataset/10_hero", 10)
GIRL = Concept("c2", "girl", "regularization/1_girl", 1, True)


class WordCounter:
    """Counts words between blanks; a limit cuts before a word."""

    key, name, trouble = "words", "words", None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def count(self, texts: Sequence[str]) -> list[int]:
        self.asked += texts
        return [len(text.split()) for text in texts]

    def cut(self, text: str, limit: int) -> int:
        place = 0
        for number, word in enumerate(text.split()):
            place = text.index(word, place)
            if number == limit:
                return place
            place += len(word)
        return -1


class Troubled(WordCounter):
    """Cannot count."""

    key, trouble = "", UserError("host.tokenizer_missing", "x.safetensors")  # type: ignore[assignment]


def item(text: str = "", name: str = "1.png", concept: Concept = HERO, tokens: int = -1, **others: Any) -> Item:
    """A picture of 640 x 480 with that caption."""
    stem = stem_of(name)
    bare = Item(
        f"{concept.id}-{stem}", "", f"{concept.key}/{name}", name, concept.id, concept.regularization, 640, 480, 1000,
        "s", "", "", (), (), False,
    )  # fmt: skip
    caption = caption_from(text.encode("utf-8"), name) if text else Caption()
    files = (f"{stem}.txt",) if text else ()
    made = captioned(bare, f"{concept.key}/{stem}.txt", caption, files, None, TokenCounts())
    return replace(made, tokens=tokens, **others)


def sheet(items: Sequence[Item | str]) -> Sheet:
    """Of items, or of captions of pictures 1.png, 2.png, ..."""
    made = [item(each, f"{number}.png") if isinstance(each, str) else each for number, each in enumerate(items, 1)]
    return Sheet(
        [Shelf(concept, {}, tuple(one for one in made if one.concept == concept.id)) for concept in (HERO, GIRL)]
    )
