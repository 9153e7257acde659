"""Head, hair, face and what is worn, in the face coordinates of ``draw.Pen``; returns boxes in the same coordinates."""

from __future__ import annotations

import random

from demo.attributes import Portrait
from demo.pen import CLOTHES, EYES, HAIR, MOUTH, OUTLINE, SKIN, Color, Pen, Point, shade

Box = tuple[str, float, float, float, float]

EDGE = 0.06  # width of the dark outline of hair and worn things
SIDES = (-1, 1)
EYE_X, EYE_Y = 0.46, 0.14


def paint_face(pen: Pen, portrait: Portrait, rng: random.Random) -> list[Box]:
    """Paint everything from back to front; the boxes say where eyes, mouth, headwear and accessory are."""
    hair, skin, clothes = HAIR[portrait["hair_color"]], rng.choice(SKIN), rng.choice(CLOTHES)
    back_hair(pen, portrait["hair_style"], hair)
    body(pen, skin, clothes)
    head(pen, skin)
    eyes(pen, EYES[portrait["eye_color"]], portrait["expression"])
    mouth(pen, portrait["expression"])
    front_hair(pen, portrait["hair_style"], hair)
    boxes = [("eyes", -0.85, -0.28, 0.85, 0.52), ("mouth", -0.42, 0.5, 0.42, 0.98)]
    return boxes + accessory(pen, portrait["accessory"]) + headwear(pen, portrait["headwear"], hair)


def back_hair(pen: Pen, style: str, hair: Color) -> None:
    """The hair behind the head: each style has its own outline."""
    pen.ellipse(0, -0.12, 1.14, 1.1, hair, EDGE)
    if style == "long hair":
        pen.polygon([(-1.14, -0.1), (1.14, -0.1), (1.34, 2.0), (0.6, 2.05), (-0.6, 2.05), (-1.34, 2.0)], hair, EDGE)
    elif style == "short hair":
        for side in SIDES:
            pen.ellipse(side * 0.82, 0.4, 0.36, 0.46, hair, EDGE)
            pen.ellipse(side * 0.72, 0.3, 0.36, 0.46, hair)
    elif style == "twintails":
        for side in SIDES:
            tail = [(0.95, -0.62), (1.5, -0.5), (1.78, 0.3), (1.62, 1.35), (1.3, 1.55), (1.12, 0.7)]
            pen.polygon([(side * x, y) for x, y in tail], hair, EDGE)
            pen.ellipse(side * 1.06, -0.52, 0.17, 0.17, (240, 60, 110), EDGE)
    else:
        tail = [(0.5, -1.0), (1.05, -1.3), (1.65, -0.75), (1.7, 0.4), (1.35, 1.3), (1.15, 0.3), (0.95, -0.5)]
        pen.polygon(tail, hair, EDGE)


def body(pen: Pen, skin: Color, clothes: Color) -> None:
    pen.polygon([(-0.24, 0.8), (0.24, 0.8), (0.26, 1.4), (-0.26, 1.4)], shade(skin, 0.86))
    pen.polygon([(-0.3, 1.14), (0.3, 1.14), (1.1, 1.46), (1.26, 4), (-1.26, 4), (-1.1, 1.46)], clothes, EDGE)
    pen.polygon([(-0.34, 1.14), (0.34, 1.14), (0, 1.6)], shade(skin, 0.93))


def head(pen: Pen, skin: Color) -> None:
    for side in SIDES:
        pen.ellipse(side * 0.97, 0.16, 0.13, 0.2, skin)
    pen.polygon([(-0.93, 0.1), (0.93, 0.1), (0.62, 0.78), (0.14, 1.04), (-0.14, 1.04), (-0.62, 0.78)], skin)
    pen.ellipse(0, 0, 0.95, 0.92, skin)


def eyes(pen: Pen, iris: Color, expression: str) -> None:
    """Two large eyes, and brows that go with the expression."""
    for side in SIDES:
        x = side * EYE_X
        pen.ellipse(x, EYE_Y, 0.34, 0.36, (255, 255, 255))
        pen.ellipse(x, EYE_Y + 0.02, 0.29, 0.33, iris)
        pen.ellipse(x, EYE_Y + 0.05, 0.11, 0.15, shade(iris, 0.3))
        pen.ellipse(x - 0.1, EYE_Y - 0.13, 0.09, 0.09, (255, 255, 255))
        pen.arc(x, EYE_Y + 0.02, 0.38, 0.4, 195, 345, OUTLINE, 0.1)
        if expression == "frown":
            pen.line([(side * 0.14, -0.16), (side * 0.74, -0.4)], OUTLINE, 0.11)
        if expression == "smile":
            pen.ellipse(side * 0.66, 0.62, 0.19, 0.11, (255, 150, 150))


def mouth(pen: Pen, expression: str) -> None:
    if expression == "smile":
        points: list[Point] = [(-0.36, 0.6), (0.36, 0.6), (0.28, 0.78), (0.12, 0.9), (-0.12, 0.9), (-0.28, 0.78)]
        pen.polygon(points, MOUTH)
        pen.polygon([(-0.28, 0.6), (0.28, 0.6), (0.22, 0.7), (-0.22, 0.7)], (255, 255, 255))
    elif expression == "open mouth":
        pen.ellipse(0, 0.74, 0.2, 0.23, (120, 20, 36))
        pen.ellipse(0, 0.85, 0.12, 0.1, (245, 120, 130))
    elif expression == "frown":
        pen.arc(0, 0.92, 0.3, 0.26, 190, 350, MOUTH, 0.13)
    else:
        pen.line([(-0.26, 0.74), (0.26, 0.74)], MOUTH, 0.11)


def front_hair(pen: Pen, style: str, hair: Color) -> None:
    if style == "long hair":
        for side in SIDES:
            lock = [(0.93, -0.4), (1.16, 0), (1.26, 1.95), (0.9, 1.95), (0.9, 0.3)]
            pen.polygon([(side * x, y) for x, y in lock], hair)
    fringe = [
        (-1.0, 0.1), (-1.08, -0.4), (-0.78, -0.95), (0, -1.18), (0.78, -0.95), (1.08, -0.4), (1.0, 0.1), (0.84, -0.26),
        (0.55, -0.42), (0.36, -0.26), (0.1, -0.46), (-0.2, -0.24), (-0.4, -0.46), (-0.76, -0.24),
    ]  # fmt: skip
    pen.polygon(fringe, hair)
    pen.line([(x, y) for x, y in (fringe[6:] + fringe[:1])], OUTLINE, 0.05)
    pen.line([(-0.66, -0.78), (-0.25, -0.94), (0.2, -0.93)], shade(hair, 1.5), 0.09)


def accessory(pen: Pen, name: str) -> list[Box]:
    if name == "glasses":
        for side in SIDES:
            pen.ellipse(side * EYE_X, EYE_Y + 0.02, 0.38, 0.4, None, 0.1)
        pen.line([(-0.12, 0.1), (0.12, 0.1)], OUTLINE, 0.1)
        return [("accessory", -0.95, -0.36, 0.95, 0.65)]
    if name == "eyepatch":
        pen.line([(-0.98, -0.32), (0.95, 0.42)], (20, 18, 24), 0.1)
        pen.ellipse(EYE_X, EYE_Y + 0.02, 0.42, 0.44, (20, 18, 24))
        return [("accessory", -0.0, -0.32, 0.95, 0.65)]
    if name == "earrings":
        for side in SIDES:
            pen.ellipse(side * 1.02, 0.62, 0.2, 0.25, (255, 214, 30), EDGE)
        return [("accessory", -1.3, 0.3, -0.74, 0.95), ("accessory", 0.74, 0.3, 1.3, 0.95)]
    if name == "scarf":
        pen.polygon([(-0.8, 1.0), (0.8, 1.0), (0.9, 1.4), (-0.9, 1.4)], (244, 140, 24), EDGE)
        pen.polygon([(0.3, 1.36), (0.7, 1.36), (0.76, 2.2), (0.36, 2.2)], (244, 140, 24), EDGE)
        return [("accessory", -0.95, 0.96, 0.95, 1.5)]
    return []


def headwear(pen: Pen, name: str, hair: Color) -> list[Box]:
    if name == "cat ears":
        for side in SIDES:
            pen.polygon([(side * 1.0, -0.5), (side * 0.98, -1.55), (side * 0.22, -1.08)], hair, EDGE)
            pen.polygon([(side * 0.86, -0.8), (side * 0.86, -1.28), (side * 0.48, -1.04)], (255, 160, 178))
    elif name == "beret":
        red = (196, 36, 52)
        top = [(-1.06, -0.66), (0.96, -0.78), (1.28, -1.12), (0.6, -1.56), (-0.6, -1.48), (-1.22, -1.02)]
        pen.polygon([(x, y) for x, y in top], red, EDGE)
        pen.line([(-1.0, -0.68), (0.95, -0.8)], shade(red, 0.55), 0.1)
    elif name == "crown":
        gold = [(-0.64, -0.85), (-0.76, -1.52), (-0.34, -1.2), (0, -1.62), (0.34, -1.2), (0.76, -1.52), (0.64, -0.85)]
        pen.polygon([(x, y) for x, y in gold], (255, 208, 30), EDGE)
        pen.ellipse(0, -1.04, 0.13, 0.13, (225, 36, 60))
    elif name == "hair bow":
        for side in SIDES:
            pen.polygon([(0, -1.06), (side * 0.62, -1.5), (side * 0.62, -0.7)], (240, 60, 150), EDGE)
        pen.ellipse(0, -1.08, 0.17, 0.17, (180, 30, 110), EDGE)
    elif name == "horns":
        for side in SIDES:
            horn = [(0.36, -0.96), (0.86, -0.76), (1.26, -1.16), (1.16, -1.68), (0.88, -1.26)]
            pen.polygon([(side * x, y) for x, y in horn], (236, 220, 176), EDGE)
            pen.polygon([(side * x, y) for x, y in ((1.0, -1.44), (1.24, -1.3), (1.16, -1.68))], (150, 60, 40))
    else:
        return []
    return [("headwear", -1.2, -1.66, 1.2, -0.74)]
