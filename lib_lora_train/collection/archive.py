"""Zips: taking one in, and giving the data set as one.

In a zip that is taken in, folders named as kohya names them (`10_hero`) become concepts; one below a folder called
`regularization` or `reg` is for regularization; what lies below `masks` are masks. All other pictures go to the
chosen concept. So what `zip_chunks` writes comes back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lib_lora_train.collection.batch import Chunks, Found, Incoming, take_all
from lib_lora_train.collection.intake import Added
from lib_lora_train.collection.kohya import MASK_FOLDERS, REGULARIZATION_FOLDERS, Wish, wish_of
from lib_lora_train.collection.layout import HOLDERS, MASKS, ConceptFolder, Layout
from lib_lora_train.collection.limits import Limits
from lib_lora_train.collection.locking import settle
from lib_lora_train.collection.members import Member, ZipReader, open_zip
from lib_lora_train.collection.names import (
    ARCHIVE_SUFFIXES,
    CAPTION_SUFFIXES,
    fold,
    free_stem,
    is_picture_name,
    shown,
    split_name,
    stem_of,
)
from lib_lora_train.collection.packing import Entry, pack
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, safe_name
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, ignore_events

Key = tuple[str, ...]


def add_zip(
    project: Project,
    concept_id: str,
    path: Path,
    limits: Limits,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
    where: str = "",
) -> Added:
    """Takes in the pictures, captions and masks of a zip; a bad file in it is a problem of the result.

    `where` is the zip's name in messages. Raises UserError: collection.unknown_concept, collection.zip_damaged,
    collection.zip_members; Stopped.
    """
    name = where or shown(path.name)
    with open_zip(path, name, limits) as reader:
        found = _find(reader)
        if not (found.pictures or found.captions or found.problems):
            found.problems.append(UserError("collection.zip_empty", name))
        return take_all(project, concept_id, found, limits, events, commands)


def _find(reader: ZipReader) -> Found:
    """Sorts what is in a zip: which caption and which mask belong to which picture."""
    found = Found()
    pictures: list[Member] = []
    captions: dict[Key, Member] = {}
    masks: dict[Key, Member] = {}
    for member in reader.members():
        suffix = split_name(member.name)[1]
        is_picture, is_caption = is_picture_name(member.name), suffix in CAPTION_SUFFIXES
        try:
            if suffix in ARCHIVE_SUFFIXES:
                raise UserError("collection.zip_nested", member.where)
            if is_picture or is_caption:
                reader.check(member)
        except UserError as error:
            found.problems.append(error)
            continue
        if is_caption:
            key = _key(member)
            better = key not in captions or split_name(captions[key].name)[1] != CAPTION_SUFFIXES[0]
            captions[key] = member if better else captions[key]
        elif is_picture and _below(member, MASK_FOLDERS):
            masks.setdefault(_mask_key(member), member)
        elif is_picture:
            pictures.append(member)
    used: set[Key] = set()
    for member in pictures:
        caption, mask = captions.get(_key(member)), masks.get(_mask_key(member))
        used.add(_key(member))
        found.pictures.append(
            Incoming(
                member.where, member.name, _opener(reader, member), _wish(member),
                _incoming(reader, caption), _incoming(reader, mask),
            )
        )  # fmt: skip
    for key, caption in captions.items():
        if key not in used:
            found.captions.append(Incoming(caption.where, caption.name, _opener(reader, caption), _wish(caption)))
    masked = {_mask_key(member) for member in pictures}
    found.problems += [UserError("collection.alone", mask.where) for key, mask in masks.items() if key not in masked]
    return found


def _opener(reader: ZipReader, member: Member) -> Chunks:
    return lambda: reader.chunks(member)


def _incoming(reader: ZipReader, member: Member | None) -> Incoming | None:
    return None if member is None else Incoming(member.where, member.name, _opener(reader, member))


def _key(member: Member) -> Key:
    """Equal for a picture and its caption."""
    return (*map(fold, member.parts[:-1]), fold(stem_of(member.name)))


def _mask_key(member: Member) -> Key:
    """Equal for a picture and its mask: the numbered folder they lie in, wherever that is, and the stem."""
    folders = [part for part in member.parts[:-1] if wish_of(part) is not None]
    return (fold(folders[-1]) if folders else "", fold(stem_of(member.name)))


def _below(member: Member, names: frozenset[str]) -> bool:
    return any(fold(part) in names for part in member.parts[:-1])


def _wish(member: Member) -> Wish | None:
    for part in reversed(member.parts[:-1]):
        wish = wish_of(part, _below(member, REGULARIZATION_FOLDERS))
        if wish is not None:
            return wish
    return None


def zip_chunks(project: Project) -> Iterator[bytes]:
    """The data set as a zip, piece by piece: dataset/10_hero/x.png and x.txt, masks/10_hero/x.png,
    regularization/1_girl/y.png. The same project gives the same bytes. Raises UserError("image.unreadable")."""
    settle(project)
    layout = Layout.read(project)
    return pack(entry for folder in layout.folders for entry in _entries(layout, folder))


def write_zip(project: Project, path: Path) -> None:
    """As `zip_chunks`, into a file. Raises UserError("file.write")."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        for chunk in zip_chunks(project):
            handle.write(chunk)


def _entries(layout: Layout, folder: ConceptFolder) -> Iterator[Entry]:
    masks = layout.masks(folder)
    taken: set[str] = set()
    home = f"{HOLDERS[folder.regularization]}/{safe_name(folder.path.name)}"
    for name in folder.pictures():
        path = folder.path / name
        if path.is_symlink() or not path.is_file():
            continue
        stem, mask = stem_of(name), masks.get(stem_of(name))
        fresh = free_stem(safe_name(stem), taken)
        taken.add(fold(fresh))
        yield Entry(f"{home}/{fresh}{name[len(stem) :]}", path)
        for caption in folder.captions(name):
            source = folder.path / caption
            if source.is_file() and not source.is_symlink() and source.stat().st_size:
                yield Entry(f"{home}/{fresh}{caption[len(stem) :]}", source)
        if mask is not None:
            source = layout.project.path(MASKS, folder.path.name) / mask
            if source.is_file() and not source.is_symlink():
                yield Entry(f"{MASKS}/{safe_name(folder.path.name)}/{fresh}{mask[len(stem) :]}", source)
