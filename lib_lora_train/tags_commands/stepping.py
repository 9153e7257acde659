"""Undo, redo and the log; and the trigger word, which goes back and forth with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lib_lora_train.collection.history import Entry
from lib_lora_train.editor.trigger_note import word_after
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.progress import Progress
from lib_lora_train.project import edit_project
from lib_lora_train.tags_commands.bench import Bench
from lib_lora_train.tags_commands.printing import entry_facts, entry_line, plain, print_json

_ALL = 1_000_000  # entries
_LEFT = 20  # names that are shown


def undo(bench: Bench, progress: Progress) -> None:
    """Raises UserError: tags_cli.nothing_to_undo, history.*, file.write."""
    newest = bench.history.head
    if not newest:
        raise UserError("tags_cli.nothing_to_undo", bench.place.base.name)
    if bench.options.sitting:
        to = _before_sitting(bench.history.log(0, _ALL)[1])
        _step(bench, progress, lambda: bench.history.rollback(to), forward=False)
    else:
        _step(bench, progress, lambda: [bench.history.undo(newest)], forward=False)


def redo(bench: Bench, progress: Progress) -> None:
    """Raises UserError: tags_cli.nothing_to_redo, history.*, file.write."""
    undone = [entry.number for entry in bench.history.log(0, _ALL)[1] if not entry.in_force]
    if not undone:
        raise UserError("tags_cli.nothing_to_redo", bench.place.base.name)
    _step(bench, progress, lambda: [bench.history.redo(min(undone))], forward=True)


def rollback(bench: Bench, progress: Progress) -> None:
    """Raises UserError: history.*, file.write."""
    _step(bench, progress, lambda: bench.history.rollback(bench.options.number), forward=False)


def forward(bench: Bench, progress: Progress) -> None:
    """Raises UserError: history.*, file.write."""
    _step(bench, progress, lambda: bench.history.forward(bench.options.number), forward=True)


def log(bench: Bench, progress: Progress) -> None:
    limit = bench.options.limit if bench.options.limit > 0 else _ALL
    total, entries = bench.history.log(0, limit)
    left = {entry.number: len(bench.history.left(entry.number)) for entry in entries}
    if bench.options.json:
        print_json([entry_facts(entry, left[entry.number], bench.language) for entry in entries])
        return
    sitting = None
    for entry in entries:
        if sitting not in (None, entry.sitting):
            print()
        sitting = entry.sitting
        print(entry_line(entry, left[entry.number], bench.language))
    if total > len(entries):
        print(message("cli.more", bench.language, count=total - len(entries)))


def give_project_word(bench: Bench, word: str) -> None:
    """Raises UserError("file.write")."""
    project = bench.place.project
    if project is not None and word != project.trigger_word:
        bench.place = replace(bench.place, project=edit_project(project, trigger_word=word), trigger=word)


def print_left(bench: Bench, entries: Sequence[Entry]) -> None:
    """Files that another program had changed, which stay as they are."""
    keys = list(dict.fromkeys(key for entry in entries for key in bench.history.left(entry.number)))
    if keys:
        print(message("tags_cli.left", bench.language, count=len(keys)))
        for key in keys[:_LEFT]:
            print(f"  {plain(key)}")


def _step(bench: Bench, progress: Progress, step: Callable[[], Sequence[Entry]], forward: bool) -> None:
    entries = step()
    project = bench.place.project
    if project is not None:
        word = project.trigger_word
        for entry in entries:
            word = word_after(entry, word, forward)
        give_project_word(bench, word)
    bench.follow(progress)
    progress.close()
    for entry in entries:
        print(entry_line(entry, 0, bench.language))
    print_left(bench, entries)


def _before_sitting(entries: Sequence[Entry]) -> int:
    """The newest entry in force that does not belong to the sitting of the newest one in force; 0 when all do."""
    in_force = [entry for entry in entries if entry.in_force]
    return next((entry.number for entry in in_force if entry.sitting != in_force[0].sitting), 0)
