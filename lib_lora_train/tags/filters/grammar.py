"""The filter language read: from text to a tree of terms, `not`, `and` and `or`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.tags.filters.lexing import NUMBERS, Token, tokens, wrong
from lib_lora_train.tags.filters.patterns import Pattern

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 50
MAX_TERMS = 100  # each costs a look at every picture
_STATES = ("sentences", "tags", "regularization", "broken")
_COMPARED = re.compile(r"(>=|<=|>|<|=|)([0-9]{1,9})")
_BETWEEN = re.compile(r"([0-9]{1,9})?\.\.([0-9]{1,9})?")
ENDLESS = 10**9


@dataclass(frozen=True)
class Term:
    """`kind` is one of text, tag, name, concept, caption, trigger, is, or a number's name.

    Texts have a `pattern`, numbers a range `low` to `high`, both included; of `is` the state is in `pattern`.
    """

    start: int
    end: int
    kind: str
    pattern: Pattern = Pattern(())
    low: int = 0
    high: int = ENDLESS

    @property
    def meaning(self) -> tuple[object, ...]:
        """Equal for terms that match the same."""
        return self.kind, self.pattern, self.low, self.high


@dataclass(frozen=True)
class Not:
    start: int
    end: int
    inner: Node


@dataclass(frozen=True)
class Group:
    """What stands in brackets."""

    start: int
    end: int
    inner: Node


@dataclass(frozen=True)
class Joined:
    """`every`: and; else: or."""

    start: int
    end: int
    every: bool
    parts: tuple[Node, ...]


Node = Term | Not | Group | Joined


@dataclass(frozen=True)
class Filter:
    """A filter that can be used; `root` None lets everything through."""

    text: str
    root: Node | None


def parse_filter(text: str) -> Filter:
    """Raises UserError "filter.*" at "filter"; its values hold `position` and `length`, counted in characters, and
    `expected`."""
    if len(text) > MAX_LENGTH:
        raise wrong("filter.long", MAX_LENGTH, len(text), "less", limit=MAX_LENGTH)
    found = list(tokens(text))
    if sum(token.kind == "term" for token in found) > MAX_TERMS:
        extra = [token for token in found if token.kind == "term"][MAX_TERMS]
        raise wrong("filter.many", extra.start, len(text), "less", limit=MAX_TERMS)
    return Filter(text, _Parser(found, len(text)).whole() if found else None)


class _Parser:
    """One rule after another, the loosest first."""

    def __init__(self, found: list[Token], length: int) -> None:
        self._tokens = found
        self._place = 0
        self._depth = 0
        self._end = length

    def whole(self) -> Node:
        root = self._any()
        rest = self._next()
        if rest is not None:
            raise wrong("filter.close", rest.start, rest.end, "end")
        return root

    def _any(self) -> Node:
        parts = [self._every()]
        while self._take("OR"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Joined(parts[0].start, parts[-1].end, False, tuple(parts))

    def _every(self) -> Node:
        parts = [self._one()]
        while (token := self._next()) is not None and token.kind not in ("OR", ")"):
            self._take("AND")
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Joined(parts[0].start, parts[-1].end, True, tuple(parts))

    def _one(self) -> Node:
        token = self._next()
        if token is None or token.kind in ("AND", "OR", ")"):
            raise self._missing(token)
        self._place += 1
        if token.kind == "term":
            return term(token)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise wrong("filter.deep", token.start, token.end, "less", limit=MAX_DEPTH)
        if token.kind == "NOT":
            inner = self._one()
            node: Node = Not(token.start, inner.end, inner)
        else:
            inner, closing = self._any(), self._next()
            if closing is None:
                raise wrong("filter.open", token.start, token.end, ")")
            self._place += 1
            node = Group(token.start, closing.end, inner)
        self._depth -= 1
        return node

    def _missing(self, token: Token | None) -> UserError:
        """Nothing stands where something must: behind what came last."""
        before = self._tokens[self._place - 1] if self._place else None
        shown = token or before
        start, end = (0, 1) if shown is None else (shown.start, shown.end)
        if token is not None and token.kind == ")" and before is None:
            return wrong("filter.close", start, end, "term")
        return wrong("filter.missing", start, end, "term")

    def _next(self) -> Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self, kind: str) -> bool:
        token = self._next()
        if token is None or token.kind != kind:
            return False
        self._place += 1
        return True


def term(token: Token) -> Node:
    """Raises UserError: filter.number, filter.range, filter.state, filter.none."""
    start, end, pattern, field = token.start, token.end, token.pattern, token.field
    if field in NUMBERS:
        low, high = _range(token)
        return Term(start, end, field, low=low, high=high)
    word = "" if pattern.quoted else pattern.text.lower()
    if field == "is":
        if word not in _STATES:
            known = ", ".join(_STATES)
            raise wrong("filter.state", token.value, end, known, found=pattern.text, known=known)
        return Term(start, end, field, Pattern(((word, False),)))
    if field == "none":
        if word != "caption":
            raise wrong("filter.none", token.value, end, "caption", found=pattern.text)
        return Not(start, end, Term(start, end, "caption"))
    if field in ("has", "missing"):
        if field == "missing" and word == "trigger":
            return Term(start, end, "missing_trigger")
        inner = Term(start, end, word) if word in ("caption", "trigger") else Term(start, end, "tag", pattern)
        return inner if field == "has" else Not(start, end, inner)
    return Term(start, end, field or "text", pattern)


def _range(token: Token) -> tuple[int, int]:
    text = unicodedata.normalize("NFKC", token.pattern.text.replace("≤", "<=").replace("≥", ">="))
    found = _COMPARED.fullmatch(text)
    if found is not None:
        sign, number = found[1], int(found[2])
        return {
            ">": (number + 1, ENDLESS),
            ">=": (number, ENDLESS),
            "<": (0, number - 1),
            "<=": (0, number),
        }.get(sign, (number, number))
    between = _BETWEEN.fullmatch(text)
    if between is None or between[0] == "..":
        raise wrong("filter.number", token.value, token.end, "number", field=token.field, found=token.pattern.text)
    low, high = int(between[1] or 0), int(between[2] or ENDLESS)
    if low > high:
        raise wrong("filter.range", token.value, token.end, "number", field=token.field, low=low, high=high)
    return low, high
