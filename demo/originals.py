"""The character's pictures as somebody brings them: stills with black bars, larger than they are trained at, no captions."""

from __future__ import annotations

import random

from PIL.Image import Image
from PIL.Image import new as new_image

from demo.attributes import CHARACTER, Portrait
from demo.character import SETTINGS, free_tags
from demo.draw import CANVAS, draw_large

#: Width of the bars (at the left and right, at the top and bottom) in pixels, in turn: a film's, a telephone's, a frame.
BARS = ((96, 0), (0, 64), (40, 40))


def portraits(seed: int = 0, n: int = SETTINGS.images, character: Portrait = CHARACTER) -> list[Portrait]:
    """What is to be seen in the pictures of ``originals``."""
    rng = random.Random(seed)
    return [{**character, **free_tags(index, rng)} for index in range(n)]


def frame(index: int) -> tuple[int, int, int, int]:
    """Where the drawing lies in picture ``index``: left, top, right, bottom."""
    across, down = BARS[index % len(BARS)]
    return across, down, across + CANVAS, down + CANVAS


def originals(seed: int = 0, n: int = SETTINGS.images, character: Portrait = CHARACTER) -> list[Image]:
    """The character's pictures: each a drawing of 256 x 256 within black bars."""
    rng = random.Random(f"{seed} strokes")
    pictures = []
    for index, portrait in enumerate(portraits(seed, n, character)):
        left, top, right, bottom = frame(index)
        picture = new_image("RGB", (left + right, top + bottom))
        picture.paste(draw_large(portrait, rng).image, (left, top))
        pictures.append(picture)
    return pictures
