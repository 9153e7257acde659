"""A sheet's pictures by what filters ask for, each found out once, when it is asked for first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from lib_lora_train.collection.names import stem_of
from lib_lora_train.dataset.tag_text import first_line, split_tags, tag_key
from lib_lora_train.tags.item import UNKNOWN, Item

_BLANKS = re.compile(r"[_\s]+")


class Columns:
    """Lists as long as `items`, and places in it by tag."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    @cached_property
    def texts(self) -> list[str]:
        """Captions without capitals."""
        return [item.text.casefold() for item in self._items]

    @cached_property
    def spaced(self) -> list[str]:
        """The same, with one blank for underscores, line ends and several blanks."""
        return [_spaced(text) for text in self.texts]

    @cached_property
    def names(self) -> list[str]:
        """Picture files' names without capitals."""
        return [item.picture.rpartition("/")[2].casefold() for item in self._items]

    @cached_property
    def stems(self) -> list[str]:
        return [stem_of(name) for name in self.names]

    @cached_property
    def by_tag(self) -> dict[str, list[int]]:
        """Places of the captions that hold a tag, by the tag's key; a place may stand there twice."""
        written: defaultdict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(self._items):
            for tag in item.tags:
                written[tag].append(index)
        places: defaultdict[str, list[int]] = defaultdict(list)
        for tag, found in written.items():
            places[tag_key(tag)] += found
        return dict(places)

    @cached_property
    def loose(self) -> list[int]:
        """Places of the captions that say more than their tags do."""
        items = enumerate(self._items)
        return [place for place, item in items if item.text and (not item.tags or len(item.text.splitlines()) > 1)]

    def numbers(self, name: str) -> list[int]:
        """One of tokens, tags, chars, size, width, height; -1 where it is unknown."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = _NUMBERS[name](self._items)
        return found

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        return {}

    def triggered(self, trigger: str) -> bytes:
        """1 for each caption that holds the trigger word: all its parts among the tags, or, of a sentence, as words."""
        keys = [tag_key(part) for part in split_tags(trigger)]
        if not keys:
            return bytes(len(self._items))
        marks = bytearray(len(self._items))
        for index in set.intersection(*(set(self.by_tag.get(key, ())) for key in keys)):
            marks[index] = 1
        word = re.compile(rf"(?<![a-z0-9]){re.escape(tag_key(trigger))}(?![a-z0-9])")
        for index, item in enumerate(self._items):
            if item.prose and not marks[index]:
                marks[index] = word.search(_spaced(first_line(item.text)[1].casefold())) is not None
        return bytes(marks)


def _spaced(text: str) -> str:
    return _BLANKS.sub(" ", text) if "_" in text or "\n" in text or "  " in text else text


_NUMBERS = {
    "tokens": lambda items: [item.tokens for item in items],
    "tags": lambda items: [len(item.tags) for item in items],
    "chars": lambda items: [len(item.text) for item in items],
    "size": lambda items: [min(item.width, item.height) or UNKNOWN for item in items],
    "width": lambda items: [item.width or UNKNOWN for item in items],
    "height": lambda items: [item.height or UNKNOWN for item in items],
}
