"""The project's trigger word, which goes back and forth with the entry that changed it."""

from __future__ import annotations

from typing import Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.editor.desk import Desk
from lib_lora_train.project import edit_project

TRIGGER, _OLD = "trigger", "trigger_before"  # in the notes of entries


def trigger_note(old: str, new: str) -> dict[str, Any]:
    return {TRIGGER: new, _OLD: old}


def word_after(entry: Entry, word: str, forward: bool) -> str:
    """The project's word after `entry` has been applied (`forward`) or undone, when it is `word` before: that of the
    entry, unless it gave none, or somebody has set another one since."""
    if TRIGGER not in entry.note:
        return word
    new, old = str(entry.note[TRIGGER]), str(entry.note.get(_OLD, ""))
    before, after = (old, new) if forward else (new, old)
    return after if word == before else word


def follow_trigger(desk: Desk, entry: Entry, forward: bool) -> None:
    """Gives the project the word it has after an entry. Raises UserError("file.write")."""
    word = word_after(entry, desk.trigger, forward)
    if word != desk.trigger:
        desk.take(edit_project(desk.project, trigger_word=word))
