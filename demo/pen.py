"""Colours, and a pen that draws in face coordinates."""

from __future__ import annotations

from PIL import ImageDraw

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
