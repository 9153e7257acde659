"""Reading the folders of a place: what has not changed since the last time is not read again."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib_lora_train.collection.caption_files import Caption, caption_from, first_caption, read_file
from lib_lora_train.collection.entries import size_or_fault
from lib_lora_train.collection.index import Index
from lib_lora_train.collection.names import CAPTION_SUFFIXES, identify, is_picture_name, natural, shown, stem_of
from lib_lora_train.dataset.tag_text import first_line
from lib_lora_train.errors import UserError
from lib_lora_train.tags.item import UNKNOWN, Item
from lib_lora_train.tags.sheet import UNSURE, Concept, Mark, Shelf, captioned
from lib_lora_train.tags.token_counts import TokenCounts

# A file that was written this short a time ago may be written again within one tick of the file system's clock.
_FRESH_NS = 50_000_000
_NO_FILE = Caption()

Overlay = Mapping[str, "bytes | None"]  # what captions are to hold, by path below the base; None: no file


@dataclass
class Reader:
    """Reads shelves below `base`. `overlay` is what the journal knows and the files do not yet hold.

    `index` knows files from an earlier process.
    """

    base: Path
    counts: TokenCounts
    overlay: Overlay = field(default_factory=dict)
    index: Index | None = None

    def shelf(self, folder: Path, concept: Concept, known: Shelf | None) -> Shelf:
        """The pictures of one folder. Raises UserError("dataset.folder")."""
        pictures, marks = _listed(folder)
        start = len(concept.key) + 1 if concept.key else 0
        waiting = {key[start:]: data for key, data in self.overlay.items() if key.rpartition("/")[0] == concept.key}
        if known is not None and known.concept != concept:
            known = None
        if known is not None and not waiting and known.marks == marks and known.counter == self.counts.key:
            return known
        return _Pass(self, folder, concept, marks, waiting, known).shelf(pictures)


@dataclass
class _Pass:
    """One folder's reading."""

    reader: Reader
    folder: Path
    concept: Concept
    marks: dict[str, Mark]
    waiting: Overlay
    known: Shelf | None
    old: dict[str, Item] = field(default_factory=dict)
    coming: dict[str, Caption] = field(default_factory=dict)  # what of `waiting` has been looked at

    def shelf(self, names: list[str]) -> Shelf:
        if self.known is not None:
            self.old = {_last(item.picture): item for item in self.known.items}
        if self.old.keys() == set(names):
            names = list(self.old)  # in their order
        else:
            names.sort(key=natural)
        items = tuple([self._item(name) for name in names])
        marks = self.marks | dict.fromkeys(self.waiting, UNSURE)
        return Shelf(self.concept, marks, items, self.reader.counts.key)

    def _item(self, name: str) -> Item:
        stem = stem_of(name)
        captions = [stem + ending for ending in CAPTION_SUFFIXES]
        old = self.old.get(name)
        if old is not None and self.known is not None:
            before, now = self.known.marks, self.marks
            same_captions = all(
                self._waits_for(old, caption) if caption in self.waiting else before.get(caption) == now.get(caption)
                for caption in captions
            )
            if before.get(name) == now.get(name):
                return self._counted(old) if same_captions else self._captioned(old, name, captions)
        return self._captioned(self._picture(name), name, captions)

    def _counted(self, old: Item) -> Item:
        """The same, by whoever counts tokens now."""
        counts = self.reader.counts
        if self.known is None or self.known.counter == counts.key:
            return old
        broken = old.problem is not None and bool(old.version) and not old.text
        return replace(old, tokens=UNKNOWN if broken else counts.of(old.version, first_line(old.text)[1]))

    def _waits_for(self, old: Item, caption: str) -> bool:
        """Whether the caption that is to be written is the one that the picture has already."""
        if self.waiting[caption] is None:
            return caption not in old.files
        return old.files[:1] == (caption,) and self._caption(caption).version == old.version

    def _captioned(self, item: Item, name: str, captions: list[str]) -> Item:
        found = {caption: self._caption(caption) for caption in captions}
        files = tuple(caption for caption in captions if found[caption].version or found[caption].error)
        caption = first_caption(found[file] for file in files)
        counting = next((file for file in files if found[file] is caption), captions[0])
        problem = item.problem
        if problem is None or problem.code.startswith("caption."):
            problem = caption.error
        key = f"{self.concept.key}/{counting}" if self.concept.key else counting
        return captioned(item, key, caption, files, problem, self.reader.counts)

    def _caption(self, name: str) -> Caption:
        if name in self.waiting:
            if name not in self.coming:
                data = self.waiting[name]
                self.coming[name] = _NO_FILE if data is None else caption_from(data, shown(name))
            return self.coming[name]
        facts = self.marks.get(name)
        if facts is None or not stat.S_ISREG(facts.st_mode):
            return _NO_FILE
        path, index = self.folder / name, self.reader.index
        if index is None:
            return read_file(path, shown(name))
        return index.caption(path, f"{self.concept.key}/{name}", facts)

    def _picture(self, name: str) -> Item:
        """Everything but the caption."""
        facts, where, concept = self.marks[name], shown(name), self.concept
        path, key = self.folder / name, f"{concept.key}/{name}"
        width, height, problem = size_or_fault(path, key, where, facts, self.reader.index)
        return Item(
            identify("picture", concept.id, name), "", key.lstrip("/"), where, concept.id, concept.regularization,
            width, height, facts.st_size, identify(str(facts.st_size), str(facts.st_mtime_ns)), "", "", (), (), False,
            problem=problem,
        )  # fmt: skip


def _listed(folder: Path) -> tuple[list[str], dict[str, Mark]]:
    """Pictures in a folder, and marks of them and of caption files; hidden ones left out."""
    pictures: list[str] = []
    marks: dict[str, Mark] = {}
    fresh = time.time_ns() - _FRESH_NS
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                is_picture = not name.endswith(CAPTION_SUFFIXES) and is_picture_name(name)
                if name[0] == "." or not (is_picture or name.endswith(CAPTION_SUFFIXES)):
                    continue
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # taken away meanwhile
                    continue
                written = facts.st_mtime_ns
                seen = fresh if written > fresh else 0
                marks[name] = Mark(facts.st_size, written, facts.st_ino, facts.st_mode, seen)
                if is_picture:
                    pictures.append(name)
    except FileNotFoundError:
        return [], {}
    except OSError as error:
        raise UserError("dataset.folder", folder.name, folder=folder.name, reason=error.strerror or "?") from error
    return pictures, marks


def _last(path: str) -> str:
    return path.rpartition("/")[2]
