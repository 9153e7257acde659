"""One change of a project's pictures at a time, each upon what the ones before it left.

Whoever takes the lock finishes what others began: moves of files (`renames`), then captions that the journal knows and
the files do not yet hold (`history`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lib_lora_train.collection.history import History
from lib_lora_train.collection.renames import JOURNAL, LOCK, Moves, alone, move_all
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project

__all__ = ["JOURNAL", "LOCK", "Moves", "locked", "move_all", "settle"]
LOGGER = logging.getLogger("lib_lora_train.collection")


@contextmanager
def locked(project: Project, progress: Callable[[int, int], None] | None = None) -> Iterator[None]:
    """Holds the pictures of a project for one change; others wait. Not to be nested, also not with History.finish.

    `progress` is told how many of how many captions were brought up to date. Raises UserError("file.write").
    """
    with alone(project):
        _follow(project, progress)
        yield


def settle(project: Project) -> None:
    """Before reading: waits for moves and captions that are under way, and finishes those of a process that died."""
    if (project.folder / JOURNAL).exists() or not History.of_project(project).settled:
        with locked(project):
            pass


def _follow(project: Project, progress: Callable[[int, int], None] | None) -> None:
    """Captions that cannot be written now, on a full disk say, stay pending: pictures can still be read and deleted."""
    try:
        History.of_project(project).follow(progress)
    except UserError as error:
        LOGGER.warning("project %s: captions wait to be written: %s", project.id, error)
