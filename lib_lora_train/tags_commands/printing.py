"""Captions, changes and the log as lines on a terminal, whatever strange things captions hold."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.dataset.tag_text import first_line
from lib_lora_train.messages import message
from lib_lora_train.signals import Log
from lib_lora_train.tags.item import UNKNOWN, Item
from lib_lora_train.tags.proposing import Proposal, Proposed
from lib_lora_train.tags.traits.advice import Advice
from lib_lora_train.tags.traits.applying import category_label, summarize

_MOST_TAGS = 30  # that come or go


def plain(text: str) -> str:
    """In one line, without what a terminal would obey or show backwards."""
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text)


def print_json(value: object) -> None:
    """Lone halves of characters, which no terminal takes, are written as escapes."""
    print(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode("utf-8"))


def marked(text: str, position: int, length: int) -> str:
    """An expression and, below it, where its mistake is."""
    shown = plain(text)
    before, wrong = shown[:position], shown[position : position + max(1, length)]
    return f"  {shown}\n  {' ' * _columns(before)}{'^' * max(1, _columns(wrong))}"


def caption_line(item: Item, language: str) -> str:
    """The picture, and the line that is trained on."""
    line = first_line(item.text)[1]
    if item.problem is not None and not line:
        text = f"[{item.problem.text(language)}]"
    else:
        text = plain(line) if line else message("tags_cli.no_caption", language)
    tokens = "" if item.tokens == UNKNOWN else f" [{item.tokens}]"
    return f"{plain(item.picture)}: {text}{tokens}"


def caption_facts(item: Item) -> dict[str, Any]:
    return {
        "picture": item.picture,
        "caption": item.text,
        "tags": list(item.tags),
        "sentences": item.prose,
        "tokens": None if item.tokens == UNKNOWN else item.tokens,
        "width": item.width,
        "height": item.height,
        "problem": item.problem.as_dict() if item.problem is not None else None,
    }


def print_tags(tags: Iterable[tuple[str, int, str]]) -> None:
    """How often, the tag, its translation."""
    for tag, count, translation in tags:
        print(f"{count:>6}  {plain(tag)}" + (f"  {plain(translation)}" if translation else ""))


def print_proposal(proposal: Proposal, shown: int, language: str) -> None:
    """The first changes with before and after, the tags that come and go, and what is to be said about it."""
    for change in proposal.changes[: max(0, shown)]:
        print("\n".join(_change_lines(change)))
    if len(proposal.changes) > shown > 0:
        print(message("cli.more", language, count=len(proposal.changes) - shown))
    print_notes(proposal, language)


def print_notes(proposal: Proposal, language: str) -> None:
    if proposal.removed:
        print(message("tags_cli.removed", language, tags=_counted(proposal.removed)))
    if proposal.added:
        print(message("tags_cli.added", language, tags=_counted(proposal.added)))
    for pair in proposal.asked:
        values = {"drop": plain(str(pair["drop"])), "because": plain(str(pair["because"])), "count": pair["count"]}
        print(message("tags_cli.implied", language, **values))
    for note in proposal.notes:
        print(said(note, language))


def print_advice(advice: Advice, language: str, translation: Any) -> None:
    """The sentence, and a line for each tag."""
    print(plain(summarize(advice, language)))
    for row in advice.rows:
        decision = message(f"tags_cli.decision_{row.decision}", language)
        right = f" -> {plain(row.replacement)}" if row.replacement else ""
        words = translation(row.tag)
        name = plain(row.tag) + (f" {words}" if words else "")
        label = category_label(row.category.name, language) or "?"
        print(
            f"{decision:<10} {row.count:>5} {row.share:>4.0%}  {name}{right}  [{label}]  {said(row.reason, language)}"
        )


def advice_facts(advice: Advice, language: str) -> dict[str, Any]:
    rows = [
        {
            "tag": row.tag,
            "count": row.count,
            "share": round(row.share, 4),
            "decision": row.decision,
            "suggested": row.suggested,
            "category": row.category.name,
            "reason": said(row.reason, language),
            "replacement": row.replacement,
            "disagree": len(row.disagree),
        }
        for row in advice.rows
    ]
    return {"kind": advice.kind, "applies": advice.applies, "summary": summarize(advice, language), "rows": rows}


def entry_line(entry: Entry, left: int, language: str) -> str:
    """A `-` marks what was undone."""
    when = datetime.fromtimestamp(entry.time).strftime("%Y-%m-%d %H:%M:%S")
    text = message("tags_cli.entry", language, title=said(entry.title, language), count=entry.count)
    if left:
        text += f" {message('tags_cli.entry_left', language, count=left)}"
    return f"{' ' if entry.in_force else '-'} {entry.number:>5}  {when}  {text}"


def entry_facts(entry: Entry, left: int, language: str) -> dict[str, Any]:
    return {
        "number": entry.number,
        "time": entry.time,
        "sitting": entry.sitting,
        "title": said(entry.title, language),
        "count": entry.count,
        "in_force": entry.in_force,
        "left": left,
    }


def said(log: Log, language: str) -> str:
    return plain(message(log.code, language, **log.values))


def _change_lines(change: Proposed) -> list[str]:
    before, after = (first_line(text)[1] for text in (change.item.text, change.after))
    return [plain(change.item.picture), f"  - {plain(before)}", f"  + {plain(after)}"]


def _counted(tags: Mapping[str, int]) -> str:
    frequent = sorted(tags.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{plain(tag)} {count}" for tag, count in frequent[:_MOST_TAGS])
    return shown + (" ..." if len(frequent) > _MOST_TAGS else "")


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
