"""Plain folders of pictures and captions, as the command line prepares them: where things are and what they are called."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.names import fold, is_picture_name, natural, shown, stem_of
from lib_lora_train.dataset.listing import find_concepts, list_folder, root_folder
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

HIDDEN = ".lora_train"  # of ours, in a user's folder; no trainer looks into it


@dataclass(frozen=True)
class FolderPicture:
    """A picture below the root. `folder` is that of its concept relative to the root, "" for the root itself."""

    path: Path
    folder: str

    @property
    def key(self) -> str:
        """Its path below the root."""
        return f"{self.folder}/{self.path.name}" if self.folder else self.path.name

    @property
    def name(self) -> str:
        return shown(self.key)

    @property
    def stem(self) -> str:
        return stem_of(self.path.name)


@dataclass(frozen=True)
class Found:
    """The pictures of a folder in their order, folders that cannot be read, and what there is to say."""

    root: Path
    pictures: tuple[FolderPicture, ...]
    problems: tuple[UserError, ...]
    notes: tuple[Log, ...]

    def check_link(self, picture: FolderPicture) -> None:
        """Raises UserError("dataset.link") for a link that leads out of the folder."""
        try:
            outside = picture.path.is_symlink() and not picture.path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError) as error:  # a loop of links
            raise UserError("dataset.link", picture.name) from error
        if outside:
            raise UserError("dataset.link", picture.name)

    def check_some(self) -> None:
        """Raises UserError("prepare.empty") where there is no picture at all."""
        if not self.pictures:
            raise self.problems[0] if self.problems else UserError("prepare.empty", self.root.name)


def find_pictures(folder: str, setting: str) -> Found:
    """Those in `<repeats>_<name>` folders; where there is none, those in the folder itself.

    Raises UserError: dataset.no_folder, dataset.folder_missing, dataset.folder.
    """
    root = root_folder(folder, setting)
    concepts, problems, notes = find_concepts(root, setting, 1, "", False)
    pictures = []
    for concept in concepts:
        names = [name for name in list_folder(concept.path, setting).pictures if is_picture_name(name)]
        place = "" if concept.path == root else concept.path.name
        pictures += [FolderPicture(concept.path / name, place) for name in sorted(names, key=natural)]
    return Found(root, tuple(pictures), tuple(problems), tuple(notes))


def check_apart(root: Path, out: Path) -> None:
    """Raises UserError("prepare.out_inside") when one of the two folders lies in the other: a second run would prepare
    what the first has made, or write over the originals."""
    if out == root or root in out.parents or out in root.parents:
        raise UserError("prepare.out_inside", "--out", folder=out.name)


def make_place(out: Path) -> None:
    """Makes the folder, with a hidden one of ours in it, before any work is done for it. Raises UserError("file.write")."""
    try:
        (out / HIDDEN).mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError("file.write", out.name, reason=error.strerror or "?") from error


class Names:
    """Names of files in the folder that is written, each given once."""

    def __init__(self) -> None:
        self._taken: dict[str, set[str]] = {}

    def take(self, folder: str, stem: str, ending: str) -> str:
        """`stem` with its ending; with -2, -3, ... when it is taken in that folder."""
        taken = self._taken.setdefault(folder, set())
        number, free = 1, stem
        while fold(free) in taken:
            number += 1
            free = f"{stem}-{number}"
        taken.add(fold(free))
        return free + ending
