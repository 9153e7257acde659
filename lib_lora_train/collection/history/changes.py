"""What saving a caption changes, as the journal keeps it: by the rules of `caption_files.save_caption`."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import Path

from lib_lora_train.collection.history.records import TextChange
from lib_lora_train.collection.names import CAPTION_SUFFIXES, stem_of
from lib_lora_train.errors import UserError

_Read = Callable[[str], "bytes | None"]


def caption_changes(folder: Path, picture: str, text: str, base: Path | None = None) -> list[TextChange]:
    """What becomes of the caption files of `picture` (a name) in `folder` when its caption is to be `text`.

    A blank text removes them, any other is written to .txt as UTF-8; [] when nothing changes. Keys are below `base`, a
    project's folder when None. The files must hold the truth, as they do under `locked(project)`; else use
    `History.changes_for`. Raises UserError("caption.unreadable").
    """
    prefix = folder.relative_to(folder.parent.parent if base is None else base).as_posix()
    key = picture if prefix == "." else f"{prefix}/{picture}"
    return changes_of(key, text, lambda name: read_bytes(folder / name.rpartition("/")[2]))


def changes_of(picture: str, text: str, read: _Read) -> list[TextChange]:
    """The same for a picture by its path below the base; `read` gives the bytes of a caption file by its key."""
    keys = [stem_of(picture) + ending for ending in CAPTION_SUFFIXES]
    if text.strip():
        wanted = [(keys[0], text.encode("utf-8"))]
        found = [TextChange(key, read(key), after) for key, after in wanted]
    else:
        found = [TextChange(key, read(key), None) for key in keys]
    return [change for change in found if change.before != change.after]


def read_bytes(path: Path) -> bytes | None:
    """None where there is no file; a link, a folder or a pipe is none. Raises UserError("caption.unreadable")."""
    try:
        return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise UserError("caption.unreadable", path.name, reason=error.strerror or "?") from error
