"""Which files of a data set there are: names in a stable order, nothing hidden, no link that leads away."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.dataset.formats import FOREIGN_SUFFIXES, PICTURE_SUFFIXES
from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside
from lib_lora_train.signals import Log

MASK_FOLDER = "masks"  # used when none is named: in the training folder, else beside it
_NUMBERED = re.compile(r"(\d{1,6})(?:_(.*))?", re.DOTALL)
_UNPACKING_LITTER = "__MACOSX"  # left by zip files from macOS; holds no pictures, only files named like them


@dataclass(frozen=True)
class Concept:
    """A folder of pictures that share repeats and class tokens."""

    name: str
    path: Path
    repeats: int
    class_tokens: str
    is_regularization: bool = False


@dataclass
class Listing:
    """Names in a folder, sorted."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> list[str]:
        """What the user means as pictures, readable or not; a folder or pipe with such a name as well."""
        return sorted(name for name in (*self.files, *self.folders) if is_picture_name(name))

    @property
    def subfolders(self) -> list[str]:
        return [name for name in self.folders if not is_picture_name(name)]


def is_picture_name(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in PICTURE_SUFFIXES or suffix in FOREIGN_SUFFIXES


def root_folder(text: str, setting: str) -> Path:
    """The real path of a folder the user named. Raises UserError: "dataset.no_folder", "dataset.folder_missing"
    or "dataset.folder"."""
    if not text.strip():
        raise UserError("dataset.no_folder", setting)
    try:
        root = Path(text).expanduser().resolve()
        if not root.is_dir():
            raise UserError("dataset.folder_missing", setting, folder=root.name)
    except OSError as error:
        raise UserError("dataset.folder", setting, folder=Path(text).name, reason=error.strerror or "?") from error
    except (RuntimeError, ValueError) as error:  # a link loop, no home folder, a NUL in the name
        shown = Path(text).name.replace("\x00", "?")
        raise UserError("dataset.folder_missing", setting, folder=shown) from error
    return root


def list_folder(folder: Path, setting: str) -> Listing:
    """Sorted names, without hidden ones. Raises UserError("dataset.folder")."""
    listing = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name != _UNPACKING_LITTER:
                    (listing.folders if _is_folder(entry) else listing.files).append(entry.name)
    except OSError as error:
        raise UserError("dataset.folder", setting, folder=folder.name, reason=error.strerror or "?") from error
    listing.files.sort()
    listing.folders.sort()
    return listing


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link loop: reported when it is opened
        return False


def file_inside(root: Path, *parts: str, where: str) -> Path:
    """`root / parts`, checked to stay below `root` when links are followed. Raises UserError("dataset.link")."""
    try:
        resolve_inside(root, *parts)
    except UserError as error:
        raise UserError("dataset.link", where) from error
    return root.joinpath(*parts)


def find_concepts(
    root: Path, setting: str, repeats: int, class_tokens: str, is_regularization: bool, mask_folder: str = ""
) -> tuple[list[Concept], list[UserError], list[Log]]:
    """The `<repeats>_<class tokens>` folders in `root`; where there are none, `root` itself as one plain folder.

    `repeats` and `class_tokens` are the plain folder's. `mask_folder` is a name in `root` that holds masks and is not
    worth a note. Raises UserError("dataset.folder").
    """
    listing = list_folder(root, setting)
    concepts: list[Concept] = []
    problems: list[UserError] = []
    skipped: list[str] = []
    for name in listing.subfolders:
        match = _NUMBERED.fullmatch(name)
        if match is None or int(match[1]) < 1:
            skipped.append(name)
            continue
        try:
            path = file_inside(root, name, where=name)
        except UserError as error:
            problems.append(error)
            continue
        concepts.append(Concept(name, path, int(match[1]), match[2] or "", is_regularization))
    notes = [Log("dataset.folder_ignored", {"where": name}, "warning") for name in skipped if name != mask_folder]
    if not concepts:
        return [_plain_concept(root, repeats, class_tokens, is_regularization, notes)], problems, notes
    if listing.pictures:
        notes.append(Log("dataset.loose", {"where": root.name, "count": len(listing.pictures)}, "warning"))
    return concepts, problems, notes


def _plain_concept(root: Path, repeats: int, class_tokens: str, is_regularization: bool, notes: list[Log]) -> Concept:
    """`root` as one concept. Who picks `10_hero` itself means ten repeats of hero, unless the settings say otherwise."""
    match = _NUMBERED.fullmatch(root.name)
    if match is not None and match[2] and int(match[1]) > 0 and repeats == 1 and not class_tokens:
        repeats, class_tokens = int(match[1]), match[2]
        notes.append(Log("dataset.named_folder", {"where": root.name, "repeats": repeats, "tokens": class_tokens}))
    return Concept(root.name, root, repeats, class_tokens, is_regularization)


def same_stem_notes(concept: Concept, names: Iterable[str]) -> list[Log]:
    """One note for each group of pictures that share a caption because only their ending differs."""
    stems: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[Path(name).stem.casefold()].append(name)
    return [
        Log("dataset.same_stem", {"where": concept.name, "names": ", ".join(group)}, "warning")
        for group in stems.values()
        if len(group) > 1
    ]


def file_hash(path: Path, where: str) -> str:
    """SHA-256 of a file's bytes, in hex. Raises UserError("image.unreadable")."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError("image.unreadable", where, reason=error.strerror or "?") from error
    return digest.hexdigest()
