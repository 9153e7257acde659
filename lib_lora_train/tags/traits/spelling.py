"""Tags that are written wrongly: near a known tag, or in several ways in one place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from functools import cached_property

from lib_lora_train.tags.traits.rules import Rules
from lib_lora_train.vision.tags_file import KAOMOJI

_SHORTEST, _LONGEST = 5, 60  # letters of a tag whose spelling is looked at; shorter ones are near too many others
_LETTERS = "abcdefghijklmnopqrstuvwxyz -"
_WORD = re.compile(r"[a-z][a-z' -]+")


class Speller:
    """Knows the tags of a place, `spellings` by key, and those of a vocabulary, `known` by key."""

    def __init__(self, spellings: Mapping[str, Counter[str]], known: Set[str], rules: Rules) -> None:
        self._spellings, self._known, self._rules = spellings, known, rules

    def misspelt(self, key: str) -> str:
        """The known tag that is meant by an unknown one with one letter wrong in one word; "" when there is none.

        A tag of words that are all known is not taken for another one: red tie is no red pie.
        """
        if not self._known or not _SHORTEST <= len(key) <= _LONGEST or not _WORD.fullmatch(key):
            return ""
        if key in self._known or self._rules.knows(key):
            return ""
        words = key.split(" ")
        strange = [place for place, word in enumerate(words) if word not in self._words]
        if len(strange) != 1:
            return ""
        head, tail = words[: strange[0]], words[strange[0] + 1 :]
        near = {" ".join([*head, word, *tail]) for word in _one_letter_off(words[strange[0]])} & self._known
        return min(near, key=lambda found: (-sum(self._spellings.get(found, Counter()).values()), found), default="")

    def uneven(self, key: str) -> str:
        """How a tag should be written that is written in more than one way here; "" when there is nothing to change.

        Blanks or underscores: as most of the tags of several words have it. Otherwise as it is written most often.
        """
        spellings = self._spellings[key]
        common = spellings.most_common(1)[0][0]
        if common in KAOMOJI or not any(sign in common.strip("_") for sign in " _"):
            return common if len(spellings) > 1 else ""
        blanks = common.replace("_", " ")
        right = blanks if self._blanks_are_usual else common.replace(" ", "_")
        return right if set(spellings) != {right} else ""

    @cached_property
    def _blanks_are_usual(self) -> bool:
        counts = Counter[str]()
        for spellings in self._spellings.values():
            for text, count in spellings.items():
                if text not in KAOMOJI:
                    counts.update({sign: count for sign in " _" if sign in text.strip("_")})
        return counts[" "] >= counts["_"]

    @cached_property
    def _words(self) -> Set[str]:
        return {word for tag in self._known for word in tag.split()} | self._rules.words


def _one_letter_off(word: str) -> Iterator[str]:
    """With a letter missing, added, swapped with the next, or another one: everything one mistake away."""
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in _LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
