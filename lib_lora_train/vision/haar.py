"""Faces by the Haar cascades that OpenCV brought along up to version 4: for computers without any model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib_lora_train.vision.geometry import Box, Face

if TYPE_CHECKING:
    import cv2

_SIDE = 360  # the longer side that is looked at: a photograph of 12 megapixels in about 0.1 s on one core
_STEP = 1.15  # between two sizes
_FINE_SIDE, _FINE_STEP, _FINE_HITS = 80, 1.04, 7  # of the second look
# File, mirrored copy too, how many neighbouring hits make a face, and its part of a hit's square: left, top, width,
# height in sides. Of 238 parts of scikit-image's pictures without people these see a face in one (of the coins, which
# do show heads); of 100 frontal faces of its Labeled Faces in the Wild, enlarged from 25 px, they see 98. The parts are
# medians over the astronaut and the cameraman at many sizes, against YuNet's boxes; the height is then within 5%.
_CASCADES = (
    ("haarcascade_frontalface_alt2.xml", False, 6, (0.055, -0.02, 0.905, 1.12)),
    ("haarcascade_profileface.xml", True, 7, (0.19, 0.18, 0.57, 0.79)),
)


def haar_folder() -> Path | None:
    """Where the cascades are; None when this OpenCV has none (5 dropped them).

    `cv2.data` is not asked: a thread that imports OpenCV while another one does may have it without.
    """
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        return None
    folder = Path(cv2.__file__).parent / "data"
    return folder if all((folder / file).is_file() for file, *_ in _CASCADES) else None


class HaarFaces:
    """Frontal and side faces of photographs, upright, by Viola and Jones' method (2001)."""

    name = "haar"

    def __init__(self) -> None:
        """Raises ValueError where `haar_folder` has none."""
        import cv2

        folder = haar_folder()
        if folder is None:
            raise ValueError("no cascades in this OpenCV")
        self._cascades = [(cv2.CascadeClassifier(str(folder / file)), *rest) for file, *rest in _CASCADES]

    def find(self, image: np.ndarray) -> list[Face]:
        """`image` (height, width, 3) uint8 RGB. Boxes as wide and high as YuNet's; the score grows with the hits."""
        import cv2

        scale = min(1.0, _SIDE / max(image.shape[:2]))
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        smallest = max(24, round(min(size) * 0.08))
        faces = []
        for cascade, mirrored, neighbours, part in self._cascades:
            for turned in (False, True) if mirrored else (False,):
                looked_at = np.ascontiguousarray(grey[:, ::-1]) if turned else grey
                squares = cascade.detectMultiScale(looked_at, _STEP, neighbours, minSize=(smallest, smallest))
                for x, y, side, _ in np.reshape(squares, (-1, 4)).astype(float):
                    coarse = (size[0] - x - side if turned else x) / scale, y / scale, side / scale
                    face = _closer(cascade, image, coarse, turned, part)
                    if face is not None:
                        faces.append(face)
        return faces

    def close(self) -> None:
        """Nothing to unload."""


def _closer(
    cascade: cv2.CascadeClassifier,
    image: np.ndarray,
    square: tuple[float, float, float],
    turned: bool,
    part: tuple[float, float, float, float],
) -> Face | None:
    """A second look at a square (left, top, side) of the picture, as if the face were 80 px wide: in fine steps, so
    that its size is exact to some hundredths; None when there is nothing after all.
    """
    import cv2

    left, top, side = map(float, square)
    height, width = image.shape[:2]
    margin = 0.5 * side
    columns = slice(max(0, int(left - margin)), min(width, int(left + side + margin) + 1))
    rows = slice(max(0, int(top - margin)), min(height, int(top + side + margin) + 1))
    scale = _FINE_SIDE / side
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    near = cv2.cvtColor(
        cv2.resize(image[rows, columns], None, fx=scale, fy=scale, interpolation=method), cv2.COLOR_RGB2GRAY
    )
    if turned:
        near = np.ascontiguousarray(near[:, ::-1])
    low, high = round(0.7 * _FINE_SIDE), round(1.4 * _FINE_SIDE)
    squares, hits = cascade.detectMultiScale2(near, _FINE_STEP, _FINE_HITS, minSize=(low, low), maxSize=(high, high))
    if not len(squares):
        return None
    best = int(np.argmax(hits))
    x, y, found, _ = map(float, squares[best])
    if turned:
        x = near.shape[1] - x - found
    x, y, found = columns.start + x / scale, rows.start + y / scale, found / scale
    across, down, wide, high_part = part
    box = Box(x + across * found, y + down * found, x + (across + wide) * found, y + (down + high_part) * found)
    return Face(box, 1.0 - 0.5 ** (float(hits[best]) / 20), "photo")
