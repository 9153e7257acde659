"""Which pictures of the data set were made from which originals, and how: `made.json` in the project.

An entry counts for as long as the file is the one that was made; a picture that somebody changed by hand is an original
of its own from then on.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora_train.project import Project

LOGGER = logging.getLogger("lib_lora_train.collection")
MADE, MADE_VERSION = "made.json", 1


@dataclass(frozen=True)
class Made:
    """One picture of the data set.

    `original` is the name in images/, `place` which of its crops this is, from 0. `key` tells how it was made from
    every other way (empty: it is the original itself); `size` and `time` (ns) are those of the file when it was
    written. `caption` is the version that was written beside it, `before` the caption that stood there until then;
    both empty where none was written. `mask` is the key of its mask, empty for none. `how` says in words what was
    done: crop, models, what was enlarged.
    """

    original: str
    place: int
    key: str
    size: int
    time: int
    caption: str = ""
    before: str = ""
    mask: str = ""
    how: Mapping[str, Any] = field(default_factory=dict)

    def is_of(self, path: Path) -> bool:
        """Whether the file is still as it was made."""
        try:
            information = path.lstat()
        except OSError:
            return False
        return stat.S_ISREG(information.st_mode) and self.is_as(information)

    def is_as(self, information: os.stat_result) -> bool:
        return (information.st_size, information.st_mtime_ns) == (self.size, self.time)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "how": dict(self.how)}


def read_made(project: Project) -> dict[str, Made]:
    """Entries by the picture's file name, which is unique in a project; none where the file cannot be read."""
    path = project.folder / MADE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != MADE_VERSION:
            return {}
        return {str(name): made_entry(values) for name, values in content["pictures"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        LOGGER.warning("project %s: %s cannot be read: %s", project.id, MADE, error)
        return {}


def made_text(entries: Mapping[str, Made]) -> str:
    """What stands in the file."""
    pictures = {name: entry.as_dict() for name, entry in sorted(entries.items())}
    return json.dumps({"version": MADE_VERSION, "pictures": pictures}, ensure_ascii=False, indent=1) + "\n"


def made_entry(values: Mapping[str, Any]) -> Made:
    """From `Made.as_dict`. Raises KeyError, TypeError, ValueError."""
    texts = {name: str(values.get(name, "")) for name in ("caption", "before", "mask")}
    how = values.get("how")
    return Made(
        original=str(values["original"]),
        place=int(values["place"]),
        key=str(values["key"]),
        size=int(values["size"]),
        time=int(values["time"]),
        how=how if isinstance(how, dict) else {},
        **texts,
    )
