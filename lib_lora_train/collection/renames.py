"""Moves of several files that happen whole or not at all.

Before files are moved, what goes where is written down; whoever takes the lock next finishes what a killed process
began.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib_lora_train.collection.file_lock import hold
from lib_lora_train.collection.names import fold
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.project import Project

LOGGER = logging.getLogger("lib_lora_train.collection")
LOCK, JOURNAL = ".collection.lock", ".collection.moves"

Moves = Sequence[tuple[Path, Path]]


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """Holds the pictures of a project, with the moves finished that somebody began. Raises UserError("file.write")."""
    with hold(project.folder / LOCK, project.id):
        _finish_moves(project)
        yield


def move_all(project: Project, moves: Moves) -> None:
    """Renames each (from, to) inside the project, or none of them; makes folders as needed, replaces nothing.

    The lock must be held. Raises UserError("file.write").
    """
    base, journal = project.path(), project.folder / JOURNAL
    pairs = [[source.relative_to(base).as_posix(), target.relative_to(base).as_posix()] for source, target in moves]
    write_text(journal, json.dumps(pairs))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            _rename(source, target)
            done.append((source, target))
    except OSError as error:
        try:
            for source, target in reversed(done):
                target.rename(source)
            journal.unlink()
        except OSError as second:  # then the journal stays, and the next change goes on forward
            LOGGER.warning("project %s: a move was neither done nor undone: %s", project.id, second)
        raise UserError("file.write", source.name, reason=error.strerror or str(error)) from error
    _remove(journal)


def _rename(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    only_case = source.parent == target.parent and fold(source.name) == fold(target.name)
    if os.path.lexists(target) and not only_case:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    source.rename(target)


def _finish_moves(project: Project) -> None:
    journal = project.folder / JOURNAL
    try:
        pairs = json.loads(journal.read_text(encoding="utf-8"))
        moves = [(_inside(project, source), _inside(project, target)) for source, target in pairs]
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, UserError) as error:
        LOGGER.warning("project %s: the list of moves cannot be used: %s", project.id, error)
        _remove(journal)
        return
    for source, target in moves:
        if os.path.lexists(source) and not os.path.lexists(target):
            try:
                _rename(source, target)
            except OSError as error:
                LOGGER.warning("project %s: %s stays where it is: %s", project.id, source.name, error)
    _remove(journal)


def _inside(project: Project, relative: str) -> Path:
    """A path that is checked up to its last part, so that a link is moved and not followed."""
    *parents, name = relative.split("/")
    if name in ("", ".", ".."):
        raise UserError("path.outside", relative)
    return project.path(*parents) / name


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error
