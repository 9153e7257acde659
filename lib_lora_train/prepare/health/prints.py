"""Fingerprints of a whole picture: two that look alike have like ones."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

THUMBNAIL = 32  # pixels a side, whatever the picture's shape


@dataclass(frozen=True)
class Prints:
    """`hashes`: 192 bits, hexadecimal: dHash along rows, dHash along columns, pHash. `thumbnail`: RGB, base64."""

    hashes: str
    thumbnail: str


def prints(image: np.ndarray) -> tuple[Prints, Prints]:
    """Of an RGB picture and of its mirror image."""
    import cv2

    thumbnail = cv2.resize(np.ascontiguousarray(image), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    mirror = np.ascontiguousarray(thumbnail[:, ::-1])
    return _prints(thumbnail), _prints(mirror)


def _prints(thumbnail: np.ndarray) -> Prints:
    import cv2

    grey = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # dHash (Krawetz, "Kind of like that", 2013): is a place brighter than the one before it?
    rows = np.diff(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), axis=1) > 0
    columns = np.diff(cv2.resize(grey, (8, 9), interpolation=cv2.INTER_AREA), axis=0) > 0
    # pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010): is a low frequency above
    # the middle of them?
    low = cv2.dct(grey)[:8, :8]
    frequencies = low > np.median(low.ravel()[1:])
    bits = np.concatenate([rows.ravel(), columns.ravel(), frequencies.ravel()])
    return Prints(np.packbits(bits).tobytes().hex(), base64.b64encode(thumbnail.tobytes()).decode("ascii"))


def bits_of(hashes: list[str]) -> np.ndarray:
    """(pictures, 192) of -1 and 1, float32, so that a product of matrices counts equal bits."""
    data = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(data, axis=1).astype(np.float32) * 2 - 1


def thumbnail_of(text: str) -> np.ndarray:
    """uint8 RGB (32, 32, 3)."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(THUMBNAIL, THUMBNAIL, 3)
