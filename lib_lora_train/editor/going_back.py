"""Undo and redo, one step or many, and the list of what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.editor.desk import Desk
from lib_lora_train.editor.trigger_note import follow_trigger
from lib_lora_train.messages import message


def undo(desk: Desk, number: int) -> None:
    """Takes the newest entry in force back. Raises UserError: history.not_newest, history.damaged, file.write."""
    _step(desk, lambda: [desk.history.undo(number)], forward=False)


def redo(desk: Desk, number: int) -> None:
    """Applies the entry again that was undone last. Raises as `undo`."""
    _step(desk, lambda: [desk.history.redo(number)], forward=True)


def roll_back(desk: Desk, to: int) -> None:
    """Takes everything after entry `to` back in one step, everything there is for 0. Raises as `undo`."""
    _step(desk, lambda: desk.history.rollback(to), forward=False)


def go_forward(desk: Desk, to: int) -> None:
    """Applies what was undone again, up to entry `to`. Raises as `undo`."""
    _step(desk, lambda: desk.history.forward(to), forward=True)


def log(desk: Desk, offset: int, limit: int, language: str) -> dict[str, Any]:
    """`GET /log`."""
    total, entries = desk.history.log(offset, limit)
    shown = [{**shown_entry(entry, language), "left": len(desk.history.left(entry.number))} for entry in entries]
    return {"total": total, "entries": shown}


def shown_entry(entry: Entry, language: str) -> dict[str, Any]:
    return {
        "number": entry.number,
        "time": entry.time,
        "sitting": entry.sitting,
        "title": message(entry.title.code, language, **entry.title.values),
        "count": entry.count,
        "in_force": entry.in_force,
    }


def _step(desk: Desk, step: Callable[[], Sequence[Entry]], forward: bool) -> None:
    with desk.changing():
        entries = step()
        for entry in entries:
            follow_trigger(desk, entry, forward)
        desk.follow(entries)
