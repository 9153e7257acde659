"""From an original to a picture of the data set: cut, matted, resized once, and known by how it was made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora_train.dataset.images import open_image
from lib_lora_train.files import atomic_path
from lib_lora_train.prepare.cutting import cut
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.matting import clean_edges, on_background, to_mask
from lib_lora_train.prepare.tables import MatteSettings
from lib_lora_train.vision.geometry import Box, Face

RENDER_VERSION = 1  # changes when the same request gives another picture
_FAST = 1  # zlib's level: photos hardly get smaller by more work, and a set is written while somebody waits


@dataclass(frozen=True)
class Background:
    """What is done behind the subject; `matte` names the mask that is used (its file's digest, or model and content)."""

    settings: MatteSettings
    matte: str

    @property
    def is_mask(self) -> bool:
        """The picture stays as it is and gets a mask beside it."""
        return self.settings.background == "mask"


@dataclass(frozen=True)
class Recipe:
    """How one picture is made. `digest` is the original's content, `enlarged` that of the enlarged original ("": none).

    `whole` says that the crop is all of the original, at its own size.
    """

    digest: str
    crop: Crop
    whole: bool
    background: Background | None = None
    enlarged: str = ""

    @property
    def key(self) -> str:
        """The same for the same picture; "" for the original as it is."""
        replaced = self.background is not None and not self.background.is_mask
        if self.whole and not replaced and not self.enlarged and not self.crop.mirror:
            return ""
        behind = [self.background.matte, vars(self.background.settings)] if replaced and self.background else None
        return _hash("picture", self.digest, self.enlarged, _places(self.crop), behind)

    @property
    def mask_key(self) -> str:
        """The same for the same mask; "" where none is written."""
        if self.background is None or not self.background.is_mask:
            return ""
        return _hash("mask", self.digest, self.background.matte, _places(self.crop), self.background.settings.feather)

    @property
    def content(self) -> str:
        """Names what is in the picture, for whatever looks at it later."""
        return self.key or self.digest


def render(image: Image.Image, scale: float, alpha: np.ndarray | None, recipe: Recipe) -> Image.Image:
    """The picture, in RGB, or RGBA on a transparent background.

    `image` is the upright original, enlarged by `scale`; `alpha` (height, width) float 0..1 is of the original's shape
    in any size, and needed where the recipe has a background.
    """
    crop = _scaled(recipe.crop, scale)
    picture = cut(image, crop)
    if recipe.background is None or recipe.background.is_mask or alpha is None:
        return picture
    opacity = _cut_alpha(alpha, image.size, crop)
    pixels = np.asarray(picture)
    settings = recipe.background.settings
    if settings.decontaminate and settings.background != "none":
        pixels = clean_edges(pixels, opacity)
    return on_background(pixels, opacity, settings, seed=int(recipe.digest[:8], 16))


def render_mask(size: tuple[int, int], alpha: np.ndarray, recipe: Recipe) -> Image.Image:
    """The mask of the picture, grey; `size` is the original's."""
    feather = recipe.background.settings.feather if recipe.background is not None else 0.0
    return to_mask(_cut_alpha(alpha, size, recipe.crop), feather)


def inside(face: Face, crop: Crop) -> Face | None:
    """A face of the original as it is in the crop; None when less than half of it is."""
    box = crop.box
    shown = face.box.moved(-box.left, -box.top).clipped(box.width, box.height)
    if shown.area < face.box.area / 2:
        return None
    x, y = crop.width / box.width, crop.height / box.height

    def place(left: float, top: float) -> tuple[float, float]:
        across = (left - box.left) * x
        return (crop.width - across if crop.mirror else across), (top - box.top) * y

    corners = [place(face.box.left, face.box.top), place(face.box.right, face.box.bottom)]
    (left, top), (right, bottom) = (min(corners), max(corners))
    points = [place(*point) for point in face.landmarks]
    if crop.mirror and len(points) == 5:  # the person's right is now on the other side
        points = [points[1], points[0], points[2], points[4], points[3]]
    return Face(Box(left, min(top, bottom), right, max(top, bottom)), face.score, face.kind, tuple(points))


def save(image: Image.Image, path: Path) -> None:
    """As PNG, whole or not at all. Raises UserError("file.write")."""
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=_FAST)


def load_alpha(path: Path, where: str) -> np.ndarray:
    """A mask file as float32 0..1. Raises UserError with an `image.*` code for one that cannot be read."""
    return np.asarray(open_image(path, where).image.convert("L"), dtype=np.float32) / 255.0


def _cut_alpha(alpha: np.ndarray, size: tuple[int, int], crop: Crop) -> np.ndarray:
    """(height, width) float32 of the crop, from a mask of the picture of `size` in whatever size it is kept."""
    mask = Image.fromarray(np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8))
    x, y = mask.width / size[0], mask.height / size[1]
    box = Box(crop.box.left * x, crop.box.top * y, crop.box.right * x, crop.box.bottom * y)
    part = cut(mask, Crop(box, crop.width, crop.height, crop.mirror, crop.by))
    return np.asarray(part, dtype=np.float32) / 255.0


def _scaled(crop: Crop, scale: float) -> Crop:
    return crop if scale == 1.0 else Crop(crop.box.scaled(scale), crop.width, crop.height, crop.mirror, crop.by)


def _places(crop: Crop) -> list[object]:
    return [*crop.box.as_list(), crop.width, crop.height, crop.mirror]


def _hash(*parts: object) -> str:
    text = json.dumps([RENDER_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
