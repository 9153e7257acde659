"""Putting what was received in its place: original, training picture, caption, mask; each picture whole or not at all.

A `Shelf` knows the names that are taken, so it is only good while the project's lock is held.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from lib_lora_train.collection.caption_files import read_caption, save_caption
from lib_lora_train.collection.intake import Added, Received
from lib_lora_train.collection.layout import IMAGES, MASKS, ConceptFolder, Layout
from lib_lora_train.collection.names import fold, free_stem, shown, split_name, stem_of, stored_name
from lib_lora_train.collection.pending import Pending
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.project import Project


class Shelf:
    """One project's folders while pictures are put into them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.layout = Layout.read(project)
        self.pending = Pending(project)

    def put(
        self, folder: ConceptFolder, given: str, picture: Received, caption: str, mask: Received | None, added: Added
    ) -> bool:
        """A picture called `given` with its caption ("": none yet) and mask; the outcome goes into `added`.

        False when the same file is there already under this name; a caption it lacked is given to it all the same.
        Raises UserError("file.write"), with nothing of the picture left.
        """
        stem, ending = stored_name(given, picture.kind)
        twin, original = self._same(folder, stem, picture)
        if twin:
            self._late_caption(folder, twin, stem, caption, added)
            added.problems.append(UserError("collection.already_there", shown(given)))
            return False
        fresh = not original
        if fresh:
            original = free_stem(stem, self.layout.stems) + ending
            _place(picture.path, self._originals / original)
        try:
            _place(self._originals / original, folder.path / original)
            self._complete(folder, original, stem, caption, mask, added)
        except UserError:
            _remove(folder.path / original)
            if fresh:
                _remove(self._originals / original)
            raise
        folder.names.add(original)
        self.layout.originals[fold(stem_of(original))] = original
        self.layout.stems.add(fold(stem_of(original)))
        added.pictures.append(folder.picture_id(original))
        return True

    def put_caption(self, folder: ConceptFolder, given: str, text: str, added: Added, waits: bool) -> bool:
        """A caption that came alone, for the picture of its name. False when there is none.

        With `waits` the picture may still come: the caption is kept aside. So is one that would replace another; it
        is reported as well. Raises UserError("file.write").
        """
        stem = _clean_stem(given)
        waiting = self.pending.take(folder, stem)
        renamed = [name for name in waiting.pictures if name in folder.names and not self._has_text(folder, name)]
        named_so = [name for name in folder.pictures() if fold(stem_of(name)) == fold(stem)]
        bare = renamed[::-1] + [name for name in named_so if not self._has_text(folder, name)]
        if bare:
            self._save(folder, bare[0], text, added)
            waiting.pictures = [name for name in renamed if name != bare[0]]
        elif not any(read_caption(folder.path, name).text.strip() == text for name in named_so):
            if named_so:
                added.problems.append(UserError("collection.caption_kept", shown(given), picture=shown(named_so[0])))
            elif waits:
                added.waiting += 1
            waiting.caption = text if waits else waiting.caption
        self.pending.put(folder, stem, waiting)
        return bool(bare or named_so)

    @property
    def _originals(self) -> Path:
        return self.project.path(IMAGES)

    def _same(self, folder: ConceptFolder, stem: str, picture: Received) -> tuple[str, str]:
        """(name in `folder`, "") of the same file under this name; or ("", name in images/) of one that belongs to
        no picture, as a killed upload leaves it; else two empty names."""
        if fold(stem) not in self.layout.stems:
            return "", ""
        in_folder = {fold(stem_of(name)): name for name in folder.pictures()}
        elsewhere = {fold(stem_of(name)) for other in self.layout.folders for name in other.pictures()}
        number, candidate = 1, stem
        while fold(candidate) in self.layout.stems:
            key = fold(candidate)
            original = self.layout.originals.get(key, "")
            known = self._originals / original if original else folder.path / in_folder.get(key, candidate)
            if (key in in_folder or key not in elsewhere) and _same_bytes(known, picture):
                return in_folder.get(key, ""), original
            number += 1
            candidate = f"{stem}-{number}"
        return "", ""

    def _complete(
        self, folder: ConceptFolder, name: str, stem: str, caption: str, mask: Received | None, added: Added
    ) -> None:
        """Mask and caption of a picture that was just put: its own caption, or the one that waits for it, or a note
        that one may come."""
        if mask is not None and not folder.regularization:
            target = self.project.path(MASKS, folder.path.name)
            _place(mask.path, target / (stem_of(name) + stored_name("mask", mask.kind)[1]))
        waiting = self.pending.take(folder, stem)
        if not caption:
            caption, waiting.caption = waiting.caption, ""
        if caption:
            self._save(folder, name, caption, added)
        elif fold(stem_of(name)) != fold(stem):
            waiting.pictures.append(name)
        self.pending.put(folder, stem, waiting)

    def _late_caption(self, folder: ConceptFolder, name: str, stem: str, caption: str, added: Added) -> None:
        """Of a picture that was there before."""
        if self._has_text(folder, name):
            return
        waiting = self.pending.take(folder, stem)
        text = caption or waiting.caption
        if text:
            self._save(folder, name, text, added)
            waiting.caption = "" if text == waiting.caption else waiting.caption
            waiting.pictures = [other for other in waiting.pictures if other != name]
        self.pending.put(folder, stem, waiting)

    def _has_text(self, folder: ConceptFolder, name: str) -> bool:
        return bool(read_caption(folder.path, name).text.strip())

    def _save(self, folder: ConceptFolder, name: str, text: str, added: Added) -> None:
        save_caption(folder.path, name, text)
        folder.names.add(stem_of(name) + ".txt")
        added.captions += 1


def _clean_stem(given: str) -> str:
    """The stem a picture of this name would have been asked to be stored under."""
    return stored_name(split_name(given)[0] + ".png", "PNG")[0]


def _place(source: Path, target: Path) -> None:
    """A hard link where the file system can, else a copy; never replaces anything. Raises UserError("file.write")."""
    if os.path.lexists(target):
        raise UserError("file.write", target.name, reason=os.strerror(errno.EEXIST))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except (OSError, NotImplementedError):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError("file.write", path.name, reason=error.strerror or "?") from error


def _same_bytes(path: Path, picture: Received) -> bool:
    """Whether a file of ours has the bytes that were received. A link is none of ours."""
    try:
        if path.is_symlink() or path.stat().st_size != picture.size:
            return False
        with path.open("rb") as handle:
            digest = hashlib.sha256()
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == picture.digest
