"""Drawings of known opacity before photographs, or before made-up textures where scikit-image is not installed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from demo.attributes import Portrait, sample
from demo.face import paint_face
from demo.pen import Pen
from lib_lora_train.vision.geometry import Box, Face

# In scikit-image's wheel; its other pictures would be downloaded.
PHOTOGRAPHS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "brick.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "coins.png",
)  # fmt: skip
SIZES = ((512, 512), (384, 512), (512, 384), (448, 576), (640, 448))
_FINE = 4  # drawn at so many times the size, then reduced: smooth edges, and an opacity of 17 steps


@dataclass(frozen=True)
class Composite:
    """`picture` and the true `subject` uint8 (h, w, 3), `alpha` float32 (h, w); `subject` is 0 where alpha is."""

    picture: np.ndarray
    subject: np.ndarray
    alpha: np.ndarray
    face: Face


def composite(seed: int) -> Composite:
    """One of endlessly many; the first ten have each another photograph."""
    rng = random.Random(seed)
    portrait = sample(rng, held_out=0.2)
    width, height = rng.choice(SIZES)
    unit = rng.uniform(0.13, 0.24) * min(width, height)
    x, y = width * rng.uniform(0.38, 0.62), height * rng.uniform(0.36, 0.5)
    look = rng.randrange(1 << 30)
    black, white = (_layer(portrait, look, (width, height), shade, (x, y), unit) for shade in (0, 255))
    alpha = np.clip(1.0 - (white - black).mean(axis=2) / 255.0, 0.0, 1.0)
    behind = photograph(seed % len(PHOTOGRAPHS), (width, height), rng)
    picture = np.rint(np.clip(black + (1.0 - alpha[:, :, None]) * behind, 0, 255)).astype(np.uint8)
    subject = np.where(alpha[:, :, None] > 0, black / np.maximum(alpha[:, :, None], 1e-6), 0)
    face = Face(Box(x - 0.95 * unit, y - 0.6 * unit, x + 0.95 * unit, y + unit), 0.9, "drawn")
    return Composite(picture, np.rint(np.clip(subject, 0, 255)).astype(np.uint8), alpha, face)


def _layer(
    portrait: Portrait, look: int, size: tuple[int, int], shade: int, center: tuple[float, float], unit: float
) -> np.ndarray:
    """The portrait on one grey: what differs between two greys is what is not covered."""
    canvas = Image.new("RGB", (size[0] * _FINE, size[1] * _FINE), (shade,) * 3)
    pen = Pen(ImageDraw.Draw(canvas), (center[0] * _FINE, center[1] * _FINE), unit * _FINE)
    paint_face(pen, portrait, random.Random(look))
    return np.asarray(canvas.resize(size, Image.Resampling.BOX), np.float32)


def photograph(number: int, size: tuple[int, int], rng: random.Random) -> np.ndarray:
    """float32 (h, w, 3): a random part of one."""
    if find_spec("skimage") is None:
        return texture(number, size)
    import skimage.data

    image = Image.open(Path(skimage.data.__file__).parent / PHOTOGRAPHS[number]).convert("RGB")
    scale = max(size[0] / image.width, size[1] / image.height) * rng.uniform(1.0, 1.4)
    image = image.resize((int(image.width * scale) + 1, int(image.height * scale) + 1), Image.Resampling.BICUBIC)
    left, top = rng.randint(0, image.width - size[0]), rng.randint(0, image.height - size[1])
    return np.asarray(image.crop((left, top, left + size[0], top + size[1])), np.float32)


def texture(number: int, size: tuple[int, int]) -> np.ndarray:
    """float32 (h, w, 3): noise of three scales in two colours, as stone, leaves or clouds have it."""
    rng = np.random.default_rng(number)
    total = np.zeros((size[1], size[0]), np.float32)
    for cells, weight in ((3, 1.0), (12, 0.6), (60, 0.4)):
        grain = Image.fromarray(rng.random((cells, cells), np.float32))
        total += weight * np.asarray(grain.resize(size, Image.Resampling.BICUBIC))
    share = np.clip(total / 2.0, 0, 1)[:, :, None]
    first, second = rng.uniform(20, 160, 3), rng.uniform(90, 235, 3)
    return (first * share + second * (1 - share)).astype(np.float32)


def overlap(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of what is more than half opaque."""
    found, true = alpha > 0.5, truth > 0.5
    return float((found & true).sum() / max(1, (found | true).sum()))
