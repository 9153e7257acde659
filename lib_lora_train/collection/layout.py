"""What lies where in a project: concept folders, and which files belong to which picture.

    images/x.png                  the original; names there are unique in the project
    dataset/10_hero/x.png x.txt   what is trained on, with its caption; regularization/1_girl/ likewise
    masks/10_hero/x.png           its mask

Files that somebody put there by hand are treated alike. Links are never followed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib_lora_train.collection.made import Made, read_made
from lib_lora_train.collection.names import (
    CAPTION_SUFFIXES,
    fold,
    identify,
    is_picture_name,
    natural,
    parse_folder,
    stem_of,
)
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project

IMAGES, MASKS, CACHE = "images", "masks", ".cache"
HOLDERS = {False: "dataset", True: "regularization"}  # by whether a concept is for regularization


@dataclass
class ConceptFolder:
    """A folder of pictures that share name and repeats. `names` are its files and folders, hidden ones left out."""

    path: Path
    repeats: int
    name: str
    regularization: bool
    names: set[str]
    id: str = ""

    @property
    def key(self) -> str:
        """Its path in the project."""
        return f"{HOLDERS[self.regularization]}/{self.path.name}"

    @property
    def count(self) -> int:
        return sum(map(is_picture_name, self.names))

    def pictures(self) -> list[str]:
        return sorted((name for name in self.names if is_picture_name(name)), key=natural)

    def captions(self, picture: str) -> list[str]:
        """Its caption files, the one that counts first."""
        stem = stem_of(picture)
        return [stem + ending for ending in CAPTION_SUFFIXES if stem + ending in self.names]

    def picture_id(self, name: str) -> str:
        return identify("picture", self.id, name)


@dataclass(frozen=True)
class Belongings:
    """A picture with all that goes where it goes. Empty names: it has none, or shares it with another picture."""

    folder: ConceptFolder
    picture: str
    captions: tuple[str, ...] = ()
    mask: str = ""
    original: str = ""


@dataclass
class Layout:
    """A project's pictures as they lie there at one moment."""

    project: Project
    folders: list[ConceptFolder]

    @classmethod
    def read(cls, project: Project) -> Layout:
        """Raises UserError("path.outside") when a folder of the project has become a link that leads out of it."""
        folders = [folder for regularization in HOLDERS for folder in _concept_folders(project, regularization)]
        _give_ids(folders)
        return cls(project, folders)

    def add(self, path: Path, regularization: bool) -> ConceptFolder:
        """Takes note of a folder that was made or renamed just now; its name is one of a concept."""
        repeats, name = parse_folder(path.name) or (1, path.name)
        folder = ConceptFolder(path, repeats, name, regularization, visible_names(path))
        self.folders.append(folder)
        _give_ids(self.folders)
        return folder

    def folder(self, concept_id: str) -> ConceptFolder:
        """Raises UserError("collection.unknown_concept")."""
        for folder in self.folders:
            if folder.id == concept_id:
                return folder
        raise UserError("collection.unknown_concept", "concept")

    def locate(self, picture_ids: Collection[str]) -> list[tuple[ConceptFolder, str]]:
        """Folder and name of each, in the order of the folders. Raises UserError("collection.unknown_picture")."""
        wanted = set(picture_ids)
        found = []
        for folder in self.folders:
            names = [name for name in folder.names if folder.picture_id(name) in wanted and is_picture_name(name)]
            found += [(folder, name) for name in sorted(names, key=natural)]
        if len(found) < len(wanted):
            raise UserError("collection.unknown_picture", "picture", count=len(wanted) - len(found))
        return found

    @cached_property
    def originals(self) -> dict[str, str]:
        """Names in images/ by folded stem."""
        return {fold(stem_of(name)): name for name in sorted(visible_names(self.project.path(IMAGES)))}

    @cached_property
    def stems(self) -> set[str]:
        """Folded stems that a new picture cannot have: of originals, of files in concept folders, of masks."""
        return set(self.originals) | self.used_stems

    @cached_property
    def used_stems(self) -> set[str]:
        """The same without those of originals."""
        taken: set[str] = set()
        for folder in self.folders:
            taken.update(fold(stem_of(name)) for name in folder.names)
            taken.update(fold(stem) for stem in self.masks(folder))
        return taken

    @cached_property
    def made(self) -> dict[str, Made]:
        """What is known of pictures that were made from originals, by file name."""
        return read_made(self.project)

    def mask_folder(self, folder: ConceptFolder) -> Path | None:
        """Where the masks of a concept are; None for regularization, where there is no folder, or a link instead."""
        masks = self._mask_root / folder.path.name
        return None if folder.regularization or not _is_real_folder(masks) else masks

    def masks(self, folder: ConceptFolder) -> dict[str, str]:
        """Masks of a concept by stem."""
        masks = self.mask_folder(folder)
        names = visible_names(masks) if masks is not None else set()
        return {stem_of(name): name for name in sorted(names) if is_picture_name(name)}

    @cached_property
    def _mask_root(self) -> Path:
        return self.project.path(MASKS)

    def belongings(self, chosen: Collection[tuple[ConceptFolder, str]]) -> list[Belongings]:
        """What goes along with each of the chosen pictures. What one of them shares with a picture that is not
        chosen stays with that one."""
        staying = {(folder.key, name) for folder in self.folders for name in folder.pictures()}
        staying -= {(folder.key, name) for folder, name in chosen}
        staying_stems = {fold(stem_of(name)) for _, name in staying}
        staying_stems |= {fold(stem_of(self.made[name].original)) for _, name in staying if name in self.made}
        given = {(key, stem_of(name)) for key, name in staying}
        masks: dict[str, dict[str, str]] = {}
        result = []
        for folder, name in chosen:
            stem, place = stem_of(name), (folder.key, stem_of(name))
            captions, mask, original = (), "", ""
            if place not in given:
                given.add(place)
                captions = tuple(folder.captions(name))
                if folder.key not in masks:
                    masks[folder.key] = self.masks(folder)
                mask = masks[folder.key].get(stem, "")
            if fold(stem) not in staying_stems:
                staying_stems.add(fold(stem))
                original = self.originals.get(fold(stem), "")
            result.append(Belongings(folder, name, captions, mask, original))
        return result


def visible_names(folder: Path) -> set[str]:
    """Names in a folder, without hidden and temporary ones; none where there is no folder.

    Raises UserError("dataset.folder").
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.name.startswith(".")}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise UserError("dataset.folder", folder.name, folder=folder.name, reason=error.strerror or "?") from error


def _concept_folders(project: Project, regularization: bool) -> Iterator[ConceptFolder]:
    holder = HOLDERS[regularization]
    root = project.path(holder)
    for name in sorted(visible_names(root), key=natural):
        parsed, path = parse_folder(name), root / name
        if parsed is not None and _is_real_folder(path):
            yield ConceptFolder(path, parsed[0], parsed[1], regularization, visible_names(path))


def _is_real_folder(path: Path) -> bool:
    """Whether it is a folder and no link to one; nor a junction, which Windows has besides. Its parent must be real."""
    if not path.is_dir() or path.is_symlink():
        return False
    return os.name != "nt" or os.path.realpath(path) == str(path)


def _give_ids(folders: list[ConceptFolder]) -> None:
    """An id outlives another number of repeats, unless two folders differ in nothing else."""
    kept = [(HOLDERS[folder.regularization], fold(folder.name)) for folder in folders]
    counts = Counter(kept)
    for folder, key in zip(folders, kept, strict=True):
        folder.id = identify("concept", *key) if counts[key] == 1 else identify("folder", folder.key)
