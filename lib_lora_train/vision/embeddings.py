"""Pictures as vectors that lie near each other when the pictures are alike: CCIP, DINOv2 and CLIP as ONNX.

Pre-processing as each model's own files describe it, all in RGB, 0..1, minus a mean, divided by a deviation:

    ccip    the whole picture resized to 384 x 384, bilinear (deepghs' imgutils, the models' own user). Its second graph
            takes the features of n pictures and gives the (n, n) differences between them, 0 for the same character.
    dinov2  the shorter side resized to 256, bicubic, the middle 224 x 224 (its `preprocessor_config.json`); the output
            is (n, tokens, width), of which the first token stands for the picture.
    clip    the shorter side resized to 224, bicubic, the middle 224 x 224 (its `preprocessor_config.json`); the output
            `image_embeds` is (n, width).

What is alike is measured by the cosine where the model has no measure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import EventSink, ignore_events
from lib_lora_train.vision.sessions import OnnxModel
from lib_lora_train.vision.store import ModelStore

_CLIP_MEAN, _CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AT_ONCE = 8
#: Difference below which CCIP's authors take two pictures for the same character (`ccip-caformer-24-randaug-pruned`).
CCIP_SAME = 0.17847511429108218
#: File of a vision tower with `image_embeds`, in the folder `clip` below the models; people put it there by hand.
CLIP_FOLDER, CLIP_FILE = "clip", "vision_model.onnx"


@dataclass(frozen=True)
class Recipe:
    """How a model wants its pictures. `resized` is the shorter side in px before the middle `side` is cut out; 0 when
    the whole picture is pressed into the square. `layout`: the composition counts, so a copy can be told by it."""

    name: str
    side: int
    resized: int
    resample: Image.Resampling
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    layout: bool

    def prepared(self, image: Image.Image) -> np.ndarray:
        """float32 (3, side, side)."""
        image = _on_white(image)
        if self.resized:
            size = tuple(self.resized * length // min(image.size) for length in image.size)
            image = image.resize(size, self.resample)
            left, top = (size[0] - self.side) // 2, (size[1] - self.side) // 2
            image = image.crop((left, top, left + self.side, top + self.side))
        else:
            image = image.resize((self.side, self.side), self.resample)
        pixels = np.asarray(image, np.float32) / 255.0
        pixels = (pixels - np.float32(self.mean)) / np.float32(self.deviation)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


CCIP = Recipe("ccip", 384, 0, Image.Resampling.BILINEAR, _CLIP_MEAN, _CLIP_DEVIATION, layout=False)
DINOV2 = Recipe("dinov2-small", 224, 256, Image.Resampling.BICUBIC, _IMAGENET_MEAN, _IMAGENET_DEVIATION, layout=True)
CLIP = Recipe("clip", 224, 224, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_DEVIATION, layout=True)


class Embedder:
    """Vectors of pictures by one model; `with` unloads it. `key` is another one when vectors may not be compared."""

    def __init__(
        self,
        recipe: Recipe,
        model: Path,
        metrics: Path | None = None,
        *,
        provider: str = "auto",
        threads: int | None = None,
        events: EventSink = ignore_events,
    ) -> None:
        """`metrics` is CCIP's second graph. Raises UserError as `OnnxModel`, and scores.no_embedding."""
        self.recipe = recipe
        self._model = OnnxModel(model, threads=threads, provider=provider, events=events)
        self._metrics: OnnxModel | None = None
        self._file = model.name
        try:
            shape = self._model.inputs[0].shape if self._model.inputs else ()
            if len(shape) != 4 or shape[1] not in (3, None) or any(side not in (recipe.side, None) for side in shape[2:]):  # fmt: skip
                raise UserError("scores.no_embedding", self._file)
            if metrics is not None:
                self._metrics = OnnxModel(metrics, threads=threads, provider="cpu")
            self.key = f"{recipe.name} {model.stat().st_size}"
        except UserError:
            self.close()
            raise

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def layout(self) -> bool:
        """Whether two pictures of the same thing in other poses lie apart."""
        return self.recipe.layout

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._model.close()
        if self._metrics is not None:
            self._metrics.close()

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float32 (len(images), width); of length 1 each, but for a model with a measure of its own.

        Raises UserError: onnx.run, scores.no_embedding.
        """
        rows = []
        for start in range(0, len(images), _AT_ONCE):
            batch = np.stack([self.recipe.prepared(image) for image in images[start : start + _AT_ONCE]])
            rows.append(self._vectors(self._model.run(batch), len(batch)))
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)

    def likeness(self, these: np.ndarray, those: np.ndarray) -> np.ndarray:
        """How alike, float32 (len(these), len(those)): 1 for the same, 0 for strangers.

        For CCIP, 0.5 is where its authors draw the line between one character and another.
        """
        if not len(these) or not len(those):
            return np.zeros((len(these), len(those)), np.float32)
        if self._metrics is None:
            return np.clip(_unit(these) @ _unit(those).T, 0.0, 1.0)
        differences = self._metrics.run(np.concatenate([these, those]).astype(np.float32))[0]
        if differences.shape != (len(these) + len(those),) * 2:
            raise UserError("scores.no_embedding", self._file)
        between = differences[: len(these), len(these) :]
        return np.clip(1.0 - between / (2 * CCIP_SAME), 0.0, 1.0).astype(np.float32)

    def _vectors(self, outputs: list[np.ndarray], count: int) -> np.ndarray:
        names = [port.name for port in self._model.outputs]
        place = names.index("image_embeds") if "image_embeds" in names else 0
        found = outputs[place]
        if found.ndim == 3:
            found = found[:, 0]  # the token that stands for the picture
        if found.ndim != 2 or len(found) != count or not np.isfinite(found).all():
            raise UserError("scores.no_embedding", self._file)
        found = found.astype(np.float32)
        return found if self._metrics is not None else _unit(found)


def find_embedder(
    store: ModelStore,
    kind: str,
    drawn: bool = True,
    *,
    provider: str = "auto",
    threads: int | None = None,
    events: EventSink = ignore_events,
) -> Embedder | None:
    """The model that tells best whether a subject of this kind is met, of those on the computer; None without any.

    Nothing is downloaded. CCIP is for drawn characters alone. Raises UserError as `ModelStore.find` and `Embedder`.
    """
    options = {"provider": provider, "threads": threads, "events": events}
    if kind == "character" and drawn:
        place = store.find("ccip")
        if place is not None:
            return Embedder(CCIP, place / "model_feat.onnx", place / "model_metrics.onnx", **options)
    place = store.find("dinov2-small")
    if place is not None:
        return Embedder(DINOV2, place / "model.onnx", **options)
    clip = store.folder / CLIP_FOLDER / CLIP_FILE
    return Embedder(CLIP, clip, **options) if clip.is_file() else None


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB. What is transparent becomes white, as both models' users do it."""
    if image.mode in ("RGBA", "LA", "PA", "P") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
