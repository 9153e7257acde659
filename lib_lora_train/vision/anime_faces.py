"""Drawn faces, by the YOLOv8 detector of deepghs (`anime_face_detection`, face_detect_v1.4_n).

Pre-processing as YOLOv8 was trained and is validated (Ultralytics' letterbox): the picture keeps its shape, is resized
(bilinear) to fit the model's input and centred on grey 114; RGB, 0..1, (1, 3, height, width). The output (1, 5, n) has
the box's centre, width and height in pixels of the input, and the score. Where the model leaves its size open, the
longer side is 640 and both sides are multiples of the largest stride, 32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib_lora_train.errors import UserError
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.sessions import OnnxModel

THRESHOLD = 0.278  # of v1.4_n: where its F1 is highest, by the model's card
MOST_OVERLAP = 0.7  # the authors' own limit for two boxes of different faces
SIDE, STRIDE, GREY = 640, 32, 114


class AnimeFaces:
    """Finds drawn faces. The boxes reach about from the hair line to the chin."""

    name = "anime-face"

    def __init__(self, model: Path, provider: str = "auto") -> None:
        """Raises UserError as `OnnxModel` does, and faces.other_model when the input is no picture."""
        self._model = OnnxModel(model, provider=provider)
        shape = self._model.inputs[0].shape
        if len(shape) != 4 or shape[1] not in (3, None):
            raise UserError("faces.other_model", model.name)
        self._file, self._height, self._width = model.name, shape[2], shape[3]

    def find(self, image: np.ndarray) -> list[Face]:
        """`image` (height, width, 3) uint8 RGB. Highest score first. Raises UserError: onnx.run, faces.other_model."""
        side = _input_side(image, self._width, self._height)
        batch, scale, (left, top) = letterbox(image, *side)
        rows = self._model.run(batch)[0]
        if rows.ndim != 3 or rows.shape[1] < 5:
            raise UserError("faces.other_model", self._file)
        rows = rows[0].astype(np.float64).T  # (n, 5): centre x and y, width, height, score
        rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 4:].max(axis=1) > THRESHOLD)]
        scores = rows[:, 4:].max(axis=1).clip(0.0, 1.0)
        half = rows[:, 2:4] / 2
        corners = np.hstack([rows[:, :2] - half, rows[:, :2] + half])
        corners = (corners - [left, top, left, top]) / scale
        height, width = image.shape[:2]
        found = [
            Face(Box(*map(float, corners[kept])).clipped(width, height), float(scores[kept]), "drawn")
            for kept in suppress(corners, scores, MOST_OVERLAP)
        ]
        return [face for face in found if face.box.area > 0]

    def close(self) -> None:
        self._model.close()


def letterbox(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float, tuple[int, int]]:
    """`image` as float32 (1, 3, height, width), 0..1; its scale; and where its left upper corner came to lie."""
    import cv2

    rows, columns = image.shape[:2]
    scale = min(width / columns, height / rows)
    inner = max(1, round(columns * scale)), max(1, round(rows * scale))
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = resized
    batch = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32) / 255.0
    return batch, scale, (left, top)


def suppress(corners: np.ndarray, scores: np.ndarray, most: float) -> list[int]:
    """Non-maximum suppression: indices of the boxes to keep, highest score first.

    A box goes when its intersection over union with one that was kept is above `most`. `corners` is (n, 4): left, top,
    right, bottom.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1)
    keep = []
    while order.size:
        best, order = order[0], order[1:]
        keep.append(int(best))
        low = np.maximum(corners[best, :2], corners[order, :2])
        high = np.minimum(corners[best, 2:], corners[order, 2:])
        both = np.maximum(high - low, 0).prod(axis=1)
        order = order[both <= most * (areas[best] + areas[order] - both)]
    return keep


def _input_side(image: np.ndarray, width: int | None, height: int | None) -> tuple[int, int]:
    if width and height:
        return width, height
    longest = max(image.shape[:2])
    columns, rows = (max(STRIDE, -(-round(side * SIDE / longest) // STRIDE) * STRIDE) for side in image.shape[1::-1])
    return width or columns, height or rows
