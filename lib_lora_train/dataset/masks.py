"""Masks for the masked loss: grey pictures of the same stem, in a folder apart from the training pictures.

White is learned, black is not. A mask beside its picture would itself be trained on by sd-scripts, so that is never
where one is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lib_lora_train.dataset.buckets import LATENT_STEP, CropPlan, Size
from lib_lora_train.dataset.images import open_image, read_size
from lib_lora_train.dataset.listing import (
    MASK_FOLDER,
    Concept,
    file_hash,
    file_inside,
    is_picture_name,
    list_folder,
    root_folder,
)
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings

RATIO_TOLERANCE = 0.02  # a mask drawn at another scale is off by a pixel of rounding, not by more


@dataclass(frozen=True)
class MaskFile:
    """A mask that belongs to a picture."""

    path: Path
    where: str
    content_hash: str


@dataclass
class MaskFolder:
    """The masks of one concept, by stem. `root` is the folder the user named; links must not leave it."""

    root: Path
    parts: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)

    def find(self, picture: Path, size: Size) -> MaskFile | None:
        """The mask of a picture of `size`. Raises UserError: `image.*`, "dataset.link" or "mask.size"."""
        name = self.names.get(picture.stem)
        if name is None:
            return None
        where = "/".join((self.root.name, *self.parts, name))
        path = file_inside(self.root, *self.parts, name, where=where)
        width, height = read_size(path, where)
        if abs(width * size[1] / (height * size[0]) - 1.0) > RATIO_TOLERANCE:
            raise UserError("mask.size", where, width=width, height=height, picture=f"{size[0]}x{size[1]}")
        return MaskFile(path, where, file_hash(path, where))


def mask_root(settings: DatasetSettings, training: Path) -> Path | None:
    """The folder of masks, or None when the loss is not masked.

    Raises UserError("mask.none") when it is, no folder is named and there is no `masks` folder in or beside the
    training folder; and as `root_folder` does.
    """
    if not settings.masked_loss:
        return None
    if settings.conditioning_data_dir.strip():
        return root_folder(settings.conditioning_data_dir, "conditioning_data_dir")
    for folder in (training / MASK_FOLDER, training.parent / MASK_FOLDER):
        if folder.is_dir():
            return folder.resolve()
    raise UserError("mask.none", "conditioning_data_dir")


def mask_folder(root: Path | None, concept: Concept, plain: bool) -> MaskFolder | None:
    """The masks of `concept`: in a folder of its name below `root`; for a plain folder also in `root` itself."""
    if root is None or concept.is_regularization:
        return None
    parts = () if plain and not (root / concept.name).is_dir() else (concept.name,)
    if not root.joinpath(*parts).is_dir():
        return MaskFolder(root, parts)
    folder = file_inside(root, *parts, where="/".join((root.name, *parts)))
    names = list_folder(folder, "conditioning_data_dir").files
    return MaskFolder(root, parts, {Path(name).stem: name for name in names if is_picture_name(name)})


def load_mask(mask: MaskFile, plan: CropPlan) -> Tensor:
    """The mask as (1, height/8, width/8) fp32 in 0..1: scaled and cropped as its picture, then area-resized to the
    latents.

    Raises UserError: `image.*`, or "mask.black" when nothing would be learned.
    """
    grey = open_image(mask.path, mask.where).image.convert("L")
    smaller = plan.resized[0] <= grey.width and plan.resized[1] <= grey.height
    fitted = grey.resize(plan.resized, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR).crop(plan.box)
    values = torch.from_numpy(np.array(fitted, dtype=np.float32) / 255.0)[None, None]
    height, width = plan.bucket[1] // LATENT_STEP, plan.bucket[0] // LATENT_STEP
    latents_mask = functional.interpolate(values, size=(height, width), mode="area")[0]
    if not bool(latents_mask.any()):
        raise UserError("mask.black", mask.where)
    return latents_mask
