"""What one picture is like, in plain numbers: everything that `judge` needs, so that no picture is decoded twice."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from lib_lora_train.prepare.health.borders import content
from lib_lora_train.prepare.health.detail import Tiles, cutoff, edge_widths
from lib_lora_train.prepare.health.jpeg import grid_quality
from lib_lora_train.prepare.health.lettering import lettering
from lib_lora_train.prepare.health.light import Light, light
from lib_lora_train.prepare.health.marks import marks
from lib_lora_train.prepare.health.persons import FaceMeasure, measure_face
from lib_lora_train.prepare.health.prints import prints
from lib_lora_train.signals import Log
from lib_lora_train.vision.geometry import Face

MEASURES_VERSION = 1  # with every change of what a number means; kept measures of another version are taken anew
_WORK = 448  # side of the square whose area the reduced picture has
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Measures:
    """Of one picture. Lengths are shares of the picture where not said otherwise.

    `digest`: of the decoded pixels. `edges`: [side, width, across] for some reductions of the picture, largest first:
    side of the square of that area in pixels; width of the sharp edges there in pixels (standard deviation of a Gaussian
    blur); the same in the direction in which they are widest. `detail`: highest frequency that holds something, as a
    share of what the pixels could hold, 0..1. `quality`: of the JPEG compression that can be seen in the pixels,
    1..100; 100 for none. `light`: see `light.Light`. `content`: [left, top, right, bottom] inside borders of one colour.
    `letters`: share of the picture's width that the longest line of lettering takes. `opaque`: whether the file has no
    transparency. `prints`, `mirrored`: perceptual hashes of the picture and of its mirror image, hexadecimal.
    `thumbnail`: 32 x 32 RGB, base64. `marks`, `mirrored_marks`: places and descriptors, base64 (see `marks.marks`).
    `faces`: largest first.
    """

    width: int
    height: int
    digest: str
    edges: tuple[tuple[float, float, float], ...]
    detail: float
    quality: float
    light: Light
    content: tuple[float, float, float, float]
    letters: float
    opaque: bool
    prints: str
    mirrored: str
    thumbnail: str
    marks: str
    mirrored_marks: str
    faces: tuple[FaceMeasure, ...]

    @property
    def side(self) -> float:
        """Of the square of the same area, in pixels."""
        return math.sqrt(self.width * self.height)

    def as_dict(self) -> dict[str, object]:
        """For JSON, with the version."""
        return {"version": MEASURES_VERSION, **asdict(self)}

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Measures:
        """From `as_dict`. Raises ValueError, KeyError, TypeError, for another version too."""
        if values["version"] != MEASURES_VERSION:
            raise ValueError("measures of another version")
        given = {item.name: values[item.name] for item in fields(cls)}
        given["edges"] = tuple((float(a), float(b), float(c)) for a, b, c in given["edges"])
        left, top, right, bottom = map(float, given["content"])
        given["content"] = (left, top, right, bottom)
        given["light"] = Light(**given["light"])
        given["faces"] = tuple(FaceMeasure.of(face) for face in given["faces"])
        return cls(**given)


def measure(image: np.ndarray, faces: Sequence[Face], notes: Sequence[Log] = (), file: Path | None = None) -> Measures:
    """One pass over a picture. `image`: uint8 RGB (height, width, 3), the full picture, upright. `faces`: those that were
    found in it, in its pixels. `notes`: those of `open_image`, which tell of transparency. `file` is not read: all there
    is to know stands in the pixels, which a careful save of a bad picture does not change."""
    import cv2

    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(image)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _WORK / math.sqrt(width * height))
    size = (max(round(width * scale), 8), max(round(height * scale), 8))
    small = pixels if scale == 1.0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small_grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    inner = content(small)
    left, top, right, bottom = inner
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    inside = grey[box[1] : box[3], box[0] : box[2]]
    tiles = Tiles.of(inside)
    rows, columns = small.shape[:2]
    shown = (
        slice(round(top * rows), max(round(bottom * rows), round(top * rows) + 1)),
        slice(round(left * columns), max(round(right * columns), round(left * columns) + 1)),
    )
    own, mirrored = prints(small)
    return Measures(
        width=width,
        height=height,
        digest=_digest(pixels),
        edges=edge_widths(inside, tiles, width * height),
        detail=cutoff(tiles),
        quality=grid_quality(tiles, (box[1] % 8, box[0] % 8)),
        light=light(small[shown]),
        content=inner,
        letters=lettering(small[shown]),
        opaque=all(note.code != "image.alpha" for note in notes),
        prints=own.hashes,
        mirrored=mirrored.hashes,
        thumbnail=own.thumbnail,
        marks=marks(small_grey),
        mirrored_marks=marks(np.ascontiguousarray(small_grey[:, ::-1])),
        faces=tuple(measure_face(face, pixels) for face in faces),
    )


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    flat = memoryview(pixels).cast("B")
    for start in range(0, len(flat), _CHUNK):
        digest.update(flat[start : start + _CHUNK])
    return digest.hexdigest()
