"""Keys of caption files: which are legal, and where the file of one is by now.

A folder of a project gets another name with another number of repeats, and pictures move between concepts; an entry of
the journal still finds its captions.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from lib_lora_train.collection.layout import HOLDERS
from lib_lora_train.collection.names import CAPTION_SUFFIXES, fold, is_picture_name, parse_folder, shown, stem_of
from lib_lora_train.errors import UserError

_LONGEST_NAME = 255  # bytes, on every file system in use
_NEVER = frozenset("\x00\\:" if os.name == "nt" else "\x00")  # a way out of the folder; elsewhere letters like others


def check_key(key: str, in_project: bool) -> None:
    """Raises UserError: path.outside for what cannot be the key of a caption file, file.write for too long a name."""
    parts = key.split("/")
    plain = all(part and not part.startswith(".") and not _NEVER.intersection(part) for part in parts)
    placed = not in_project or (len(parts) == 3 and parts[0] in HOLDERS.values())
    try:
        length = len(os.fsencode(parts[-1]))
    except UnicodeError:  # nothing that a file system could have given
        plain, length = False, 0
    if not plain or not placed or not parts[-1].endswith(CAPTION_SUFFIXES):
        raise UserError("path.outside", shown(key))
    if length > _LONGEST_NAME:
        raise UserError("file.write", shown(parts[-1]), reason=os.strerror(errno.ENAMETOOLONG))


class Places:
    """Where the caption files of keys are, seen at one moment; each folder is looked at once."""

    def __init__(self, base: Path, in_project: bool) -> None:
        self._root = base.resolve()
        self._in_project = in_project
        self._folders: dict[str, Path | None] = {}
        self._stems: dict[str, set[str]] = {}  # of pictures, by folder
        self._homes: dict[str, dict[str, list[str]]] = {}  # folders by stem, by holder
        self._moved: dict[str, str] = {}

    def folder(self, key: str) -> Path | None:
        """The folder of a key; None when there is none, or a link stands in the way to it."""
        parent = key.rpartition("/")[0]
        if parent not in self._folders:
            self._folders[parent] = self._find(parent)
        return self._folders[parent]

    def has_picture(self, key: str) -> bool:
        folder, name = self.folder(key), key.rpartition("/")[2]
        return folder is not None and stem_of(name) in self._stems_in(key.rpartition("/")[0], folder)

    def current(self, key: str, before: bytes | None) -> str:
        """The key under which the caption of `key` is found now; `key` itself when that is not clear.

        `before` is what the file should hold. By its stem alone only a caption with text is found.
        """
        if not self._in_project or self.has_picture(key):
            return key
        parent, _, name = key.rpartition("/")
        renamed = self._renamed(parent)
        if renamed and self.has_picture(f"{renamed}/{name}"):
            return f"{renamed}/{name}"
        holder = parent.partition("/")[0]
        homes = self._homes_in(holder).get(stem_of(name), []) if before is not None else []
        return f"{homes[0]}/{name}" if len(homes) == 1 else key

    def _find(self, parent: str) -> Path | None:
        """Stricter than `files.resolve_inside`: it is the very path, with no link in it, and keys have no `..`."""
        found = self._root / parent
        try:
            return found if found.resolve() == found and found.is_dir() else None
        except (OSError, RuntimeError, ValueError):  # a link loop, or a name the system refuses
            return None

    def _stems_in(self, parent: str, folder: Path) -> set[str]:
        if parent not in self._stems:
            try:
                with os.scandir(folder) as entries:
                    self._stems[parent] = {stem_of(each.name) for each in entries if is_picture_name(each.name)}
            except OSError:  # gone meanwhile
                self._stems[parent] = set()
        return self._stems[parent]

    def _renamed(self, parent: str) -> str:
        """The one folder of the same concept where there is none of this name any more."""
        if parent in self._moved:
            return self._moved[parent]
        holder, _, name = parent.partition("/")
        parsed = parse_folder(name)
        alike = []
        if parsed and self.folder(f"{parent}/") is None:
            others = ((other, parse_folder(other.rpartition("/")[2])) for other in self._concepts(holder))
            alike = [other for other, found in others if found and fold(found[1]) == fold(parsed[1])]
        self._moved[parent] = alike[0] if len(alike) == 1 else ""
        return self._moved[parent]

    def _concepts(self, holder: str) -> Iterator[str]:
        folder = self.folder(f"{holder}/")
        if folder is not None:
            for path in folder.iterdir():
                if parse_folder(path.name) and self.folder(f"{holder}/{path.name}/") is not None:
                    yield f"{holder}/{path.name}"

    def _homes_in(self, holder: str) -> dict[str, list[str]]:
        if holder not in self._homes:
            homes: dict[str, list[str]] = {}
            for parent in self._concepts(holder):
                for stem in self._stems_in(parent, self._root / parent):
                    homes.setdefault(stem, []).append(parent)
            self._homes[holder] = homes
        return self._homes[holder]
