"""Where captions are edited: a project, or any folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.history import History
from lib_lora_train.collection.index import Index
from lib_lora_train.collection.layout import CACHE, Layout, visible_names
from lib_lora_train.collection.names import identify, is_picture_name, natural, parse_folder, shown
from lib_lora_train.collection.renames import JOURNAL, alone
from lib_lora_train.dataset.listing import MASK_FOLDER, root_folder
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.tags.sheet import Concept, Sheet
from lib_lora_train.tags.shelves import Reader
from lib_lora_train.tags.token_counts import Counter, TokenCounts

OWN_FOLDER = ".lora_train"  # in a plain folder: the journal of edits, and what was read of its files
_TRIES = 3
_MANY = 200  # changed captions, from which on new token counts are written down


@dataclass(frozen=True)
class Place:
    """Pictures with captions, and the journal of their edits.

    `base` is the folder that keys are relative to. `kind` is the project's, "" for a plain folder; `trigger` is the
    project's word, or of a plain folder the name that all its concepts have, in kohya's naming.
    """

    base: Path
    title: str
    kind: str
    trigger: str
    history: History
    own: Path  # what is kept of readings
    project: Project | None = None

    @classmethod
    def of_project(cls, project: Project) -> Place:
        """Raises UserError("path.outside") when a folder of the project has become a link that leads out of it."""
        history = History.of_project(project)
        own = project.path(CACHE)
        return cls(project.folder, project.title, project.kind, project.trigger_word, history, own, project)

    @classmethod
    def of_folder(cls, path: Path) -> Place:
        """The pictures in a folder and in its folders, as kohya's trainer takes them.

        Raises UserError: dataset.folder_missing, dataset.folder.
        """
        base = root_folder(str(path), "folder")
        own = base / OWN_FOLDER
        names = {concept.name for _, concept in _plain_folders(base) if parse_folder(concept.key or base.name)}
        trigger = names.pop() if len(names) == 1 else ""
        return cls(base, shown(base.name), "", trigger, History(base, own / "history"), own)

    @property
    def is_project(self) -> bool:
        return self.project is not None

    def read(self, known: Sheet | None = None, counter: Counter | None = None) -> Sheet:
        """The pictures and captions there are now. Of what has not changed since `known` nothing is read again.

        Edits that are still being written to their files are in it already. `counter` counts tokens; without it they
        are unknown. Raises UserError: dataset.folder, path.outside, and those of the journal.
        """
        for _ in range(_TRIES):
            head = self.history.head
            sheet = self._read(known, counter)
            if self.history.head == head:
                break
            known = sheet  # somebody edited meanwhile
        return sheet

    def _read(self, known: Sheet | None, counter: Counter | None) -> Sheet:
        counts = TokenCounts(self.own / "tokens.json", counter) if known is None else known.token_counts
        if known is not None and not counts.is_of(counter):
            counts = TokenCounts(self.own / "tokens.json", counter)
        # The changes first: what is written while the folders are read is then in both, not in neither.
        overlay = {change.key: change.after for change in self.history.pending}
        index = Index(self.own / "index.json") if known is None else None
        reader = Reader(self.base, counts, overlay, index)
        before = {shelf.concept.key: shelf for shelf in known.shelves} if known is not None else {}
        shelves = [reader.shelf(folder, concept, before.get(concept.key)) for folder, concept in self._folders()]
        sheet = Sheet(shelves, counts)
        if index is not None:
            index.save()
        counts.save((item.version for item in sheet.items), 1 if index is not None else _MANY)
        return sheet

    def _folders(self) -> Iterator[tuple[Path, Concept]]:
        if self.project is None:
            yield from _plain_folders(self.base)
            return
        if (self.project.folder / JOURNAL).exists():
            with alone(self.project):  # a move is under way, or a killed process left one: it is finished
                pass
        for folder in Layout.read(self.project).folders:
            concept = Concept(folder.id, shown(folder.name), folder.key, folder.repeats, folder.regularization)
            yield folder.path, concept


def _plain_folders(base: Path) -> Iterator[tuple[Path, Concept]]:
    """The folder itself, when pictures lie in it, and those in it that hold some; no masks, no links."""
    names = visible_names(base)
    if any(map(is_picture_name, names)):
        yield base, _concept(base, "")
    for name in sorted(names, key=natural):
        folder = base / name
        if name == MASK_FOLDER or not folder.is_dir() or folder.is_symlink():
            continue
        if os.name == "nt" and os.path.realpath(folder) != str(folder):
            continue  # a junction
        if any(map(is_picture_name, _names(folder))):
            yield folder, _concept(folder, name)


def _concept(folder: Path, key: str) -> Concept:
    repeats, name = parse_folder(folder.name) or (1, folder.name)
    return Concept(identify("folder", key), shown(name), key, repeats)


def _names(folder: Path) -> set[str]:
    """None where the folder may not be read."""
    try:
        return visible_names(folder)
    except UserError:
        return set()
