"""Faces in a picture: YuNet for photographs, YOLOv8 for drawings, Haar cascades where no model is on the computer.

The box of a face reaches from the middle of the forehead to the chin and from temple to temple, as YuNet's boxes do
(the convention of WIDER FACE); a whole head is about 1.4 times as high. The other detectors' boxes are brought to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log
from lib_lora_train.vision.anime_faces import AnimeFaces
from lib_lora_train.vision.geometry import Box, Face
from lib_lora_train.vision.haar import HaarFaces, haar_folder

if TYPE_CHECKING:
    from lib_lora_train.vision.store import ModelStore

MEDIA = ("auto", "drawn", "photo")
SMALLEST = 8.0  # pixels; less is no face that anybody could train on
SAME_FACE = 0.3  # intersection over union from which two boxes are one face; YuNet's own value
_SCORE = 0.8  # of scikit-image's pictures, faces reach 0.89 and more, other things up to 0.76
# Longer sides to look at. YuNet was trained on faces of 10 to 300 px: the first finds what fills the picture.
_SIDES = (256, 640)
_CLOSER = 1280  # tried when nothing was found and the picture is large
_ROW = 15  # x, y, width, height; right eye, left eye, nose, right and left corner of the mouth; score


class Detector(Protocol):
    """`find` takes (height, width, 3) uint8 RGB."""

    name: str

    def find(self, image: np.ndarray) -> list[Face]: ...

    def close(self) -> None: ...


class Yunet(Protocol):
    """What is used of cv2.FaceDetectorYN."""

    def setInputSize(self, size: tuple[int, int]) -> None: ...  # noqa: N802 - OpenCV's name

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]: ...


class YunetFaces:
    """Faces of photographs by YuNet (Wu, Peng and Yu, 2023), through OpenCV. `detector` is for tests."""

    name = "yunet"

    def __init__(self, model: Path, detector: Yunet | None = None) -> None:
        """Raises UserError("faces.yunet") when this OpenCV cannot use the file: the 2023 model needs 4.8."""
        import cv2

        try:
            self._detector = detector or cv2.FaceDetectorYN.create(str(model), "", (64, 64), _SCORE, SAME_FACE, 1000)
            self._rows(np.zeros((64, 64, 3), np.uint8))
        except (cv2.error, AttributeError) as error:
            raise UserError("faces.yunet", model.name, version=cv2.__version__) from error

    def find(self, image: np.ndarray) -> list[Face]:
        """Highest score first."""
        longest = max(image.shape[:2])
        faces = [face for side in _SIDES if side == _SIDES[0] or longest > _SIDES[0] for face in self._at(image, side)]
        if not faces and longest > _SIDES[-1]:
            faces = self._at(image, _CLOSER)
        return merged(faces)

    def close(self) -> None:
        """Nothing to unload: the network is a quarter of a megabyte."""

    def _at(self, image: np.ndarray, side: int) -> list[Face]:
        import cv2

        scale = min(1.0, side / max(image.shape[:2]))
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        return [_face(row.tolist(), 1 / scale) for row in self._rows(small[:, :, ::-1]) if np.isfinite(row).all()]

    def _rows(self, bgr: np.ndarray) -> np.ndarray:
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows = self._detector.detect(np.ascontiguousarray(bgr))[1]
        return np.zeros((0, _ROW), np.float32) if rows is None else rows


def _face(row: Sequence[float], factor: float) -> Face:
    left, top, width, height = row[:4]
    points = tuple(zip(row[4:14:2], row[5:14:2], strict=True))
    return Face(Box(left, top, left + width, top + height), min(row[14], 1.0), "photo", points).scaled(factor)


class FaceFinder:
    """Finds faces with what is on the computer; never downloads.

    `medium` is one of `MEDIA`: photo looks for photographed faces only, drawn for drawn ones only if there is a
    detector for them, auto for both. Detectors are loaded with the first picture.
    """

    def __init__(self, store: ModelStore | None, medium: str = "auto", provider: str = "auto") -> None:
        if medium not in MEDIA:
            raise ValueError(f"no such medium: {medium}")
        self._store, self._medium, self._provider = store, medium, provider
        self._detectors: list[Detector] | None = None
        self._notes: list[Log] = []

    def find(self, image: np.ndarray) -> list[Face]:
        """Faces of `image` (height, width, 3) uint8 RGB, largest first, each inside the picture.

        Raises UserError("onnx.run") when a model fails in the middle.
        """
        height, width = image.shape[:2]
        found = merged([face for detector in self._loaded() for face in detector.find(image)])
        inside = [Face(face.box.clipped(width, height), face.score, face.kind, face.landmarks) for face in found]
        inside = [face for face in inside if min(face.box.width, face.box.height) >= SMALLEST]
        return sorted(inside, key=lambda face: -face.box.area)

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the detectors: yunet, anime-face, haar. Empty where there is none."""
        return tuple(detector.name for detector in self._loaded())

    @property
    def notes(self) -> tuple[Log, ...]:
        """What a person should know about the result: which faces may be missed, which files could not be used."""
        self._loaded()
        return tuple(self._notes)

    def close(self) -> None:
        """Unloads the models; the next `find` loads them again."""
        for detector in self._detectors or []:
            detector.close()
        self._detectors = None

    def _loaded(self) -> list[Detector]:
        if self._detectors is None:
            self._notes = []
            self._detectors = self._load()
        return self._detectors

    def _load(self) -> list[Detector]:
        drawn = self._drawn() if self._medium != "photo" else None
        if self._medium == "drawn" and drawn is not None:
            return [drawn]
        photo = self._photo()
        if self._medium != "photo" and drawn is None:
            self._notes.append(Log("faces.no_drawn_detector", level="warning"))
        if photo is None:
            self._notes.append(Log("faces.no_detector", level="warning"))
        elif photo.name == HaarFaces.name:
            self._notes.append(Log("faces.haar_only"))
        return [detector for detector in (photo, drawn) if detector is not None]

    def _drawn(self) -> Detector | None:
        try:
            model = self._model("anime-face")
            return AnimeFaces(model, self._provider) if model else None
        except UserError as error:
            self._complain(error)
        return None

    def _photo(self) -> Detector | None:
        try:
            model = self._model("yunet")
            if model:
                return YunetFaces(model)
        except UserError as error:
            self._complain(error)
        return HaarFaces() if haar_folder() else None

    def _model(self, name: str) -> Path | None:
        folder = self._store.find(name) if self._store else None
        return (
            next(iter(sorted(folder.glob("*yunet_2023mar.onnx" if name == "yunet" else "*.onnx"))), None)
            if folder
            else None
        )

    def _complain(self, error: UserError) -> None:
        self._notes.append(Log(error.code, {"where": error.where, **error.values}, level="warning"))


def merged(faces: Sequence[Face]) -> list[Face]:
    """One of each face, highest score first. Two boxes are one face when they overlap, or one's middle is in the other."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _same(one: Box, other: Box) -> bool:
    small, large = sorted((one, other), key=lambda box: box.area)
    x, y = small.center
    return one.overlap(other) > SAME_FACE or (large.left < x < large.right and large.top < y < large.bottom)
