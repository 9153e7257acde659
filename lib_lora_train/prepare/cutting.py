"""One crop, cut out of its original."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from lib_lora_train.prepare.frames import Crop

MODES = ("RGB", "RGBA", "L")


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """`crop` of `image` (RGB, RGBA or L), crop.width x crop.height, in the same mode.

    Resized once, by Lanczos, from the original pixels between the box's edges, which need not be whole numbers; where
    nothing is resized, the pixels are the original's. Colours under transparency do not bleed: they are weighted by
    alpha, in floating point. Raises ValueError for another mode.
    """
    if image.mode not in MODES:
        raise ValueError(f"cannot cut mode {image.mode}")
    box = crop.box.clipped(*image.size)
    sides = (box.left, box.top, box.right, box.bottom)
    whole = tuple(map(round, sides))
    size = (crop.width, crop.height)
    if max(abs(a - b) for a, b in zip(sides, whole, strict=True)) < 1e-6 and size == (
        whole[2] - whole[0],
        whole[3] - whole[1],
    ):
        found = image.crop(whole)
    else:
        # Cut first: Pillow's filter looks beyond the box, and what is cut off would shine in at the edges.
        outer = (math.floor(box.left), math.floor(box.top), math.ceil(box.right), math.ceil(box.bottom))
        inner = tuple(side - outer[number % 2] for number, side in enumerate(sides))
        found = (_weighted if image.mode == "RGBA" else _resized)(image.crop(outer), size, inner)
    return found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirror else found


def _resized(image: Image.Image, size: tuple[int, int], sides: tuple[float, float, float, float]) -> Image.Image:
    return image.resize(size, Image.Resampling.LANCZOS, box=sides)


def _weighted(image: Image.Image, size: tuple[int, int], sides: tuple[float, float, float, float]) -> Image.Image:
    """Colour times alpha, and alpha, each resized; then divided. Pillow's own way has 8 bits for it: too few."""
    pixels = np.asarray(image, dtype=np.float32)
    alpha = pixels[..., 3:] / 255
    planes = np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)
    done = [np.asarray(_resized(Image.fromarray(planes[..., index]), size, sides)) for index in range(4)]
    visible = np.maximum(done[3], 1e-3)
    colours = [np.where(done[3] > 1e-3, plane / visible, 0.0) for plane in done[:3]]
    found = np.stack([*colours, done[3] * 255], axis=2)
    return Image.fromarray(np.rint(found.clip(0, 255)).astype(np.uint8), "RGBA")
