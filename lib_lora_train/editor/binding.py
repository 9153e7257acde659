"""What to bind, as the page shows it; own decisions are kept in the project's folder and outlive the advice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from lib_lora_train.collection.bound import bound_note
from lib_lora_train.editor.batches import context_of, texts_of
from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.messages import message
from lib_lora_train.project import Project
from lib_lora_train.tags.edits import edit_of
from lib_lora_train.tags.proposing import propose
from lib_lora_train.tags.sheet import Sheet
from lib_lora_train.tags.traits import (
    DECISIONS,
    Advice,
    BindOptions,
    Row,
    advise,
    binding_edits,
    binding_title,
    category_label,
    concerns,
    summarize,
)

FILE = "binding.json"
MOST_CHOICES, LONGEST = 5_000, 300  # decisions of a project; characters of a tag
MOST_ROWS = 1_000  # of tags that stay; those that go are all shown
MOST_PICTURES = 50  # that disagree, of one tag
_VERSION = 1


@dataclass
class Choices:
    """What a person decided. `outfit`: the clothes belong to the subject."""

    outfit: bool = False
    decisions: dict[str, str] = field(default_factory=dict)


def show(desk: Desk, outfit: bool | None, language: str) -> dict[str, Any]:
    """`GET /binding`; `outfit` None: as it was chosen. Raises UserError: those of the rules."""
    sheet, choices = desk.sheet(), _read(desk)
    advice = _advise(desk, sheet, choices, outfit)
    translations = desk.tools.lexicon.translations(language)
    leaving = {"bind", "fix"}
    shown = [row for place, row in enumerate(advice.rows) if place < MOST_ROWS or row.decision in leaving]
    return {
        "kind": advice.kind,
        "applies": advice.applies,
        "outfit": advice.options.outfit,
        "pictures": advice.pictures,
        "summary": summarize(advice, language, lambda tag: translations.of(tag) or tag),
        "digest": _digest(sheet, advice),
        "rows": [{**_shown(row, language), "translation": translations.of(row.tag)} for row in shown],
    }


def choose(desk: Desk, decisions: object, outfit: bool | None) -> None:
    """Keeps decisions by tag beside those that there are; one that is as advised is forgotten, and all are for {}.
    `outfit` None: as it was.

    Raises UserError: editor.choices, editor.too_many, file.write, and those of the rules.
    """
    if decisions is None:
        decisions = {}
    if not isinstance(decisions, dict):
        raise UserError("editor.choices", "choices", choices=", ".join(DECISIONS))
    for tag, decision in decisions.items():
        if not 0 < len(tag) <= LONGEST or decision not in DECISIONS:
            raise UserError("editor.choices", "choices", choices=", ".join(DECISIONS))
    with desk.changing():
        before = _read(desk)
        kept = {**before.decisions, **decisions} if decisions else {}
        if len(kept) > MOST_CHOICES:
            raise UserError("editor.too_many", "choices", most=MOST_CHOICES)
        outfit = before.outfit if outfit is None else outfit
        advised = _advise(desk, desk.sheet(), Choices(outfit), outfit)
        suggested = {row.tag: row.suggested for row in advised.rows}
        kept = {tag: decision for tag, decision in kept.items() if suggested.get(tag) != decision}
        write_json(desk.project.path(FILE), {"version": _VERSION, "outfit": outfit, "choices": kept})


def apply(desk: Desk, outfit: bool | None, digest: str) -> None:
    """Does what is decided, as one step of undo. `digest` is that of what was shown, "" for whatever there is.

    Raises UserError: editor.changed, and as `show` and `Desk.write`.
    """
    with desk.changing():
        sheet = desk.sheet(now=True)
        advice = _advise(desk, sheet, _read(desk), outfit)
        if digest and digest != _digest(sheet, advice):
            raise UserError("editor.changed", "digest")
        edits = [edit_of(values) for values in binding_edits(advice)]
        items = [item for item in sheet.items if concerns(item)]
        texts = texts_of(propose(items, edits, context_of(desk, sheet)))
        note = bound_note(desk.state, (row.tag for row in advice.decided("bind"))) if texts else None
        desk.write(sheet, texts, binding_title(advice), note)


def _advise(desk: Desk, sheet: Sheet, choices: Choices, outfit: bool | None) -> Advice:
    options = BindOptions(choices.outfit if outfit is None else outfit)
    rules, vocabulary = desk.tools.lexicon.rules(), desk.tools.lexicon.vocabulary()
    decisions = choices.decisions
    kind, trigger = desk.project.kind, desk.trigger
    stamp = (sheet.revision, kind, trigger, tuple(sorted(decisions.items())), options, rules, vocabulary)
    return desk.once(
        "advice",
        stamp,
        lambda: advise(sheet.items, kind, rules, trigger, decisions, options, vocabulary.spelling),
    )


def _digest(sheet: Sheet, advice: Advice) -> str:
    """Of the captions and what is decided; another model, by which their tokens are counted, changes neither."""
    decided = [[row.tag, row.decision, row.replacement] for row in advice.rows]
    content = json.dumps([[[item.id, item.version] for item in sheet.items], decided]).encode("ascii")
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _shown(row: Row, language: str) -> dict[str, Any]:
    return {
        "tag": row.tag,
        "count": row.count,
        "share": round(row.share, 4),
        "decision": row.decision,
        "suggested": row.suggested,
        "category": category_label(row.category.name, language),
        "reason": message(row.reason.code, language, **row.reason.values),
        "replacement": row.replacement,
        "disagree": {"count": len(row.disagree), "pictures": list(row.disagree[:MOST_PICTURES])},
    }


def _read(desk: Desk) -> Choices:
    return read_choices(desk.project)


def read_choices(project: Project) -> Choices:
    """Those of a file that cannot be read are none."""
    try:
        content = json.loads(project.path(FILE).read_text(encoding="utf-8"))
        decisions = {str(tag): str(decision) for tag, decision in content["choices"].items() if decision in DECISIONS}
        return Choices(content["outfit"] is True, decisions)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Choices()
