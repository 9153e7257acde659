"""Filters made by clicking tags: what somebody typed stays, and the tag's own term comes, changes sides or goes."""

from __future__ import annotations

import re

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.tags.filters.grammar import Filter, Joined, Node, Not, Term, parse_filter

# A tag that needs no quotation marks; every other sign may mean something.
_SIMPLE = re.compile(r"[\w+.,;:!&'/^~=<>@#%$-]+")
_ESCAPED = re.compile(r'([*?"\\])')


def include(text: str, tag: str) -> str:
    """The filter that lets through, of what it let through, what holds the tag. Raises UserError as `parse_filter`."""
    return _with(text, tag, False)


def exclude(text: str, tag: str) -> str:
    """The filter without the pictures that hold the tag. Raises UserError as `parse_filter`."""
    return _with(text, tag, True)


def without(text: str, tag: str) -> str:
    """The filter that asks no more, at its outermost level, for the tag or its absence. Raises UserError."""
    filter = parse_filter(text)
    return _joined(filter, [node for node in _parts(filter) if _side(node, tag) is None])


def tag_term(tag: str) -> str:
    """The term for a whole tag."""
    word = " ".join(tag.split()).replace(" ", "_")
    if _SIMPLE.fullmatch(word) and tag_key(word) == tag_key(tag):
        return f"tag:{word}"
    return f'tag:"{_ESCAPED.sub(_escape, tag)}"'


def _escape(found: re.Match[str]) -> str:
    return f"\\{found[1]}"


def _with(text: str, tag: str, excluded: bool) -> str:
    filter = parse_filter(text)
    parts = _parts(filter)
    if any(_side(node, tag) == excluded for node in parts):
        parts = [node for node in parts if _side(node, tag) in (None, excluded)]
        return _joined(filter, parts)
    before = _joined(filter, [node for node in parts if _side(node, tag) is None])
    root = filter.root
    if isinstance(root, Joined) and not root.every:
        before = f"({before})"
    made = f"{before} {'-' if excluded else ''}{tag_term(tag)}".strip()
    parse_filter(made)  # it may have become too long
    return made


def _parts(filter: Filter) -> list[Node]:
    """What must hold all together."""
    root = filter.root
    if root is None:
        return []
    return list(root.parts) if isinstance(root, Joined) and root.every else [root]


def _joined(filter: Filter, parts: list[Node]) -> str:
    """As it was typed when nothing is left out."""
    if parts == _parts(filter):
        return filter.text.strip()
    return " ".join(filter.text[node.start : node.end] for node in parts)


def _side(node: Node, tag: str) -> bool | None:
    """Whether a part asks for the tag's absence (True) or presence (False); None for any other part."""
    excluded = False
    while isinstance(node, Not):
        node, excluded = node.inner, not excluded
    if (
        isinstance(node, Term)
        and node.kind == "tag"
        and node.pattern.plain
        and tag_key(node.pattern.text) == tag_key(tag)
    ):
        return excluded
    return None
