"""What was read of files that have not changed since: sizes of pictures and captions, by length and time.

Kept in `.cache/index.json`, which may be deleted at any time. Written only when it changed, and as a whole, so that
two threads at once give a file of one or of the other.
"""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Protocol

from lib_lora_train.collection.caption_files import Caption, read_file
from lib_lora_train.collection.layout import CACHE
from lib_lora_train.collection.names import shown
from lib_lora_train.dataset.images import read_size
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.project import Project

LOGGER = logging.getLogger("lib_lora_train.collection")
INDEX_VERSION = 1
_Entry = list  # [length, time, then two values that were read]


class Facts(Protocol):
    """What is asked of an `os.stat_result`."""

    st_size: int
    st_mtime_ns: int
    st_mode: int


class Index:
    """Sizes and captions of one project, or of another folder; `path` is where they are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old = _load(self._path)
        self._new: dict[str, _Entry] = {}

    @classmethod
    def of_project(cls, project: Project) -> Index:
        return cls(project.path(CACHE, "index.json"))

    def size(self, path: Path, key: str, where: str, information: Facts) -> tuple[int, int]:
        """(width, height) of an upright picture; its header is read when it has changed. Raises as `read_size`."""
        mark = [information.st_size, information.st_mtime_ns]
        entry = self._old.get(key)
        if entry is None or entry[:2] != mark or not all(isinstance(side, int) for side in entry[2:]):
            entry = [*mark, *read_size(path, where)]
        self._new[key] = entry
        return entry[2], entry[3]

    def caption(self, path: Path, key: str, information: Facts | None = None) -> Caption:
        """A caption file, read when it has changed; what cannot be read is tried again each time.

        `information` is what `lstat` says of it, for whoever knows.
        """
        try:
            information = information or path.lstat()
        except OSError:
            return Caption()
        if not stat.S_ISREG(information.st_mode):
            return Caption()
        mark = [information.st_size, information.st_mtime_ns]
        entry = self._old.get(key)
        if entry is not None and entry[:2] == mark and all(isinstance(text, str) for text in entry[2:]):
            self._new[key] = entry
            return Caption(entry[2], entry[3])
        caption = read_file(path, shown(path.name))
        if caption.error is None:
            self._new[key] = [*mark, caption.text, caption.version]
        return caption

    def save(self, folders: list[str] | None = None) -> None:
        """Keeps what was asked for; of files in other folders than `folders` (None: of all) also what was known.

        A disk that cannot be written to costs time at the next reading, nothing else.
        """
        if folders is not None:
            others = {key: entry for key, entry in self._old.items() if key.rpartition("/")[0] not in folders}
            self._new = others | self._new
        if self._new == self._old:
            return
        try:
            write_text(self._path, json.dumps({"version": INDEX_VERSION, "files": self._new}, separators=(",", ":")))
        except UserError as error:
            LOGGER.warning("%s", error)


def _load(path: Path) -> dict[str, _Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != INDEX_VERSION:
            return {}
        return {key: entry for key, entry in content["files"].items() if isinstance(entry, list) and len(entry) == 4}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}  # none yet, or not ours: it is made anew
