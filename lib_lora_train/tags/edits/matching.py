"""Which tags an entry means, whatever their spelling and weight; and weights in brackets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.vision.tags_file import KAOMOJI

_NUMBERED = re.compile(r"(.*):\s*([0-9]{1,3}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})\s*", re.DOTALL)
_STEP = 1.1  # what one pair of brackets multiplies attention with in prompts
_DEEPEST = 10
_BRACKET = re.compile(r"[()]")
_ESCAPED = re.compile(r"\\([()\[\]])")
WILD = re.compile(r"\\([*?\\])|([*?])")
_LETTER = re.compile(r"[^\W_]")


def unweighted(tag: str) -> tuple[str, float]:
    """A tag without the brackets of its weight, and the weight: (hat:1.2), ((hat)), [hat]. Without any it is 1.

    Faces made of signs and tags that merely end in parentheses, as shirt (white), have none.
    """
    text, weight = tag, 1.0
    for _ in range(_DEEPEST):
        if text[:1] not in ("(", "[") or text in KAOMOJI or not _is_wrapped(text):
            break
        inner = text[1:-1].strip()
        numbered = _NUMBERED.fullmatch(inner) if text[0] == "(" else None
        inner = numbered[1].strip() if numbered else inner
        if not inner:
            break
        weight *= float(numbered[2]) if numbered else _STEP if text[0] == "(" else 1 / _STEP
        text = inner
    return (_ESCAPED.sub(r"\1", text), weight) if text != tag else (tag, 1.0)


def weighted(tag: str, weight: float) -> str:
    """As prompts write it; a weight of 1 is written by nothing."""
    shown = f"{weight:.3f}".rstrip("0").rstrip(".")
    return tag if shown == "1" else f"({_BRACKET.sub(_escaped, tag)}:{shown})"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found.group()}"


def _is_wrapped(text: str) -> bool:
    """Whether the bracket at the beginning is closed by the last character."""
    closing = {"(": ")", "[": "]"}[text[0]]
    if len(text) < 3 or text[-1] != closing or text[-2] == "\\":
        return False
    depth = 0
    for place, character in enumerate(text):
        if place and text[place - 1] == "\\":
            continue
        depth += (character == text[0]) - (character == closing)
        if depth == 0:
            return place == len(text) - 1
    return False


@lru_cache(maxsize=1 << 16)
def bare_key(tag: str) -> str:
    """As `tag_key`, without the brackets of a weight."""
    return tag_key(unweighted(tag)[0]) if tag[:1] in ("(", "[") else tag_key(tag)


def bare_keys(tags: Iterable[str]) -> list[str]:
    return list(map(bare_key, tags))


def is_wild(entry: str) -> bool:
    """Whether `*` and `?` in an entry stand for anything: not in tags that are made of signs, as !? is."""
    return _LETTER.search(entry) is not None and any(found[2] for found in WILD.finditer(entry))


def plain(entry: str) -> str:
    """An entry without the backslashes that make signs of its wildcards."""
    return WILD.sub(lambda found: found[1] or found[2], entry) if _LETTER.search(entry) else entry


class TagMatcher:
    """The tags that one of several entries means. `*` in an entry is any text, `?` any character."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._keys = {bare_key(plain(entry)) for entry in entries if not is_wild(entry)}
        self._globs = [_glob(entry) for entry in entries if is_wild(entry)]

    def __call__(self, tag: str) -> bool:
        key = bare_key(tag)
        return key in self._keys or tag_key(tag) in self._keys or any(fits(key) for fits in self._globs)

    def among(self, tags: Iterable[str]) -> frozenset[str]:
        """Those that are meant, as they are written."""
        return frozenset(filter(self, tags))


def _glob(entry: str) -> Callable[[str], bool]:
    """Whether a key is as the entry says. Its fixed parts are looked for from left to right: no pattern hangs it."""
    key = tag_key(entry)
    parts, lengths, place = [""], [0], 0
    for found in WILD.finditer(key):
        parts[-1] += re.escape(key[place : found.start()])
        lengths[-1] += found.start() - place
        place = found.end()
        if found[2] == "*":
            parts.append("")
            lengths.append(0)
        else:
            parts[-1] += re.escape(found[1]) if found[1] else "."
            lengths[-1] += 1
    parts[-1] += re.escape(key[place:])
    lengths[-1] += len(key) - place
    fixed = [re.compile(part, re.DOTALL) for part in parts]
    if len(fixed) == 1:
        return lambda text: fixed[0].fullmatch(text) is not None

    def fits(text: str) -> bool:
        end = len(text) - lengths[-1]
        if end < lengths[0] or fixed[0].match(text) is None or fixed[-1].match(text, end) is None:
            return False
        at = lengths[0]
        for part in fixed[1:-1]:
            found = part.search(text, at, end)
            if found is None:
                return False
            at = found.end()
        return True

    return fits
