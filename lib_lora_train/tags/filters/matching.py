"""Which pictures of a sheet a filter lets through.

A set of pictures is a whole number with one byte for each, so that `and`, `or` and `not` take no time; each term is
looked for once, however often it stands in the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import compress

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.tags.filters.grammar import Filter, Group, Joined, Node, Not, Term
from lib_lora_train.tags.filters.lexing import NUMBERS
from lib_lora_train.tags.filters.patterns import Pattern
from lib_lora_train.tags.sheet import Sheet

Search = Callable[[str], Collection[str]]  # tags whose translation contains a text


def select(sheet: Sheet, filter: Filter, trigger: str = "", search: Search | None = None) -> list[int]:
    """Places in `sheet.items`, in order. `trigger` is the project's word.

    `search` finds tags by their translation: a word without wildcards also matches captions that hold one of these.
    """
    if filter.root is None:
        return list(range(sheet.total))
    marks = _Matcher(sheet, trigger, search).of(filter.root)
    return list(compress(range(sheet.total), marks.to_bytes(sheet.total, "little")))


class _Matcher:
    def __init__(self, sheet: Sheet, trigger: str, search: Search | None) -> None:
        self._sheet = sheet
        self._columns = sheet.columns
        self._trigger = trigger
        self._search = search
        self._all = int.from_bytes(b"\x01" * sheet.total, "little")
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, node: Node) -> int:
        if isinstance(node, Group):
            return self.of(node.inner)
        if isinstance(node, Not):
            return self._all ^ self.of(node.inner)
        if isinstance(node, Term):
            found = self._known.get(node.meaning)
            if found is None:
                found = self._known[node.meaning] = self._term(node)
            return found
        return self._joined(node)

    def _joined(self, node: Joined) -> int:
        settled = 0 if node.every else self._all
        found = self._all ^ settled
        for part in node.parts:
            found = found & self.of(part) if node.every else found | self.of(part)
            if found == settled:
                break
        return found

    def _term(self, term: Term) -> int:
        if term.kind in NUMBERS:
            low, high = term.low, term.high
            return _packed([low <= number <= high for number in self._columns.numbers(term.kind)])
        items = self._sheet.items
        if term.kind == "caption":
            return _packed([bool(item.tags) for item in items])
        if term.kind in ("trigger", "missing_trigger"):
            having = int.from_bytes(self._columns.triggered(self._trigger), "little")
            needing = _packed([not item.regularization for item in items])
            return having if term.kind == "trigger" else needing & (self._all ^ having)
        return _BY_KIND[term.kind](self, term.pattern)

    def _text(self, pattern: Pattern) -> int:
        blanks = not pattern.quoted and bool(pattern.text.replace("_", " ").strip())
        texts = self._columns.spaced if blanks else self._columns.texts
        sought = pattern.folded(blanks)
        if not pattern.plain:
            match = sought.inside().match
            return _packed([match(text) is not None for text in texts])
        word = sought.text
        within_tags = blanks and "," not in word and word == word.strip()
        found = self._within(word) if within_tags else _packed([word in text for text in texts])
        if self._search is not None:
            found |= self._tagged(tag_key(tag) for tag in self._search(pattern.text))
        return found

    def _within(self, word: str) -> int:
        """Captions with a word that lies within one tag: there are far fewer different tags than captions."""
        columns = self._columns
        found = self._tagged(key for key in columns.by_tag if word in key)
        marks = bytearray(self._sheet.total)
        for place in columns.loose:
            marks[place] = word in columns.spaced[place]
        return found | int.from_bytes(marks, "little")

    def _tag(self, pattern: Pattern) -> int:
        if pattern.plain:
            return self._tagged([tag_key(pattern.text)])
        match = pattern.folded(True).whole().match
        return self._tagged(key for key in self._columns.by_tag if match(key))

    def _tagged(self, keys: Iterable[str]) -> int:
        marks = bytearray(self._sheet.total)
        for key in keys:
            for place in self._columns.by_tag.get(key, ()):
                marks[place] = 1
        return int.from_bytes(marks, "little")

    def _name(self, pattern: Pattern) -> int:
        columns, sought = self._columns, pattern.folded(False)
        if pattern.plain:
            return _packed([sought.text in name for name in columns.names])
        match = sought.whole().match
        pairs = zip(columns.names, columns.stems, strict=True)
        return _packed([match(name) is not None or match(stem) is not None for name, stem in pairs])

    def _concept(self, pattern: Pattern) -> int:
        match = pattern.folded(False).whole().match
        chosen = {
            concept.id
            for concept in self._sheet.concepts
            if match(concept.name.casefold()) or match(concept.key.rpartition("/")[2].casefold())
        }
        return _packed([item.concept in chosen for item in self._sheet.items])

    def _state(self, pattern: Pattern) -> int:
        test = _STATES[pattern.text]
        return _packed([test(item) for item in self._sheet.items])


_BY_KIND: dict[str, Callable[[_Matcher, Pattern], int]] = {
    "text": _Matcher._text,
    "tag": _Matcher._tag,
    "name": _Matcher._name,
    "concept": _Matcher._concept,
    "is": _Matcher._state,
}
_STATES = {
    "sentences": lambda item: item.prose,
    "tags": lambda item: bool(item.tags) and not item.prose,
    "regularization": lambda item: item.regularization,
    "broken": lambda item: item.problem is not None,
}


def _packed(found: list[bool]) -> int:
    return int.from_bytes(bytes(found), "little")
