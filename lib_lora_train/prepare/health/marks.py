"""Distinctive places of a picture, by which a part of it is known again in another one, whatever its scale."""

from __future__ import annotations

import base64
import math

import numpy as np

_SIDE = 400  # of the square whose area the picture is reduced to
_COUNT = 100
_BYTES = 18  # of a mark: two for its place, sixteen for 128 bits that tell what it looks like


def marks(grey: np.ndarray) -> str:
    """At most 100 marks, strongest first in each part of the picture: x and y in 255ths of the longer side, then the first
    128 bits of the ORB descriptor (Rublee and others, "ORB: an efficient alternative to SIFT or SURF", 2011)."""
    import cv2

    height, width = grey.shape
    scale = min(1.0, _SIDE / math.sqrt(width * height))
    if scale < 1.0:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    finder = cv2.ORB_create(
        nfeatures=_COUNT, scaleFactor=1.25, nlevels=6, edgeThreshold=19, patchSize=31, fastThreshold=12
    )
    points, descriptors = finder.detectAndCompute(grey, None)
    if descriptors is None:
        return ""
    longest = max(grey.shape)
    places = np.array([point.pt for point in points], np.float32) * (255.0 / longest)
    packed = np.concatenate([np.clip(np.rint(places), 0, 255).astype(np.uint8), descriptors[:, :16]], axis=1)
    return base64.b64encode(packed[:_COUNT].tobytes()).decode("ascii")


def marks_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """(places float32 (n, 2), bits uint8 (n, 16))."""
    data = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, _BYTES)
    return data[:, :2].astype(np.float32), data[:, 2:]
