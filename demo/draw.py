"""The drawing program: attributes in, a 128 x 128 portrait out, with the places of its small details.

Eyes, mouth and accessories are large and outlined because the auto-encoder has only 16 x 16 cells to keep them in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from demo.attributes import ATTRIBUTES, CHARACTER, FREE, HELD_OUT, NONE, TRAITS, Portrait, sample, tags
from demo.scene import background

__all__ = [
    "ATTRIBUTES", "CHARACTER", "FREE", "HELD_OUT", "NONE", "SIZE", "TRAITS", "Drawing", "Portrait", "draw", "sample", "tags",
]  # fmt: skip

SIZE = 128  # pixels of the finished picture
CANVAS = 256  # drawn at twice the size, then reduced, for smooth edges

Color = tuple[int, int, int]
Point = tuple[float, float]

HAIR: dict[str, Color] = {
    "blonde hair": (248, 214, 74),
    "brown hair": (134, 78, 38),
    "black hair": (52, 48, 62),
    "blue hair": (50, 104, 235),
    "pink hair": (255, 130, 195),
    "green hair": (46, 178, 78),
    "red hair": (214, 42, 40),
    "purple hair": (146, 66, 208),
}
EYES: dict[str, Color] = {
    "blue eyes": (36, 112, 255),
    "green eyes": (24, 180, 62),
    "purple eyes": (164, 48, 220),
    "yellow eyes": (248, 200, 16),
    "red eyes": (232, 22, 30),
}
SKIN: tuple[Color, ...] = ((255, 224, 198), (244, 202, 168))
CLOTHES: tuple[Color, ...] = ((205, 70, 70), (64, 84, 172), (64, 150, 120), (232, 232, 238), (150, 96, 166))
OUTLINE: Color = (44, 30, 38)
MOUTH: Color = (178, 30, 46)


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


class Pen:
    """Draws in face coordinates: the origin between the cheeks, one unit = half a head's width, y downwards."""

    def __init__(self, canvas: ImageDraw.ImageDraw, center: Point, unit: float) -> None:
        self.canvas, self.center, self.unit = canvas, center, unit

    def at(self, x: float, y: float) -> Point:
        return self.center[0] + x * self.unit, self.center[1] + y * self.unit

    def width(self, width: float) -> int:
        return max(1, round(width * self.unit))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color | None, edge: float = 0.0) -> None:
        """A filled ellipse; ``edge`` adds an outline of that width around it (with ``fill=None``: only the outline)."""
        box = (*self.at(x - rx - edge, y - ry - edge), *self.at(x + rx + edge, y + ry + edge))
        self.canvas.ellipse(box, fill=fill, outline=OUTLINE if edge else None, width=self.width(edge) if edge else 0)

    def polygon(self, points: list[Point], fill: Color, edge: float = 0.0) -> None:
        places = [self.at(x, y) for x, y in points]
        if edge:
            self.canvas.line([*places, places[0], places[1]], OUTLINE, self.width(2 * edge), "curve")
        self.canvas.polygon(places, fill=fill)

    def line(self, points: list[Point], fill: Color, width: float) -> None:
        self.canvas.line([self.at(x, y) for x, y in points], fill, self.width(width), "curve")

    def arc(self, x: float, y: float, rx: float, ry: float, start: int, end: int, fill: Color, width: float) -> None:
        box = (*self.at(x - rx, y - ry), *self.at(x + rx, y + ry))
        self.canvas.arc(box, start, end, fill, self.width(width))


def shade(color: Color, factor: float) -> Color:
    """Darker for a factor below 1, lighter (towards white) above 1."""
    if factor <= 1:
        return tuple(int(c * factor) for c in color)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in color)  # type: ignore[return-value]


def draw(portrait: Portrait, rng: random.Random) -> Drawing:
    """Draw a portrait. What has no tag (clothes, skin, exact place, trees and stars) is drawn from ``rng``."""
    from demo.face import paint_face

    image = Image.new("RGB", (CANVAS, CANVAS))
    canvas = ImageDraw.Draw(image)
    background(canvas, portrait["background"], rng)
    if portrait["framing"] == "close-up":
        unit, x, y = 81.0, 128 + rng.randint(-4, 4), 141 + rng.randint(-4, 4)
    else:
        unit, x, y = 60.0, 128 + rng.randint(-6, 6), 114 + rng.randint(-5, 5)
    pen = Pen(canvas, (x, y), unit * rng.uniform(0.97, 1.03))
    boxes = paint_face(pen, portrait, rng)
    scale = SIZE / CANVAS
    pixels = [
        (kind, *(v * scale for v in (*pen.at(left, top), *pen.at(right, bottom))))
        for kind, left, top, right, bottom in boxes
    ]
    return Drawing(image.resize((SIZE, SIZE), Image.Resampling.BOX), pixels)  # type: ignore[arg-type]
