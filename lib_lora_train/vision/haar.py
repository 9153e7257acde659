"""Faces by the Haar cascades that OpenCV brought along up to version 4: for computers without any model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib_lora_train.vision.geometry import Box, Face

_SIDE = 360  # the longer side that is looked at: a photograph of 12 megapixels in about 0.1 s on one core
_STEP = 1.2  # between two sizes
# File, mirrored copy too, how many neighbouring hits make a face, and its part of a hit's square: left, top, width,
# height in sides. On 475 parts of scikit-image's pictures without faces these find faces only among the coins (which
# do show heads), and 96 of 100 frontal faces of its Labeled Faces in the Wild. The parts are medians over those faces
# and over the astronaut and the cameraman, against YuNet's boxes.
_CASCADES = (
    ("haarcascade_frontalface_alt2.xml", False, 5, (0.07, -0.01, 0.87, 1.09)),
    ("haarcascade_profileface.xml", True, 6, (0.21, 0.2, 0.58, 0.76)),
)


def haar_folder() -> Path | None:
    """Where the cascades are; None when this OpenCV has none (5 dropped them)."""
    import cv2

    data = getattr(cv2, "data", None)
    if not hasattr(cv2, "CascadeClassifier") or data is None:
        return None
    folder = Path(data.haarcascades)
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
                squares, hits = cascade.detectMultiScale2(looked_at, _STEP, neighbours, minSize=(smallest, smallest))
                for (x, y, side, _), count in zip(squares, hits, strict=True):
                    box = _part(float(size[0] - x - side if turned else x), float(y), float(side), part)
                    faces.append(Face(box, 1.0 - 0.5 ** (float(count) / neighbours), "photo").scaled(1 / scale))
        return faces

    def close(self) -> None:
        """Nothing to unload."""


def _part(x: float, y: float, side: float, part: tuple[float, float, float, float]) -> Box:
    left, top, width, height = part
    return Box(x + left * side, y + top * side, x + (left + width) * side, y + (top + height) * side)
