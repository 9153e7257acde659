"""The caption beside a picture: its text as somebody would edit it, and a version that tells one state from another.

Unlike `dataset.captions.read_caption`, which gives the one line that is trained on, nothing is left out here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.collection.limits import MAX_CAPTION_BYTES
from lib_lora_train.collection.names import CAPTION_SUFFIXES, shown, stem_of
from lib_lora_train.dataset import captions
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text

_NO_FILE = (errno.ENOENT, errno.ENAMETOOLONG)  # the latter where the picture's own name has just room enough


@dataclass(frozen=True)
class Caption:
    """`version` is a hash of the file's bytes, empty where there is no file. `error`: why it could not be read."""

    text: str = ""
    version: str = ""
    error: UserError | None = None


def caption_text(data: bytes, where: str) -> str:
    """The text in a caption file that is taken in; "" when it is blank.

    Raises UserError: caption.encoding, collection.caption_long.
    """
    text = captions.decode(data, where)[0].replace("\x00", "").strip()
    if len(text.encode("utf-8", "replace")) > MAX_CAPTION_BYTES:
        raise UserError("collection.caption_long", where, limit=MAX_CAPTION_BYTES // 1024)
    return text


def check_caption(text: str, where: str) -> None:
    """Of what somebody typed. Raises UserError: collection.caption_long, collection.caption_characters."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("collection.caption_characters", where)
    if len(text.encode("utf-8")) > MAX_CAPTION_BYTES:
        raise UserError("collection.caption_long", where, limit=MAX_CAPTION_BYTES // 1024)


def read_file(path: Path, where: str) -> Caption:
    """One caption file. A link, a folder or a pipe is none."""
    try:
        information = path.lstat()
        if not stat.S_ISREG(information.st_mode):
            return Caption()
        if information.st_size > captions.MAX_CAPTION_BYTES:
            version = f"{information.st_size}-{information.st_mtime_ns}"
            raise UserError("caption.too_large", where, limit=captions.MAX_CAPTION_BYTES // 1024)
        return caption_from(path.read_bytes(), where)
    except OSError as error:
        if error.errno in _NO_FILE:
            return Caption()
        return Caption("", "unreadable", UserError("caption.unreadable", where, reason=error.strerror or "?"))
    except UserError as error:
        return Caption("", version, error)


def caption_from(data: bytes, where: str) -> Caption:
    """The caption that a file of these bytes would be."""
    version = hashlib.sha256(data).hexdigest()[:16]
    try:
        if len(data) > captions.MAX_CAPTION_BYTES:
            raise UserError("caption.too_large", where, limit=captions.MAX_CAPTION_BYTES // 1024)
        return Caption(captions.decode(data, where)[0].replace("\x00", "").rstrip("\r\n"), version)
    except UserError as error:
        return Caption("", version, error)


def first_caption(found: Iterable[Caption]) -> Caption:
    """Of a picture's caption files the first that says anything, else the first there is."""
    first = Caption()
    for caption in found:
        if caption.text.strip():
            return caption
        first = first if first.version else caption
    return first


def read_caption(folder: Path, picture: str) -> Caption:
    """The caption of a picture."""
    names = [stem_of(picture) + ending for ending in CAPTION_SUFFIXES]
    return first_caption(read_file(folder / name, shown(name)) for name in names)


def save_caption(folder: Path, picture: str, text: str) -> None:
    """Writes a picture's caption as UTF-8; a blank one takes the files away, as sd-scripts stumbles over an empty one.

    Raises UserError("file.write").
    """
    path = folder / (stem_of(picture) + CAPTION_SUFFIXES[0])
    if text.strip():
        write_text(path, text)
        return
    for ending in CAPTION_SUFFIXES:
        try:
            os.unlink(path.with_name(stem_of(picture) + ending))  # noqa: PTH108 - a link is removed, not followed
        except OSError as error:
            if error.errno in _NO_FILE:
                continue
            raise UserError("file.write", path.name, reason=error.strerror or "?") from error
