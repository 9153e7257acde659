"""Which entries are in force, and which the files may not yet hold: `head.json`, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib_lora_train.collection.history.records import DamagedError, number_of
from lib_lora_train.files import write_text

NAME = "head.json"
VERSION = 1


@dataclass(frozen=True)
class Step:
    """An entry that was applied or undone. `name` as that of its file, without the ending."""

    name: str
    forward: bool


@dataclass(frozen=True)
class Head:
    """`number`: the newest entry in force; `top`: the newest that can be redone.

    `steps`: what happened since the files last held the truth, oldest first. `sitting` is that of the last change, at
    `active` seconds since 1970. `trouble`: name of a part that could not be read and was put aside since then.
    """

    number: int = 0
    top: int = 0
    steps: tuple[Step, ...] = field(default_factory=tuple)
    sitting: str = ""
    active: float = 0.0
    trouble: str = ""


def read_head(folder: Path) -> Head:
    """That of an empty journal where there is none. Raises DamagedError."""
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError(content["version"])
        number, top = int(content["number"]), int(content["top"])
        steps = tuple(Step(str(name), bool(forward)) for name, forward in content["steps"])
        if not 0 <= number <= top or not all(number_of(step.name) for step in steps):
            raise ValueError(number)
        return Head(
            number, top, steps, str(content["sitting"]), float(content["active"]), str(content["trouble"])
        )  # fmt: skip
    except FileNotFoundError:
        return Head()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DamagedError(NAME) from error


def write_head(folder: Path, head: Head) -> None:
    """Flushed to the disk when it returns. Raises UserError("file.write")."""
    steps = [[step.name, step.forward] for step in head.steps]
    write_text(folder / NAME, json.dumps({"version": VERSION, **asdict(head), "steps": steps}))
