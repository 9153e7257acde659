"""One crop, cut out of its original."""

from __future__ import annotations

from PIL import Image

from lib_lora_train.prepare.frames import Crop

MODES = ("RGB", "RGBA", "L")


def cut(image: Image.Image, crop: Crop) -> Image.Image:
    """`crop` of `image` (RGB, RGBA or L), crop.width x crop.height, in the same mode.

    Resized once, by Lanczos, from the original pixels between the box's edges, which need not be whole numbers; where
    nothing is resized, the pixels are the original's. Colours under transparency do not bleed: they are weighted by
    alpha (Pillow does so for RGBA). Raises ValueError for another mode.
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
        found = image.resize(size, Image.Resampling.LANCZOS, box=sides)
    return found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.mirror else found
