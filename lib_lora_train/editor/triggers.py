"""The trigger word: what speaks against one, and another one put first in every caption."""

from __future__ import annotations

from typing import Any

from lib_lora_train.dataset.tag_text import join_tags, split_tags
from lib_lora_train.editor.batches import context_of, texts_of
from lib_lora_train.editor.desk import Desk
from lib_lora_train.editor.trigger_note import trigger_note
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.project import edit_project
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits import edit_of
from lib_lora_train.tags.filters import parse_filter, select
from lib_lora_train.tags.proposing import propose
from lib_lora_train.tags.trigger import check_trigger, trigger_edit
from lib_lora_train.tags.vocabulary import Vocabulary

LONGEST = 200  # characters
_MISSING = "missing:trigger"


def check(desk: Desk, word: str, language: str) -> dict[str, Any]:
    """`GET /trigger`. `tokens` is -1 where they cannot be counted. Raises UserError: editor.word."""
    word = checked_word(word)
    sheet = desk.sheet()
    count = context_of(desk, sheet).count_tokens
    return {
        "notes": notes(desk, word, language, desk.tools.lexicon.vocabulary()) if word else [],
        "tokens": count(word) if count is not None and word else -1,
        "missing": len(select(sheet, parse_filter(_MISSING), word)) if word else 0,
    }


def notes(desk: Desk, word: str, language: str, vocabulary: Vocabulary) -> list[str]:
    """What is to be said about a word; nothing about none."""
    sheet = desk.sheet()
    context = context_of(desk, sheet)
    found = check_trigger(word, vocabulary, sheet.counts, context.count_tokens, sheet.total, desk.trigger)
    return [message(note.code, language, **note.values) for note in found]


def missing(desk: Desk) -> int:
    """How many captions lack the project's word."""
    return len(desk.select(desk.sheet(), _MISSING)) if desk.trigger else 0


def change(desk: Desk, word: str) -> None:
    """Gives the project another word, or none, and puts it first in every caption but those for regularization, as one
    step of undo. Raises UserError: editor.word, and as `Desk.write`."""
    word = checked_word(word)
    with desk.changing():
        sheet = desk.sheet(now=True)
        old = desk.trigger
        items = [item for item in sheet.items if not item.regularization]
        edits = [edit_of(values) for values in trigger_edit(old, word)]
        texts = texts_of(propose(items, edits, context_of(desk, sheet)))
        title = Log("editor.did_trigger", {"word": word}) if word else Log("editor.did_no_trigger", {"word": old})
        desk.write(sheet, texts, title, trigger_note(old, word) if word != old else None)
        if word != old:
            desk.take(edit_project(desk.project, trigger_word=word))


def checked_word(word: str) -> str:
    """As captions write it: without blanks around it, and where it is several tags, with one comma between them.

    Raises UserError("editor.word").
    """
    if len(word) > LONGEST or any(not sign.isprintable() for sign in word):
        raise UserError("editor.word", "word", longest=LONGEST)
    return join_tags(split_tags(word))
