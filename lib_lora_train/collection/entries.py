"""What a project holds, as the faces show it and as planning counts it: concepts and pictures."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.caption_files import Caption, first_caption, read_caption
from lib_lora_train.collection.index import Index
from lib_lora_train.collection.layout import ConceptFolder, Layout
from lib_lora_train.collection.locking import settle
from lib_lora_train.collection.names import identify, shown
from lib_lora_train.dataset.images import read_size
from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.project import Project


@dataclass(frozen=True)
class ConceptInfo:
    """A folder of pictures. `name` is its trigger or class, as in `<repeats>_<name>`."""

    id: str
    name: str
    repeats: int
    regularization: bool
    pictures: int
    folder: Path

    def as_dict(self) -> dict[str, object]:
        """For the REST routes; no path."""
        return {
            "id": self.id,
            "name": shown(self.name),
            "repeats": self.repeats,
            "regularization": self.regularization,
            "pictures": self.pictures,
        }


@dataclass(frozen=True)
class PictureInfo:
    """A picture of the data set. `width` x `height` when upright, 0 x 0 when it cannot be read.

    `concept` is the concept's id; `bytes` the file's length; `caption` the whole text beside it and `version` a hash
    of that file ("" where there is none); `stamp` changes when the picture file does; `error` says what is wrong.
    """

    id: str
    concept: str
    name: str
    width: int
    height: int
    bytes: int
    caption: str
    version: str
    stamp: str
    error: UserError | None
    path: Path

    @property
    def problem(self) -> dict[str, str] | None:
        return self.error.as_dict() if self.error else None

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """For the REST routes; no path."""
        return {
            "id": self.id,
            "concept": self.concept,
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "caption": self.caption,
            "version": self.version,
            "stamp": self.stamp,
            "problem": self.error.as_dict(language) if self.error else None,
        }


def list_concepts(project: Project) -> list[ConceptInfo]:
    """Training concepts, then those for regularization, each by repeats and name. Raises UserError("path.outside")."""
    settle(project)
    return [concept_info(folder) for folder in Layout.read(project).folders]


def find_concept(project: Project, concept_id: str) -> ConceptInfo:
    """Raises UserError("collection.unknown_concept")."""
    settle(project)
    return concept_info(Layout.read(project).folder(concept_id))


def list_pictures(project: Project, concept_id: str = "") -> list[PictureInfo]:
    """All pictures, or those of one concept, in the order of their folders and names (2.png before 10.png).

    Headers and captions of files that have not changed since the last call are not read again. Raises
    UserError("collection.unknown_concept").
    """
    settle(project)
    layout, index = Layout.read(project), Index.of_project(project)
    folders = [layout.folder(concept_id)] if concept_id else layout.folders
    found = [_listed(folder, name, index) for folder in folders for name in folder.pictures()]
    index.save([folder.key for folder in folders] if concept_id else None)
    return found


def find_picture(project: Project, picture_id: str) -> PictureInfo:
    """One picture as it is on the disk now. Raises UserError("collection.unknown_picture")."""
    settle(project)
    folder, name = Layout.read(project).locate([picture_id])[0]
    return picture_info(folder, name)


def concept_info(folder: ConceptFolder) -> ConceptInfo:
    return ConceptInfo(folder.id, folder.name, folder.repeats, folder.regularization, folder.count, folder.path)


def picture_info(folder: ConceptFolder, name: str) -> PictureInfo:
    """Read anew, whatever was known."""
    return _info(folder, name, read_caption(folder.path, name), None)


def _listed(folder: ConceptFolder, name: str, index: Index) -> PictureInfo:
    others = folder.captions(name)
    caption = first_caption(index.caption(folder.path / other, f"{folder.key}/{other}") for other in others)
    return _info(folder, name, caption, index)


def _info(folder: ConceptFolder, name: str, caption: Caption, index: Index | None) -> PictureInfo:
    path, where = folder.path / name, shown(name)
    width = height = length = 0
    stamp, problem = "", caption.error
    try:
        information = path.lstat()
        length, stamp = information.st_size, identify(str(information.st_size), str(information.st_mtime_ns))
        width, height, fault = size_or_fault(path, f"{folder.key}/{name}", where, information, index)
        problem = fault or problem
    except OSError as error:
        problem = _fault(error, where)
    return PictureInfo(
        folder.picture_id(name), folder.id, where, width, height, length, caption.text, caption.version, stamp,
        problem, path,
    )  # fmt: skip


def size_or_fault(
    path: Path, key: str, where: str, information: os.stat_result, index: Index | None
) -> tuple[int, int, UserError | None]:
    """Width and height of a picture when upright, else 0, 0 and what is wrong with it."""
    try:
        if stat.S_ISLNK(information.st_mode):
            raise UserError("dataset.link", where)
        width, height = index.size(path, key, where, information) if index else read_size(path, where)
        return width, height, None
    except OSError as error:
        return 0, 0, _fault(error, where)
    except UserError as error:
        return 0, 0, error


def _fault(error: OSError, where: str) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError("image.missing", where)
    return UserError("image.unreadable", where, reason=error.strerror or "?")
