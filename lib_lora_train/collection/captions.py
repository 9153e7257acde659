"""Writing a caption, so that nobody's words are lost: whoever saved first is shown to whoever comes second."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.collection.caption_files import check_caption, read_caption
from lib_lora_train.collection.entries import PictureInfo, picture_info
from lib_lora_train.collection.history import History
from lib_lora_train.collection.layout import Layout
from lib_lora_train.collection.locking import locked
from lib_lora_train.collection.names import CAPTION_SUFFIXES, shown, stem_of
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Log


def write_caption(project: Project, picture_id: str, text: str, version: str) -> PictureInfo:
    """Saves `text` as the caption of a picture whose caption was of `version` when it was read; "" for none. It can be
    undone.

    Raises UserError: collection.unknown_picture, collection.caption_long, collection.caption_characters, file.write,
    and "collection.caption_changed" when somebody else saved meanwhile; its `values` then hold "theirs", the text
    that is there now, and "version", to be given when it is to be replaced.
    """
    with locked(project):
        folder, name = Layout.read(project).locate([picture_id])[0]
        check_caption(text, shown(name))
        current = read_caption(folder.path, name)
        if version != current.version:
            raise UserError("collection.caption_changed", shown(name), theirs=current.text, version=current.version)
        _drop_links(folder.path, name)
        if not _write(History.of_project(project), f"{folder.key}/{name}", text):
            current = read_caption(folder.path, name)
            raise UserError("collection.caption_changed", shown(name), theirs=current.text, version=current.version)
        return picture_info(folder, name)


def _write(history: History, picture: str, text: str) -> bool:
    """False when another program changed the file at that very moment. What is not written is taken back, so that it
    does not come some time later. Raises UserError("file.write")."""
    changes = history.changes_for({picture: text})
    if not changes:
        return True
    entry = history.append(changes, Log("history.caption"))
    try:
        left = set(history.follow().left).intersection(change.key for change in changes)
    except UserError:
        history.undo(entry.number)
        raise
    if left:
        history.undo(entry.number)
        history.follow()
    return not left


def _drop_links(folder: Path, picture: str) -> None:
    """A link in a caption's place is none, and gives way to what is written. Raises UserError("file.write")."""
    for ending in CAPTION_SUFFIXES:
        path = folder / (stem_of(picture) + ending)
        try:
            if path.is_symlink():
                path.unlink()
        except OSError as error:
            raise UserError("file.write", shown(path.name), reason=error.strerror or "?") from error
