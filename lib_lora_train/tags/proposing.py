"""What an edit would do: worked out in full before anything is written, and named by a digest that applying repeats."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib_lora_train.collection.limits import MAX_CAPTION_BYTES
from lib_lora_train.dataset.tag_text import first_line, is_prose, split_tags, with_line
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.base import Change, Draft, Edit, EditContext, Tags
from lib_lora_train.tags.item import Item

__all__ = ["EditContext", "Proposal", "Proposed", "propose", "propose_texts"]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A picture whose caption would become `after`; "" takes it away."""

    item: Item
    after: str


@dataclass
class Proposal:
    """What would change, in the order of the pictures.

    `removed` and `added` count tags, over captions of tags. `asked`: pairs of implied tags that were found, as
    {"drop", "because", "count"}, most frequent first, those that are kept too. `digest` is of what is shown: the same
    pictures in the same state with the same new texts have the same one.
    """

    changes: list[Proposed] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    asked: list[dict[str, object]] = field(default_factory=list)
    notes: list[Log] = field(default_factory=list)
    digest: str = ""


def propose(items: Sequence[Item], edit: Edit | Sequence[Edit], context: EditContext) -> Proposal:
    """What the edit, or several one after the other, would make of the captions of `items`.

    Captions that cannot be read, and those that would become longer than a caption may be, are left alone and counted
    in the notes. Two pictures with one caption file between them change together, once.
    Raises UserError where the edit's settings do not fit these captions, or a regular expression fails.
    """
    edits = [edit] if isinstance(edit, Edit) else list(edit)
    proposal = Proposal()
    readable = [item for item in items if not (item.problem is not None and item.version and not item.text)]
    if len(readable) < len(items):
        proposal.notes.append(Log("edits.note_unreadable", {"count": len(items) - len(readable)}, "warning"))
    drafts = [_draft(item, context.form) for item in readable]
    for one in edits:
        change = one.change(drafts, context)
        skipped = _run(drafts, change, context.form)
        proposal.notes += change.notes()
        proposal.asked += change.asked()
        if skipped:
            proposal.notes.append(Log("edits.note_sentences", {"count": skipped}))
    _collect(proposal, readable, drafts)
    return proposal


def propose_texts(items: Sequence[Item], texts: Mapping[str, str]) -> Proposal:
    """What would change if the captions of these pictures, by id, were these texts; others stay."""
    chosen = [item for item in items if item.id in texts]
    drafts = [_draft(item, "tags", texts[item.id]) for item in chosen]
    proposal = Proposal()
    _collect(proposal, chosen, drafts)
    return proposal


def _draft(item: Item, form: str, text: str | None = None) -> Draft:
    if text is None:
        line = first_line(item.text)[1]
        return Draft(item.text, line, item.tags, item.prose or form == "sentences", item.tokens)
    line = first_line(text)[1]
    return Draft(text, line, split_tags(line), is_prose(line))


def _run(drafts: Sequence[Draft], change: Change, form: str) -> int:
    """Changes the drafts; how many sentences were left alone by an edit of tags."""
    skipped = 0
    for draft in drafts:
        if change.text is not None:
            _rewrite(draft, change.text(draft.text), form, anew=True)
        elif draft.prose or change.line is not None:
            by_line = change.prose if draft.prose else change.line
            if by_line is None:
                skipped += bool(draft.line)
            elif (line := by_line(draft.line)) != draft.line:
                _rewrite(draft, with_line(draft.text, line.strip()), form)
        elif change.tags is not None:
            tags = tuple(change.tags(draft.tags))
            if tags != draft.tags:
                _retag(draft, tags)
    return skipped


def _retag(draft: Draft, tags: Tags) -> None:
    """What `with_tags` does, in a fraction of its time: no edit makes a tag with a line end or with blanks around it."""
    line = ", ".join(tags)
    draft.text = line if draft.text == draft.line else with_line(draft.text, line)
    draft.line, draft.tokens = line, -1
    draft.tags = tags if line.count(",") == len(tags) - 1 else split_tags(line)
    if not line:  # the next line with text, if there is one, is the trained one now
        draft.line = first_line(draft.text)[1]
        draft.tags = split_tags(draft.line)


def _rewrite(draft: Draft, text: str, form: str, anew: bool = False) -> None:
    if text == draft.text:
        return
    line = first_line(text)[1]
    prose = form == "sentences" or (is_prose(line) if anew or not draft.line else draft.prose)
    draft.text, draft.line, draft.tags, draft.prose, draft.tokens = text, line, split_tags(line), prose, -1


def _collect(proposal: Proposal, items: Sequence[Item], drafts: Sequence[Draft]) -> None:
    shown: list[str] = []
    removed: list[str] = []
    added: list[str] = []
    long, sentences, emptied, seen = 0, 0, 0, set()
    for item, draft in zip(items, drafts, strict=True):
        text = draft.text if draft.text == item.text or draft.text.strip() else ""
        if text == item.text or item.key in seen:
            continue
        if len(text) * 4 > MAX_CAPTION_BYTES and len(text.encode("utf-8", "replace")) > MAX_CAPTION_BYTES:
            long += 1
            continue
        seen.add(item.key)
        proposal.changes.append(Proposed(item, text))
        shown += (item.id, item.key, item.version, text, "")
        emptied += not text
        if item.prose or draft.prose:
            sentences += 1
            continue
        before, after = set(item.tags), set(draft.tags)
        if len(before) == len(item.tags) and len(after) == len(draft.tags):
            removed += [tag for tag in item.tags if tag not in after]
            added += [tag for tag in draft.tags if tag not in before]
        else:
            removed += (Counter(item.tags) - Counter(draft.tags)).elements()
            added += (Counter(draft.tags) - Counter(item.tags)).elements()
    proposal.removed.update(removed)
    proposal.added.update(added)
    proposal.digest = hashlib.blake2b("\x00".join(shown).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    counted = (
        Log("edits.note_in_sentences", {"count": sentences}),
        Log("edits.note_emptied", {"count": emptied}, "warning"),
        Log("edits.note_long", {"count": long, "limit": MAX_CAPTION_BYTES // 1024}, "warning"),
    )
    proposal.notes += [note for note in counted if note.values["count"]]
