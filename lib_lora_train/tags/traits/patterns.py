"""Patterns of tags: whole words, `*` for any words, `{name}` for one entry of a named list.

long hair          that tag alone
* hair             "hair" and whatever ends with the word
{color} eyes       "red eyes", "light blue eyes"; the list `color` says which
*-shaped pupils    a star within a word stands for letters
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

#: A whole tag in brackets with a weight, as in prompts: (scarf:1.2), ((scarf)), [scarf]. No brackets of the tag's own.
_WEIGHT = re.compile(r"[(\[{]+([^()\[\]{}:]+)(?::\s*\d*\.?\d+)?[)\]}]+")
_PART = re.compile(r"\{(\w+)\}|(\*)|([^{}*]+)")


def plain(tag: str) -> str:
    """The tag as patterns see it: lower case, blanks for underscores, no weight, no backslash before brackets."""
    text = " ".join(tag.replace("_", " ").lower().split())
    if weighted := _WEIGHT.fullmatch(text):
        text = weighted[1].strip()
    return text.replace("\\", "")


def is_exact(pattern: str) -> bool:
    """Whether it stands for one tag only."""
    return "*" not in pattern and "{" not in pattern


def weight(pattern: str) -> int:
    """How much a pattern says: its letters; of two that fit a tag the one that says more decides.

    A list counts as two letters: "{color} hair" says more than "* hair".
    """
    return sum(len(text) if text else 2 if name else 0 for name, _, text in _PART.findall(pattern))


def expression(pattern: str, lists: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """The pattern as a regular expression for " " and a `plain` tag. Raises KeyError for a list that there is not.

    A blank begins each word, so that there is one way only to match a star: it stays fast whatever the tag.
    """
    return re.compile("".join("(?: \\S+)*" if word == "*" else " " + _word(word, lists) for word in pattern.split(" ")))


def _word(word: str, lists: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for name, star, text in _PART.findall(word):
        if name:
            parts.append("(?:" + "|".join(re.escape(plain(entry)) for entry in lists[name]) + ")")
        else:
            parts.append(r"\S*" if star else re.escape(text))
    return "".join(parts)


def last_words(pattern: str, lists: Mapping[str, Sequence[str]]) -> set[str]:
    """The words that a tag can end with when the pattern fits it; empty: any."""
    return {entry.rpartition(" ")[2] for entry in _entries(pattern.rpartition(" ")[2], lists)}


def first_words(pattern: str, lists: Mapping[str, Sequence[str]]) -> set[str]:
    """The words that a tag can begin with when the pattern fits it; empty: any."""
    return {entry.partition(" ")[0] for entry in _entries(pattern.partition(" ")[0], lists)}


def _entries(word: str, lists: Mapping[str, Sequence[str]]) -> list[str]:
    """What a word of a pattern stands for, when that can be listed."""
    if listed := re.fullmatch(r"\{(\w+)\}", word):
        return [plain(entry) for entry in lists[listed[1]]]
    return [] if "*" in word or "{" in word else [word]
