"""Which part of a picture is its subject: ISNet-anime and BiRefNet through ONNX Runtime, and GrabCut without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import EventSink, Log, ignore_events
from lib_lora_train.vision.geometry import Face
from lib_lora_train.vision.grabcut import grabcut_matte
from lib_lora_train.vision.models import known_model
from lib_lora_train.vision.sessions import OnnxModel
from lib_lora_train.vision.store import ModelStore

GRABCUT = "grabcut"
ISNET = "isnet-anime"
_ORDERS = {
    "drawn": (ISNET, "birefnet", "birefnet-lite"),
    "photo": ("birefnet", "birefnet-lite"),
    "": ("birefnet", "birefnet-lite", ISNET),
}
_SIDE = 1024  # of the input, where the graph leaves it open
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's, of RGB 0..1
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_AT_ONCE = 4  # pictures in one batch of a model that takes any number; on a CPU, where that gains nothing, 1
_TOLERANCE = 0.01  # by which a probability may miss 0..1 in half precision

Place = tuple[int, int, int, int]  # left, top, width, height of the picture in the model's input


class MatteModel:
    """One matting model, loaded. Pre-processing is the authors':

    - ISNet-anime (SkyTNT/anime-segmentation, `inference.py`): RGB 0..1, the picture scaled (bilinear) to fit, centred
      on black; the mask is cut out of the answer and scaled back.
    - BiRefNet (ZhengPeng7/BiRefNet, its inference notebook): the picture resized (Pillow's bilinear) to the input
      whatever its shape, RGB 0..1 less ImageNet's mean, over its deviation; the answer is output 0.

    Exports differ in whether the sigmoid is part of the graph. The range decides: once an answer leaves 0..1, this
    model's answers are logits from then on. The mask is never stretched to 0..1: nothing found stays nothing.
    """

    def __init__(
        self, file: Path, *, padded: bool, provider: str = "auto", threads: int | None = None, events: EventSink = ignore_events
    ) -> None:  # fmt: skip
        """`padded` is ISNet's way, else BiRefNet's. Raises UserError as `OnnxModel`, or "matte.no_matte_model"."""
        self._file, self._padded = file, padded
        self._model = OnnxModel(file, provider=provider, threads=threads, events=events)
        shapes = [port.shape for port in self._model.inputs]
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None) or not self._model.outputs:
            self._model.close()
            raise UserError("matte.no_matte_model", file.name)
        self.height, self.width = shapes[0][2] or _SIDE, shapes[0][3] or _SIDE
        self._logits = False

    @property
    def provider(self) -> str:
        return self._model.provider

    def close(self) -> None:
        """Unloads the model. May be called twice."""
        self._model.close()

    def mattes(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each uint8 RGB (height, width, 3) a float32 (height, width) 0..1.

        Raises UserError: "onnx.run", "matte.no_matte_model" for an answer that is no picture, "matte.not_finite".
        """
        free = 1 if self.provider == "cpu" else _AT_ONCE
        step = self._model.fixed_batch or free
        return [matte for start in range(0, len(images), step) for matte in self._batch(images[start : start + step])]

    def _batch(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        prepared = [self._prepare(image) for image in images]
        answer = self._model.run(np.stack([values for values, _ in prepared]))[0]
        if answer.ndim == 4:
            answer = answer[:, 0]
        if answer.ndim != 3 or len(answer) != len(images) or 0 in answer.shape:
            raise UserError("matte.no_matte_model", self._file.name)
        answer = answer.astype(np.float32)
        if not np.isfinite(answer).all():
            raise UserError("matte.not_finite", self._file.name)
        self._logits |= bool(answer.min() < -_TOLERANCE or answer.max() > 1.0 + _TOLERANCE)
        if self._logits:
            answer = 1.0 / (1.0 + np.exp(-np.clip(answer, -80.0, 80.0)))
        return [
            self._restore(mask, place, image.shape)
            for mask, (_, place), image in zip(answer, prepared, images, strict=True)
        ]

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, Place]:
        """float32 (3, height, width) of the input, and where the picture lies in it."""
        if not self._padded:
            resized = Image.fromarray(image).resize((self.width, self.height), Image.Resampling.BILINEAR)
            values = (np.asarray(resized, np.float32) / 255.0 - _MEAN) / _DEVIATION
            return values.transpose(2, 0, 1), (0, 0, self.width, self.height)
        import cv2

        height, width = image.shape[:2]
        if height * self.width > width * self.height:
            size = (max(1, self.height * width // height), self.height)
        else:
            size = (self.width, max(1, self.width * height // width))
        left, top = (self.width - size[0]) // 2, (self.height - size[1]) // 2
        values = np.zeros((self.height, self.width, 3), np.float32)
        fitted = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        values[top : top + size[1], left : left + size[0]] = fitted.astype(np.float32) / 255.0
        return values.transpose(2, 0, 1), (left, top, *size)

    def _restore(self, mask: np.ndarray, place: Place, shape: tuple[int, ...]) -> np.ndarray:
        import cv2

        if mask.shape != (self.height, self.width):
            mask = cv2.resize(mask, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        left, top, width, height = place
        mask = np.ascontiguousarray(mask[top : top + height, left : left + width])
        smaller = shape[1] <= width and shape[0] <= height
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        return np.clip(cv2.resize(mask, (shape[1], shape[0]), interpolation=way), 0.0, 1.0)


class MatteFinder:
    """Mattes by the best model that is on this computer; nothing is downloaded here.

    `matte` names a model or GRABCUT; with "auto" a drawing is cut out by ISNet-anime and a photograph by BiRefNet or its
    lite version. `medium` is drawn, photo, or auto: then each picture's largest face tells, and a picture without one
    goes to BiRefNet, which knows both. A model that is missing is passed over, with a note said once; GrabCut is the
    last resort. Models are loaded at the first picture that needs them.
    """

    def __init__(
        self,
        store: ModelStore | None,
        matte: str = "auto",
        medium: str = "auto",
        provider: str = "auto",
        events: EventSink = ignore_events,
    ) -> None:
        """`store` None leaves GrabCut alone."""
        self._store, self._matte, self._medium = store, matte, medium
        self._provider, self._events = provider, events
        self._models: dict[str, MatteModel] = {}
        self._missing: set[str] = set()
        self.used = GRABCUT  # what cut out the last picture
        self.notes: list[Log] = []

    def __enter__(self) -> MatteFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unloads all models; the next picture would load them again."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def matte(self, image: np.ndarray, faces: Sequence[Face] = ()) -> np.ndarray:
        """float32 (height, width) 0..1 of uint8 RGB (height, width, 3).

        Raises UserError as `ModelStore.find` (a model that was changed), `OnnxModel` and `MatteModel.mattes`.
        """
        return self.mattes([image], [faces])[0]

    def mattes(self, images: Sequence[np.ndarray], faces: Sequence[Sequence[Face]]) -> list[np.ndarray]:
        """`matte` of several pictures; those of one model go to it in batches."""
        names = [self._choose(near) for near in faces]
        found: dict[int, np.ndarray] = {}
        for name in dict.fromkeys(names):
            places = [place for place, chosen in enumerate(names) if chosen == name]
            if name == GRABCUT:
                mattes = [grabcut_matte(images[place], faces[place]) for place in places]
            else:
                mattes = self._models[name].mattes([images[place] for place in places])
            found.update(zip(places, mattes, strict=True))
            self.used = name
        return [found[place] for place in range(len(images))]

    def _choose(self, faces: Sequence[Face]) -> str:
        """The name of a model that is loaded, or GRABCUT."""
        if self._matte == GRABCUT or self._store is None:
            return GRABCUT
        largest = max(faces, key=lambda face: face.box.area, default=None)
        medium = self._medium if self._medium in _ORDERS else largest.kind if largest else ""
        wanted = () if self._matte == "auto" else (self._matte,)
        passed: list[str] = []
        for name in dict.fromkeys([*wanted, *_ORDERS[medium]]):
            if name in self._models or self._load(name):
                self._tell(passed, name)
                return name
            passed.append(name)
        self._tell(passed, GRABCUT)
        return GRABCUT

    def _load(self, name: str) -> bool:
        folder = None if name in self._missing else self._store.find(name)
        if folder is None:
            return False
        file = folder / known_model(name).file_names[0]
        self._models[name] = MatteModel(file, padded=name == ISNET, provider=self._provider, events=self._events)
        return True

    def _tell(self, passed: list[str], used: str) -> None:
        if not passed or passed[0] in self._missing:
            return
        label = "GrabCut" if used == GRABCUT else known_model(used).label
        note = Log("matte.model_missing", {"model": known_model(passed[0]).label, "used": label}, level="warning")
        self.notes.append(note)
        self._events(note)
        self._missing.update(passed)
