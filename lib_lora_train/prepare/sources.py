"""The originals of a project's training pictures, and which pictures of the data set were made from each.

Of regularization pictures nothing is prepared: they are to stay as ordinary as they are.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.collection.layout import CACHE, IMAGES, ConceptFolder, Layout
from lib_lora_train.collection.locking import locked, settle
from lib_lora_train.collection.made import Made
from lib_lora_train.collection.names import fold, free_stem, identify, shown, stem_of
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.project import Project


@dataclass(frozen=True)
class Output:
    """A picture of the data set. `made` is None for one that nobody has made from anything: it is as it was given."""

    name: str
    made: Made | None = None


@dataclass
class Source:
    """An original. `original` is its name in images/, or the one that it will have there; `path` where it lies now;
    `outputs` are in the order of their places."""

    id: str
    original: str
    folder: ConceptFolder
    path: Path
    outputs: list[Output] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return shown(self.original)

    @property
    def kept(self) -> bool:
        """Whether it lies in images/."""
        return self.path.parent.name == IMAGES


def cache_folder(project: Project) -> Path:
    """What may be deleted at any time."""
    return project.path(CACHE, "prepare")


def digests_of(project: Project) -> Digests:
    return Digests(cache_folder(project) / "digests.json")


def read_sources(project: Project, layout: Layout | None = None, digests: Digests | None = None) -> list[Source]:
    """All originals of training pictures, in the order of the data set. Raises UserError("path.outside")."""
    if layout is None:
        settle(project)
        layout = Layout.read(project)
    digests = digests or digests_of(project)
    images = project.path(IMAGES)
    found: dict[tuple[str, str], Source] = {}
    taken = set(layout.originals)
    for folder in layout.folders:
        for name in folder.pictures() if not folder.regularization else ():
            made = layout.made.get(name)
            if made is not None and not made.is_of(folder.path / name):
                made = None
            original, path = _original(layout, images, folder, name, made, digests, taken)
            key = (folder.id, original)
            if key not in found:
                found[key] = Source(identify("source", *key), original, folder, path)
            found[key].outputs.append(Output(name, made))
    for source in found.values():
        source.outputs.sort(key=lambda output: output.made.place if output.made else 0)
    digests.save()
    return list(found.values())


def find_source(project: Project, source_id: str) -> Source:
    """Raises UserError("prepare.unknown_source")."""
    for source in read_sources(project):
        if source.id == source_id:
            return source
    raise UserError("prepare.unknown_source", "source")


def keep_originals(project: Project) -> None:
    """Puts pictures that somebody laid into the data set, or changed there, among the originals as well.

    Raises UserError("file.write").
    """
    with locked(project):
        for source in read_sources(project, Layout.read(project)):
            target = project.path(IMAGES) / source.original
            if source.kept or os.path.lexists(target) or source.path.is_symlink() or not source.path.is_file():
                continue
            if not _is_readable(source.path):  # said when it is looked at
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source.path, target)
            except (OSError, NotImplementedError):  # no hard links here
                with atomic_path(target) as temporary:
                    shutil.copyfile(source.path, temporary)


def _original(
    layout: Layout, images: Path, folder: ConceptFolder, name: str, made: Made | None, digests: Digests, taken: set[str]
) -> tuple[str, Path]:
    """Name and place of the original of a picture. `taken` are folded stems of originals, those to come included."""
    if made is not None and layout.originals.get(fold(stem_of(made.original))) == made.original:
        return made.original, images / made.original
    stem = stem_of(name)
    number, candidate = 1, stem
    while known := layout.originals.get(fold(candidate), ""):  # kept before, under a free name
        if _same(images / known, folder.path / name, digests):
            return known, images / known
        number += 1
        candidate = f"{stem}-{number}"
    fresh = free_stem(stem, taken)
    taken.add(fold(fresh))
    return fresh + name[len(stem) :], folder.path / name


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _same(one: Path, other: Path, digests: Digests) -> bool:
    """Whether two files are one, or have the same bytes."""
    try:
        if one.is_symlink() or other.is_symlink():
            return False
        if one.samefile(other):
            return True
        if one.stat().st_size != other.stat().st_size:
            return False
        return digests.of(one, one.name) == digests.of(other, other.name)
    except (OSError, UserError):
        return False
