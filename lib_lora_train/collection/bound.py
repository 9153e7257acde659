"""Tags that the trigger word is to stand for: noted with the edit that took them out of the captions, and undone with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lib_lora_train.collection.history import History
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project

_NOTE = "bound"
_MOST, _LONGEST = 500, 300  # tags, characters of one


def bound_note(state: Mapping[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    """For the journal: what was bound before, by its `state`, and `tags`."""
    return {_NOTE: list(dict.fromkeys([*_tags(state), *tags]))[:_MOST]}


def bound_tags(project: Project) -> tuple[str, ...]:
    """As they were written in captions. None where the journal cannot be read: it says so where captions are edited."""
    try:
        return tuple(_tags(History.of_project(project).state()))
    except UserError:
        return ()


def _tags(state: Mapping[str, Any]) -> list[str]:
    said = state.get(_NOTE)
    return [tag for tag in said if isinstance(tag, str) and 0 < len(tag) <= _LONGEST] if isinstance(said, list) else []
