"""Where a picture has most to see: saliency, outlines, entropy, and the faces that were found.

Faces, entropy and edges have the weights of AUTOMATIC1111's focal crop. There each gives one point and the points are
averaged, so that the result may lie between two things; here each is spread over the picture as a share of 1, and a
crop is laid where it gathers most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib_lora_train.vision.geometry import Box, Face

SALIENCY_WEIGHT = 0.5  # A1111 has none; as much as edges
_SIDE = 128  # the longer side of the reduced picture
_LOW = 0.9  # below this share of the height, where watermarks and captions stand, things count half


@dataclass(frozen=True)
class Interest:
    """`density` is float64 (rows, columns), sum 1; `scale` is its pixels per pixel of the picture."""

    density: np.ndarray
    scale: float
    width: int
    height: int

    def within(self, box: Box) -> float:
        """The share of all interest inside a box, 0..1."""
        return float(_shares(box.top, box.bottom, self.scale, self.density.shape[0]) @ self.density @ _shares(box.left, box.right, self.scale, self.density.shape[1]))  # fmt: skip

    def best(self, width: float, height: float, inside: Box, avoid: Sequence[Box] = ()) -> Box:
        """The place of a width x height box in `inside` that gathers most; what lies in `avoid` counts nothing.

        What is in the middle of the box counts more than at its edges, so that the subject is not cut in half.
        """
        density = self.density.copy()
        for box in avoid:
            top, left = int(box.top * self.scale), int(box.left * self.scale)
            density[top : round(box.bottom * self.scale), left : round(box.right * self.scale)] = 0.0
        left = _best_start(density.sum(axis=0), width, inside.left, inside.right, self.scale)
        top = _best_start(density.sum(axis=1), height, inside.top, inside.bottom, self.scale)
        return Box(left, top, left + width, top + height)


def interest(
    image: np.ndarray, faces: Sequence[Face] = (), *, face: float = 0.9, entropy: float = 0.15, edges: float = 0.5
) -> Interest:
    """The interest of `image` (height, width, 3) uint8 RGB with the given weights, each 0..1.

    The work is done on a picture of 128 px, so that it costs milliseconds. A picture of one colour has its interest
    in the middle.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    around_middle = _bell(size[1])[:, None] * _bell(size[0])[None, :]
    calm = around_middle.copy()
    calm[int(size[1] * _LOW) :] *= 0.5
    parts = ((SALIENCY_WEIGHT, saliency(grey)), (edges, _outlines(grey)), (entropy, _entropy(grey)))
    density = sum(weight * _share_of_one(part.astype(np.float64) * calm) for weight, part in parts)
    if faces and face:
        density = density + face * _share_of_one(_on_faces(faces, density.shape, scale))
    total = density.sum()
    return Interest(density / total if total > 0 else _share_of_one(around_middle), scale, width, height)


def saliency(grey: np.ndarray) -> np.ndarray:
    """Spectral residual (Hou and Zhang, CVPR 2007) of float32 (rows, columns): what the log spectrum has beyond its
    own average over 3 x 3, turned back with the phase, squared and blurred. Largest value 1, or all 0.
    """
    import cv2

    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    if small.std() < 1.0:
        return np.zeros_like(grey)
    spectrum = np.fft.fft2(small)
    log = np.log1p(np.abs(spectrum)).astype(np.float32)  # 1 + : an empty spectrum says nothing
    residual = log - sum(np.roll(log, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)) / 9
    found = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    found = cv2.GaussianBlur(found.astype(np.float32), (0, 0), 2.5)
    found = cv2.resize(found, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return found / max(float(found.max()), 1e-12)


def _outlines(grey: np.ndarray) -> np.ndarray:
    import cv2

    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    length = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return np.maximum(length - 16.0, 0.0)  # less is noise of the camera


def _entropy(grey: np.ndarray, levels: int = 8) -> np.ndarray:
    """Bits of the distribution of grey levels around each pixel."""
    import cv2

    classes = np.minimum(grey * (levels / 256), levels - 1).astype(np.int64)
    shares = np.stack([cv2.blur((classes == level).astype(np.float32), (9, 9)) for level in range(levels)])
    return -(shares * np.log2(np.maximum(shares, 1e-9))).sum(axis=0)


def _on_faces(faces: Sequence[Face], shape: tuple[int, int], scale: float) -> np.ndarray:
    """Spread over the faces' boxes; a face of half the height of the largest counts half."""
    largest = max(face.box.height for face in faces)
    found = np.zeros(shape)
    for face in faces:
        rows = _shares(face.box.top, face.box.bottom, scale, shape[0])
        columns = _shares(face.box.left, face.box.right, scale, shape[1])
        found += _share_of_one(rows[:, None] * columns[None, :]) * (face.box.height / max(largest, 1e-9))
    return found


def _shares(start: float, end: float, scale: float, count: int) -> np.ndarray:
    """How much of each of `count` cells lies between two places of the picture, 0..1."""
    cells = np.arange(count)
    return (np.minimum(end * scale, cells + 1) - np.maximum(start * scale, cells)).clip(0.0, 1.0)


def _best_start(profile: np.ndarray, length: float, low: float, high: float, scale: float) -> float:
    """Where an interval of `length` between `low` and `high` gathers most of `profile`, in pixels of the picture."""
    free = max(high - low - length, 0.0)
    starts = np.linspace(low, low + free, max(2, 2 * round(free * scale) + 1))
    cells = (np.arange(len(profile)) + 0.5) / scale
    place = (cells[None, :] - starts[:, None]) / max(length, 1e-9)  # 0..1 inside the interval
    covered = (np.minimum(place, 1 - place) * length * scale + 0.5).clip(0, 1)  # of each cell
    taper = covered * (0.4 + 0.6 * np.sin(np.pi * place.clip(0, 1)))
    gathered = taper @ profile
    best = np.flatnonzero(gathered >= 0.995 * gathered.max())  # no better than the middle, then the middle
    middle = low + free / 2
    return float(min(starts[best], key=lambda start: abs(start - middle)))


def _bell(count: int) -> np.ndarray:
    """People put what matters near the middle (Judd et al., 2009): 1 there, 0.6 at the edges."""
    place = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    return 1.0 - 0.4 * place**2


def _share_of_one(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total > 0 else np.zeros_like(values)
