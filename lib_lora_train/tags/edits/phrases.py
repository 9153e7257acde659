"""Words in sentences: where a tag is said in them, and sentences without them or with others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lib_lora_train.tags.edits.matching import WILD

Spans = Sequence[tuple[int, int]]

_HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3"  # written without blanks, so that words end anywhere
_WORD = rf"[^\W{_HAN}]"
_BLANKS = r"[\s_]+"
_WILDCARDS = {"*": r"\w*", "?": r"\w"}
_CLOSING = ",.;:!?)]，。；：！？、）"


def phrase_pattern(entry: str, wild: bool = False) -> str:
    """A regular expression for an entry's words, blanks and underscores alike.

    With `wild`, `*` in it stands for any part of one word, and `?` for a letter.
    """
    letters = entry.strip(" _") or entry
    words = [_wild_word(part) if wild else re.escape(part) for part in re.split(_BLANKS, letters) if part]
    left = rf"(?<!{_WORD})" if wild or re.match(_WORD, letters) else ""
    right = rf"(?!{_WORD})" if wild or re.search(rf"{_WORD}\Z", letters) else ""
    return left + (_BLANKS.join(words) or re.escape(entry)) + right


def _wild_word(part: str) -> str:
    """As in tags, a backslash makes a sign of a wildcard."""
    pieces, at = [], 0
    for found in WILD.finditer(part):
        sign = re.escape(found[1]) if found[1] else _WILDCARDS[found[2]]
        pieces += [re.escape(part[at : found.start()]), sign]
        at = found.end()
    return "".join([*pieces, re.escape(part[at:])])


class Phrases:
    """Finds several entries, which have no wildcards, in sentences."""

    def __init__(self, entries: Iterable[str]) -> None:
        longest_first = sorted(dict.fromkeys(entries), key=len, reverse=True)
        self._found = [(_needle(entry), re.compile(phrase_pattern(entry), re.IGNORECASE)) for entry in longest_first]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where they stand, from left to right; longer entries first, and none within another."""
        lowered = text.casefold()
        found: list[tuple[int, int]] = []
        for needle, pattern in self._found:
            if needle in lowered:
                found += [match.span() for match in pattern.finditer(text)]
        return apart(found)


def _needle(entry: str) -> str:
    """What a text must hold when it says the entry: a quick look before the slow one."""
    return max(re.split(_BLANKS, entry.casefold()), key=len)


def apart(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans from left to right without those that overlap an earlier, longer one."""
    kept: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > start and (not kept or start >= kept[-1][1]):
            kept.append((start, end))
    return kept


def cut(text: str, spans: Spans) -> str:
    """The text without those parts, and without the blanks and commas that are left over around them."""
    if not spans:
        return text
    left, at = "", 0
    for start, end in spans:
        left = _joined(left, text[at:start]) if at else text[:start]
        at = end
    return _joined(left, text[at:])


def _joined(left: str, right: str) -> str:
    blank = left[-1:].isspace() or right[:1].isspace()
    left, right = left.rstrip(), right.lstrip()
    if not left or left[-1] in ",，":
        rest = right.lstrip(",， ") if right[:1] in (",", "，") or not left else right
        blank = blank or " " in right[: len(right) - len(rest)]
        right = rest
    if not right:
        return left.rstrip(",， ")
    if not left:
        return right
    between = " " if blank and right[0] not in _CLOSING else ""
    return left + between + right


def swapped(text: str, spans: Spans, new: str) -> str:
    """The text with `new` in place of those parts; nothing of them is left when it is blank."""
    if not new.strip():
        return cut(text, spans)
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])
