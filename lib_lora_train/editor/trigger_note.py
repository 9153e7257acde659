"""The project's trigger word, which goes back and forth with the entry that changed it."""

from __future__ import annotations

from typing import Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.editor.desk import Desk
from lib_lora_train.project import edit_project

_NEW, _OLD = "trigger", "trigger_before"


def trigger_note(old: str, new: str) -> dict[str, Any]:
    return {_NEW: new, _OLD: old}


def follow_trigger(desk: Desk, entry: Entry, forward: bool) -> None:
    """Gives the project the word that an entry gave it, or the one it had before, unless somebody has set another one
    since. Raises UserError("file.write")."""
    if _NEW not in entry.note:
        return
    new, old = str(entry.note[_NEW]), str(entry.note.get(_OLD, ""))
    before, after = (old, new) if forward else (new, old)
    if desk.trigger == before:
        desk.take(edit_project(desk.project, trigger_word=after))
