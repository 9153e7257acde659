"""The backgrounds of the portraits."""

from __future__ import annotations

import random

from PIL import ImageDraw

Color = tuple[int, int, int]

BASE: dict[str, Color] = {
    "white background": (250, 250, 250),
    "blue sky": (142, 204, 252),
    "night sky": (24, 28, 84),
    "forest": (58, 124, 70),
    "pink background": (252, 192, 214),
    "sunset": (250, 152, 74),
}


def background(canvas: ImageDraw.ImageDraw, name: str, rng: random.Random) -> None:
    """Fill the 256 x 256 canvas with the background ``name``; small things in it differ a little each time."""
    canvas.rectangle((0, 0, 256, 256), fill=BASE[name])
    if name == "blue sky":
        for x, y in ((34, 48), (222, 66)):
            cloud(canvas, x + rng.randint(-10, 10), y + rng.randint(-10, 10))
    elif name == "night sky":
        for x, y in ((22, 30), (60, 14), (20, 96), (44, 150), (196, 16), (234, 52), (226, 120), (240, 178)):
            x, y = x + rng.randint(-6, 6), y + rng.randint(-6, 6)
            canvas.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(252, 246, 190))
    elif name == "forest":
        for x in range(-16, 280, 58):
            x = x + rng.randint(-5, 5)
            canvas.polygon([(x - 40, 226), (x + 40, 226), (x, rng.randint(10, 44))], fill=(34, 92, 50))
        canvas.rectangle((0, 222, 256, 256), fill=(98, 164, 84))
    elif name == "sunset":
        canvas.rectangle((0, 0, 256, 84), fill=(216, 94, 112))
        canvas.rectangle((0, 196, 256, 256), fill=(148, 70, 104))
        x = 216 + rng.randint(-8, 8)
        canvas.ellipse((x - 30, 112, x + 30, 172), fill=(255, 232, 120))


def cloud(canvas: ImageDraw.ImageDraw, x: int, y: int) -> None:
    for dx, dy, radius in ((-22, 5, 15), (0, -3, 22), (22, 5, 15)):
        canvas.ellipse(
            (x + dx - radius, y + dy - radius * 0.7, x + dx + radius, y + dy + radius * 0.7), fill=(255, 255, 255)
        )
