"""The advice as edits that the editor does, and as a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lib_lora_train.messages import DEFAULT_LANGUAGE, catalogue, message
from lib_lora_train.signals import Log
from lib_lora_train.tags.traits.advice import Advice, Row

_MOST_REMOVED = 500  # entries of one edit
_SPOKEN = 8  # traits that the sentence names
_MASS = ("s", "wear", "gear", "jewelry", "fluff")  # endings of words that take no article
_FREE = ("clothing", "worn", "action", "expression", "view", "light", "background", "object")
_LETTER = re.compile(r"[^\W_]")
_WILD = re.compile(r"[*?]|\\(?=[*?\\])")


def binding_edits(advice: Advice) -> list[dict[str, Any]]:
    """Values for `edit_of`, one edit after the other: the bound tags go, those to fix get the right spelling or go.

    They are for the pictures that the advice `concerns`: no sentences, no regularization.
    """
    gone = [row.tag for row in advice.rows if row.decision == "bind" or (row.decision == "fix" and not row.replacement)]
    edits: list[dict[str, Any]] = [
        {"kind": "remove", "tags": [_escaped(tag) for tag in gone[start : start + _MOST_REMOVED]]}
        for start in range(0, len(gone), _MOST_REMOVED)
    ]
    replaced = [row for row in advice.rows if row.decision == "fix" and row.replacement]
    return edits + [{"kind": "replace", "find": _escaped(row.tag), "replace": row.replacement} for row in replaced]


def binding_title(advice: Advice) -> Log:
    """What applying does, for the journal."""
    fixed = len(advice.decided("fix"))
    return Log("traits.title", {"bound": len(advice.decided("bind")), "fixed": fixed})


def category_label(name: str, language: str = DEFAULT_LANGUAGE) -> str:
    """A category in words; one of the user's by its own name, "" for a tag that no rule knows."""
    code = f"traits.category_{name}"
    return message(code, language) if code in catalogue(DEFAULT_LANGUAGE) else name.replace("_", " ")


def summarize(advice: Advice, language: str = DEFAULT_LANGUAGE, translated: Callable[[str], str] = str) -> str:
    """What the LoRA will always draw and what stays free, when the advice is applied with all that was overruled.

    `translated` gives the word that a reader knows a tag by.
    """
    if not advice.pictures:
        return message("traits.summary_empty", language)
    bound = _spoken(advice.decided("bind"))
    if not bound:
        return message("traits.summary_style" if not advice.applies else "traits.summary_none", language)
    names = [_with_article(row, translated(row.tag), language) for row in bound[:_SPOKEN]]
    if len(bound) > _SPOKEN:
        names.append(message("traits.summary_more", language, count=len(bound) - _SPOKEN))
    kept = {row.category.entry.theme for row in advice.rows if row.decision == "keep"}
    free = [message(f"traits.free_{theme}", language) for theme in _FREE if theme in kept]
    if not free:
        return message("traits.summary_bound", language, traits=_listed(names, language))
    return message("traits.summary", language, traits=_listed(names, language), free=_listed(free, language))


def _spoken(rows: list[Row]) -> list[Row]:
    """In the table's order, without tags that say less than another one, as hair beside long hair."""
    names = [row.tag.replace("_", " ") for row in rows]
    telling = [row for row, name in zip(rows, names, strict=True) if not any(o.endswith(f" {name}") for o in names)]
    return sorted(telling, key=lambda row: (row.category.order, -row.count))


def _with_article(row: Row, name: str, language: str) -> str:
    name = name.replace("_", " ")
    if not row.category.entry.counted or name.endswith(_MASS):
        return name
    return message("traits.article_vowel" if name[:1] in "aeiou" else "traits.article", language, tag=name)


def _listed(words: list[str], language: str) -> str:
    if len(words) == 1:
        return words[0]
    first = message("traits.list_between", language).join(words[:-1])
    return message("traits.list_last", language, first=first, last=words[-1])


def _escaped(tag: str) -> str:
    """So that no sign of a tag stands for anything else; tags of signs alone are taken as they are anyway."""
    return _WILD.sub(lambda found: f"\\{found.group()}", tag) if _LETTER.search(tag) else tag
