"""Small pictures for the page: made once, re-encoded by us, so that nothing of what was uploaded is ever served.

Upright, in RGB, transparency on white, without any metadata. Kept in `.cache/thumbnails/<side>/` by picture and
stamp; the folder may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PIL import Image

from lib_lora_train.collection.entries import find_picture
from lib_lora_train.collection.layout import CACHE, visible_names
from lib_lora_train.dataset.images import open_image
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.project import Project

SIDES = (256, 1600)  # px, of the longer side: for the list, and for the large view
QUALITY = 85


def thumbnail(project: Project, picture_id: str, side: int) -> Path:
    """A JPEG of a picture whose longer side is at most `side`, one of SIDES; never enlarged.

    Raises UserError: collection.unknown_picture, file.write, and an `image.*` code for a picture that cannot be shown;
    ValueError for another side.
    """
    if side not in SIDES:
        raise ValueError(f"a thumbnail's side is one of {SIDES}, not {side}")
    found = find_picture(project, picture_id)
    if found.error is not None and not found.width:
        raise found.error
    path = _folder(project, side) / f"{picture_id}-{found.stamp}.jpg"
    if path.is_file():
        return path
    image = open_image(found.path, found.name).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    _forget_in(path.parent, {picture_id})
    try:
        with atomic_path(path) as temporary:
            image.save(temporary, "JPEG", quality=QUALITY)
    except UserError:
        if not path.is_file():  # else somebody made the same one meanwhile, and on Windows has it open
            raise
    return path


def forget(project: Project, picture_ids: Collection[str]) -> None:
    """Of pictures that are not there any more. Raises UserError("file.write")."""
    for side in SIDES:
        _forget_in(_folder(project, side), set(picture_ids))


def _folder(project: Project, side: int) -> Path:
    return project.path(CACHE, "thumbnails", str(side))


def _forget_in(folder: Path, picture_ids: set[str]) -> None:
    for name in visible_names(folder):
        if name.partition("-")[0] in picture_ids:
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise UserError("file.write", name, reason=error.strerror or "?") from error
