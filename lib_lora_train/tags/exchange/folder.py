"""Captions as files in folders: read from a zip or a folder, and written as one."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib_lora_train.collection.caption_files import caption_text, read_file
from lib_lora_train.collection.limits import Limits
from lib_lora_train.collection.members import Member, ZipReader, read_zip
from lib_lora_train.collection.names import CAPTION_SUFFIXES, shown, split_name
from lib_lora_train.dataset.captions import MAX_CAPTION_BYTES
from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside, safe_name, write_text
from lib_lora_train.tags.exchange.kohya import MOST_BYTES, MOST_NAMES
from lib_lora_train.tags.exchange.names import exported_name
from lib_lora_train.tags.item import Item

_LIMITS = Limits(files=MOST_NAMES // 4, total_bytes=MOST_BYTES * 4)
_DAY = (1980, 1, 1, 0, 0, 0)  # so that equal captions give equal zips
_DEEPEST = 4  # folders below the one that is read


def read_captions(data: bytes, where: str) -> dict[str, str]:
    """Captions in a zip, by path; pictures and other files in it are passed over, and so are blank captions.

    Raises UserError: edits.import_large, edits.import_none, caption.*, and collection.zip_* for a zip that is damaged,
    encrypted, or larger than it should be.
    """
    if len(data) > MOST_BYTES:
        raise UserError("edits.import_large", where, limit=MOST_BYTES // 1_000_000)
    texts: dict[str, str] = {}
    with read_zip(io.BytesIO(data), where, _LIMITS) as reader:
        for member in reader.members():
            if split_name(member.name)[1] in CAPTION_SUFFIXES:
                reader.check(member)
                _keep(texts, "/".join(member.parts), caption_text(_content(reader, member), member.where))
    if not texts:
        raise UserError("edits.import_none", where)
    return texts


def read_folder(folder: Path) -> dict[str, str]:
    """Captions in a folder and some folders below it, by path; blank ones are passed over.

    Raises UserError: edits.import_none, edits.import_many, caption.*.
    """
    texts: dict[str, str] = {}
    for path in _caption_files(folder):
        name = path.relative_to(folder).as_posix()
        caption = read_file(path, shown(name))
        if caption.error is not None:
            raise caption.error
        _keep(texts, name, caption.text)
        if len(texts) > MOST_NAMES:
            raise UserError("edits.import_many", folder.name, most=MOST_NAMES)
    if not texts:
        raise UserError("edits.import_none", folder.name)
    return texts


def write_captions(items: Sequence[Item]) -> bytes:
    """A zip of the captions, all their lines, as .txt files; the same captions give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _files(items):
            information = zipfile.ZipInfo(name, _DAY)
            information.compress_type = zipfile.ZIP_DEFLATED
            information.external_attr = 0o100644 << 16
            archive.writestr(information, text.encode("utf-8", "replace"))
    return target.getvalue()


def write_folder(items: Sequence[Item], folder: Path) -> int:
    """The same as files in a folder, which may have them already; returns how many.

    Raises UserError: file.write, path.outside.
    """
    count = 0
    for name, text in _files(items):
        write_text(resolve_inside(folder, name), text)
        count += 1
    return count


def _files(items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    names = set()
    for item in items:
        parts = [safe_name(part) for part in exported_name(item).split("/")]
        name = "/".join(parts) + CAPTION_SUFFIXES[0]
        if item.text.strip() and name not in names:
            names.add(name)
            yield name, item.text


def _keep(texts: dict[str, str], name: str, text: str) -> None:
    """Of two captions of one picture, the one with the ending that is looked for first."""
    stem, ending = split_name(name)
    if text.strip() and (ending == CAPTION_SUFFIXES[0] or stem + CAPTION_SUFFIXES[0] not in texts):
        texts.pop(stem + CAPTION_SUFFIXES[1], None)
        texts[name] = text


def _content(reader: ZipReader, member: Member) -> bytes:
    data = b""
    for block in reader.chunks(member):
        data += block
        if len(data) > MAX_CAPTION_BYTES:
            raise UserError("caption.too_large", member.where, limit=MAX_CAPTION_BYTES // 1024)
    return data


def _caption_files(folder: Path) -> Iterator[Path]:
    """Links are not followed."""
    for root, folders, names in os.walk(folder):
        here = Path(root)
        depth = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < _DEEPEST else []
        yield from (here / name for name in sorted(names) if split_name(name)[1] in CAPTION_SUFFIXES)
