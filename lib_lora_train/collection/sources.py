"""Folders on this machine that pictures are taken from; they are read and never changed."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.batch import Chunks, Found, Incoming
from lib_lora_train.collection.kohya import Wish
from lib_lora_train.collection.names import CAPTION_SUFFIXES, is_picture_name, shown, split_name, stem_of
from lib_lora_train.dataset.listing import file_inside, list_folder
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Pictures straight in `folder`. Links must not lead out of `root`, the folder that was named.

    `wish` is the concept they are to be, None for the chosen one; `extension` the ending captions have besides the
    usual ones; `masks` folders where masks may be, by stem, the first that has one counts.
    """

    root: Path
    folder: Path
    wish: Wish | None = None
    extension: str = ""
    masks: tuple[Path, ...] = ()


def read_source(source: Source) -> Found:
    """Names only; files are opened when they are taken in. Raises UserError("dataset.folder")."""
    found = Found()
    if not is_folder_inside(source.root, source.folder):
        found.problems.append(UserError("dataset.link", shown(source.folder.name)))
        return found
    listing = list_folder(source.folder, "path")
    endings = tuple(dict.fromkeys((*filter(None, (source.extension,)), *CAPTION_SUFFIXES)))
    there, used = set(listing.files), set()
    masks = _masks(source, found)
    for name in listing.pictures:
        stem = stem_of(name)
        caption = next((stem + ending for ending in endings if stem + ending in there), "")
        used |= {stem + ending for ending in endings}
        mask = masks.get(stem)
        found.pictures.append(
            Incoming(
                _where(source, source.folder, name), name, _opener(source, source.folder, name), source.wish,
                _incoming(source, source.folder, caption), _incoming(source, *mask) if mask else None,
            )
        )  # fmt: skip
    for name in listing.files:
        if split_name(name)[1] in CAPTION_SUFFIXES and name not in used:
            where = _where(source, source.folder, name)
            found.captions.append(Incoming(where, name, _opener(source, source.folder, name), source.wish))
    if listing.subfolders and source.wish is not None:
        found.notes.append(
            Log("dataset.nested", {"where": shown(source.folder.name), "count": len(listing.subfolders)}, "warning")
        )
    return found


def join_found(parts: Sequence[Found]) -> Found:
    joined = Found()
    for part in parts:
        joined.pictures += part.pictures
        joined.captions += part.captions
        joined.problems += part.problems
        joined.notes += part.notes
    return joined


def check_not_empty(root: Path, parts: Sequence[Found]) -> None:
    """Raises UserError("dataset.empty")."""
    if not any(part.pictures or part.captions or part.problems for part in parts):
        listing = list_folder(root, "path")
        counts = {"folders": len(listing.folders), "files": len(listing.files)}
        raise UserError("dataset.empty", "path", folder=shown(root.name), **counts)


def is_folder_inside(root: Path, path: Path) -> bool:
    """Whether `path` is a folder that is really below `root`, where links lead included."""
    try:
        file_inside(root, *path.relative_to(root).parts, where="")
        return path.is_dir()
    except (UserError, OSError):
        return False


def read_inside(root: Path, path: Path, where: str) -> Iterator[bytes]:
    """The bytes of a file below `root`. Raises UserError: dataset.link, image.not_file, image.missing,
    image.unreadable."""
    real = file_inside(root, *path.relative_to(root).parts, where=where)
    try:
        if not stat.S_ISREG(real.stat().st_mode):  # opening a pipe would wait for ever
            raise UserError("image.not_file", where)
        with real.open("rb") as handle:
            while block := handle.read(_BLOCK):
                yield block
    except FileNotFoundError as error:
        raise UserError("image.missing", where) from error
    except OSError as error:
        raise UserError("image.unreadable", where, reason=error.strerror or "?") from error


def _masks(source: Source, found: Found) -> dict[str, tuple[Path, str]]:
    masks: dict[str, tuple[Path, str]] = {}
    for folder in source.masks:
        if not is_folder_inside(source.root, folder):
            continue
        try:
            for name in list_folder(folder, "path").files:
                if is_picture_name(name):
                    masks.setdefault(stem_of(name), (folder, name))
        except UserError as error:
            found.problems.append(error)
    return masks


def _incoming(source: Source, folder: Path, name: str) -> Incoming | None:
    if not name:
        return None
    return Incoming(_where(source, folder, name), name, _opener(source, folder, name))


def _opener(source: Source, folder: Path, name: str) -> Chunks:
    where = _where(source, folder, name)
    return lambda: read_inside(source.root, folder / name, where)


def _where(source: Source, folder: Path, name: str) -> str:
    """As it is called in messages: below the folder that was named, which is not said."""
    return shown((folder.relative_to(source.root) / name).as_posix())
