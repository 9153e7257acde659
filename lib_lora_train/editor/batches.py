"""Many captions at once: what an edit would change, and doing exactly that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.tags.edits import Edit, EditContext, edit_of, edit_schema
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.proposing import Proposal, propose
from lib_lora_train.tags.sheet import Sheet

MOST_SHOWN = 200  # changes of one answer
MOST_TAGS = 200  # that come or go


@dataclass(frozen=True)
class Target:
    """The pictures that are meant: those with these ids, or where `pictures` is None those that the filter finds."""

    filter: str = ""
    pictures: Sequence[str] | None = None

    def items(self, desk: Desk, sheet: Sheet, language: str) -> list[Item]:
        """In the sheet's order. Raises UserError: collection.unknown_picture, and as `parse_filter`."""
        if self.pictures is None:
            return [sheet.items[index] for index in desk.select(sheet, self.filter, language)]
        wanted = set(self.pictures)
        missing = len(wanted - sheet.by_id.keys())
        if missing:
            raise UserError("collection.unknown_picture", "pictures", count=missing)
        return [sheet.items[index] for index in sorted(sheet.index_of[each] for each in wanted)]


def schema(language: str) -> list[dict[str, Any]]:
    """`GET /schema`."""
    return edit_schema(language)


def preview(desk: Desk, values: object, target: Target, offset: int, limit: int, language: str) -> dict[str, Any]:
    """`POST /preview`. Raises UserError: editor.page, and as `edit_of` and `Target.items`."""
    edit = read_edit(values)
    sheet = desk.sheet()
    proposal = propose_once(desk, sheet, edit, target, language)
    return shown_proposal(proposal, len(target.items(desk, sheet, language)), offset, limit, language)


def apply(desk: Desk, values: object, target: Target, digest: str, language: str) -> None:
    """Does what a preview with this digest showed. Raises UserError: editor.changed when it would be something else by
    now, and as `preview` and `Desk.write`."""
    edit = read_edit(values)
    with desk.changing():
        sheet = desk.sheet(now=True)
        proposal = propose_once(desk, sheet, edit, target, language)
        if proposal.digest != digest:
            raise UserError("editor.changed", "digest")
        desk.write(sheet, texts_of(proposal), edit.title())


def read_edit(values: object) -> Edit:
    """Raises UserError: editor.edit, and as `edit_of`."""
    if not isinstance(values, dict):
        raise UserError("editor.edit", "edit")
    return edit_of(values)


def propose_once(desk: Desk, sheet: Sheet, edit: Edit, target: Target, language: str) -> Proposal:
    """Pages of one preview are cut from one proposal."""
    stamp = (sheet.revision, sheet.token_counts.key, desk.trigger, desk.form, edit, target, language)

    def make() -> Proposal:
        return propose(target.items(desk, sheet, language), edit, context_of(desk, sheet))

    return desk.once("proposal", stamp, make)


def context_of(desk: Desk, sheet: Sheet) -> EditContext:
    """What edits may ask of the project."""
    counter = desk.tools.tokens.counter()
    can_count = counter is not None and counter.trouble is None

    def count(text: str) -> int:
        return counter.count([text])[0]

    def rank(tag: str) -> int:  # the table is read only by an edit that needs it
        return desk.tools.lexicon.rules().rank(tag)

    return EditContext(sheet.counts, rank, count if can_count else None, desk.trigger, desk.form)


def texts_of(proposal: Proposal) -> dict[str, str]:
    """New captions by the pictures' ids."""
    return {change.item.id: change.after for change in proposal.changes}


def shown_proposal(proposal: Proposal, total: int, offset: int, limit: int, language: str) -> dict[str, Any]:
    """Raises UserError("editor.page")."""
    check_page(offset, limit)
    return {
        "changes": len(proposal.changes),
        "total": total,
        "digest": proposal.digest,
        "removed": shown_counts(proposal.removed),
        "added": shown_counts(proposal.added),
        "asked": list(proposal.asked),
        "notes": [message(note.code, language, **note.values) for note in proposal.notes],
        "pictures": [shown_change(change.item, change.after) for change in proposal.changes[offset : offset + limit]],
    }


def shown_change(item: Item, after: str) -> dict[str, str]:
    return {"id": item.id, "name": item.name, "stamp": item.stamp, "before": item.text, "after": after}


def shown_counts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"tag": tag, "count": count} for tag, count in Counter(counts).most_common(MOST_TAGS)]


def check_page(offset: int, limit: int) -> None:
    if not (0 <= offset <= 10**9 and 1 <= limit <= MOST_SHOWN):
        raise UserError("editor.page", "limit", most=MOST_SHOWN)
