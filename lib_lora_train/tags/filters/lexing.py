"""A filter's text in tokens, each with its place, so that an error can be shown where it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.tags.filters.patterns import ANY, ONE, Part, Pattern

WHERE = "filter"
NUMBERS = ("tokens", "tags", "chars", "size", "width", "height")
WORDS = ("tag", "text", "name", "concept", "has", "none", "missing", "is")
_KEYWORDS = ("AND", "OR", "NOT")
_OPEN, _CLOSE, _OR, _MINUS = "(（", ")）", "|｜", "-－"
_QUOTES = {'"': '"', "“": "”", "”": "”", "＂": "＂"}
_FIELD = re.compile("([A-Za-z_]+)[:：]")
_NUMBER_FIELD = re.compile(f"(?i:({'|'.join(NUMBERS)}))(?=[<>=＜＞＝≤≥])")
_ESCAPED = ANY + ONE + '"\\'


@dataclass(frozen=True)
class Token:
    """`kind` is "(", ")", "OR", "AND", "NOT" or "term"; a term has a field, "" for a bare word, and a pattern."""

    kind: str
    start: int
    end: int
    field: str = ""
    pattern: Pattern = Pattern(())
    value: int = 0  # where the value starts


def wrong(code: str, start: int, end: int, expected: str, **values: object) -> UserError:
    """An error at a place in the filter; `expected` says in one word what should stand there."""
    return UserError(code, WHERE, position=start, length=max(1, end - start), expected=expected, **values)


def tokens(text: str) -> Iterator[Token]:
    """Raises UserError: filter.quote, filter.field, filter.value, filter.lone_minus."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token = _token(text, place)
        yield token
        place = token.end


def _token(text: str, place: int) -> Token:
    sign = text[place]
    for signs, kind in ((_OPEN, "("), (_CLOSE, ")"), (_OR, "OR")):
        if sign in signs:
            return Token(kind, place, place + 1)
    if sign in _MINUS:
        if place + 1 == len(text) or text[place + 1].isspace():
            raise wrong("filter.lone_minus", place, place + 1, "term")
        return Token("NOT", place, place + 1)
    field, value = _field(text, place)
    if text[value : value + 1] in _QUOTES and value < len(text):
        pattern, end = _quoted(text, value)
    else:
        pattern, end = _bare(text, value)
        if not field and pattern.text in _KEYWORDS:
            return Token(pattern.text, place, end)
    if field and not pattern.text.strip():
        raise wrong("filter.value", place, max(end, value), "value", field=field)
    return Token("term", place, end, field, pattern, value)


def _field(text: str, place: int) -> tuple[str, int]:
    """The field of a term, and where its value starts."""
    number = _NUMBER_FIELD.match(text, place)
    if number is not None:
        return number[1].lower(), number.end()
    found = _FIELD.match(text, place)
    if found is None:
        return "", place
    name = found[1].lower()
    if name not in NUMBERS + WORDS:
        known = ", ".join(f"{field}:" for field in WORDS + NUMBERS)
        raise wrong("filter.field", place, found.end(), "field", found=found[0], known=known)
    return name, found.end()


def _quoted(text: str, place: int) -> tuple[Pattern, int]:
    closing, parts, start = _QUOTES[text[place]], [], place
    place += 1
    while place < len(text):
        if text[place] == closing:
            return Pattern(tuple(parts), True), place + 1
        part, place = _character(text, place)
        parts.append(part)
    raise wrong("filter.quote", start, len(text), closing)


def _bare(text: str, place: int) -> tuple[Pattern, int]:
    """Up to a blank or a sign of the language. Brackets within a word are its own: many tags end in some."""
    parts: list[Part] = []
    start, open_brackets = place, 0
    while place < len(text):
        sign = text[place]
        if sign.isspace() or sign in _OR or sign in _QUOTES:
            break
        if sign in _OPEN:
            if place == start or text[start:place] in _KEYWORDS:
                break
            open_brackets += 1
        elif sign in _CLOSE:
            if not open_brackets:
                break
            open_brackets -= 1
        if sign == "\\" and text[place + 1 : place + 2] in ("(", ")"):
            parts.append((text[place : place + 2], False))  # as captions write brackets that are no weights
            place += 2
            continue
        part, place = _character(text, place)
        parts.append(part)
    return Pattern(tuple(parts)), place


def _character(text: str, place: int) -> tuple[Part, int]:
    sign = text[place]
    if sign == "\\" and place + 1 < len(text) and text[place + 1] in _ESCAPED:
        return (text[place + 1], False), place + 2
    return (sign, sign in (ANY, ONE)), place + 1
