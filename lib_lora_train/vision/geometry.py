"""Places in a picture, in pixels of the upright picture; x grows to the right, y downwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle; `right` and `bottom` lie just outside it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def center(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def scaled(self, factor: float) -> Box:
        """The same place in a picture that is `factor` times as large."""
        return Box(self.left * factor, self.top * factor, self.right * factor, self.bottom * factor)

    def moved(self, right: float, down: float) -> Box:
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def clipped(self, width: float, height: float) -> Box:
        """The part inside a picture of that size."""
        left, top = min(max(self.left, 0.0), width), min(max(self.top, 0.0), height)
        return Box(left, top, min(max(self.right, left), width), min(max(self.bottom, top), height))

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        both = max(width, 0.0) * max(height, 0.0)
        return both / (self.area + other.area - both) if both else 0.0

    def as_list(self) -> list[float]:
        """[left, top, right, bottom], to a hundredth of a pixel, as files and routes have it."""
        return [round(side, 2) for side in (self.left, self.top, self.right, self.bottom)]

    @classmethod
    def of(cls, sides: Sequence[float]) -> Box:
        """From `as_list`. Raises ValueError, TypeError."""
        left, top, right, bottom = map(float, sides)
        return cls(left, top, right, bottom)


@dataclass(frozen=True)
class Face:
    """A face that was found. `kind` is photo or drawn; `score` 0..1.

    `landmarks` are the points right eye, left eye, nose, right and left corner of the mouth (right being the person's),
    where the detector tells them.
    """

    box: Box
    score: float
    kind: str
    landmarks: tuple[tuple[float, float], ...] = ()

    def scaled(self, factor: float) -> Face:
        points = tuple((x * factor, y * factor) for x, y in self.landmarks)
        return Face(self.box.scaled(factor), self.score, self.kind, points)
