"""The drawing program: attributes in, a 128 x 128 portrait out, with the places of its small details.

Eyes, mouth and accessories are large and outlined because the auto-encoder has only 16 x 16 cells to keep them in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from demo.attributes import ATTRIBUTES, CHARACTER, FREE, HELD_OUT, NONE, TRAITS, Portrait, sample, tags
from demo.face import paint_face
from demo.pen import Pen
from demo.scene import background

__all__ = [
    "ATTRIBUTES", "CANVAS", "CHARACTER", "FREE", "HELD_OUT", "NONE", "SIZE", "TRAITS", "Drawing", "Portrait", "draw",
    "draw_large", "sample", "tags",
]  # fmt: skip

SIZE = 128  # pixels of the finished picture
CANVAS = 256  # drawn at twice the size, then reduced, for smooth edges


@dataclass
class Drawing:
    """A picture and the boxes of its details: ``(kind, left, top, right, bottom)`` in pixels of the picture."""

    image: Image.Image
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    def mask(self, cell: int = 8, kinds: tuple[str, ...] = ("eyes", "mouth", "accessory", "headwear")) -> np.ndarray:
        """Share of each ``cell`` x ``cell`` square that a detail box covers: float32 ``(128 / cell, 128 / cell)``."""
        full = np.zeros((SIZE, SIZE), np.float32)
        for kind, left, top, right, bottom in self.boxes:
            if kind in kinds:
                full[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = 1
        count = SIZE // cell
        return full.reshape(count, cell, count, cell).mean((1, 3))


def draw(portrait: Portrait, rng: random.Random) -> Drawing:
    """Draw a portrait. What has no tag (clothes, skin, exact place, trees and stars) is drawn from ``rng``."""
    large = draw_large(portrait, rng)
    scale = SIZE / CANVAS
    boxes = [(kind, *(side * scale for side in sides)) for kind, *sides in large.boxes]
    return Drawing(large.image.resize((SIZE, SIZE), Image.Resampling.BOX), boxes)  # type: ignore[arg-type]


def draw_large(portrait: Portrait, rng: random.Random) -> Drawing:
    """As ``draw``, before it is reduced: 256 x 256, with its edges not yet smooth and boxes in its own pixels."""
    image = Image.new("RGB", (CANVAS, CANVAS))
    canvas = ImageDraw.Draw(image)
    background(canvas, portrait["background"], rng)
    if portrait["framing"] == "close-up":
        unit, x, y = 81.0, 128 + rng.randint(-4, 4), 141 + rng.randint(-4, 4)
    else:
        unit, x, y = 60.0, 128 + rng.randint(-6, 6), 114 + rng.randint(-5, 5)
    pen = Pen(canvas, (x, y), unit * rng.uniform(0.97, 1.03))
    boxes = [
        (kind, *pen.at(left, top), *pen.at(right, bottom))
        for kind, left, top, right, bottom in paint_face(pen, portrait, rng)
    ]
    return Drawing(image, boxes)
