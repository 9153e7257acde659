"""Taggers of the WD14 family: `model.onnx` beside `selected_tags.csv`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, EventSink, Stopped, ignore_events
from lib_lora_train.vision.ahead import default_workers, worked_ahead
from lib_lora_train.vision.sessions import OnnxModel
from lib_lora_train.vision.tags_file import CHARACTER, GENERAL, RATING, read_tags, tag_words

__all__ = ["CHARACTER", "GENERAL", "MODEL_FILE", "RATING", "TAGS_FILE", "Tagger", "prepared", "tag_words"]

MODEL_FILE, TAGS_FILE = "model.onnx", "selected_tags.csv"
DEFAULT_SIDE = 448  # of the WD v3 models, for a graph that leaves it open
MOST_AT_ONCE = 16
_SHORT_RUN = 0.4  # seconds; batches grow while they take less, so that a stop never waits long
_WHITE = (255, 255, 255)
Key = TypeVar("Key")


@dataclass(frozen=True)
class Input:
    """How a tagger's graph wants a picture."""

    side: int
    channels_first: bool


class Tagger:
    """Probabilities of tags for pictures, with the pre-processing of the WD v3 models.

    A picture is put on white, padded to a white square with the picture in the middle, resized (bicubic) to the side
    the model asks for, and handed over as float32 0..255 in BGR, (n, side, side, 3); (n, 3, side, side) to a graph
    that asks for that. This is the description by their author (SmilingWolf); the outputs are probabilities.

    `names` are the tags as the file writes them, `tags` as captions do (with spaces), `categories` their kinds.
    Pictures go in exactly as described: JPEGs decoded at a reduced size come out up to 31 grey levels off, and
    pictures reduced by whole numbers first (Pillow's `reducing_gap`) up to 6, measured on photographs.
    """

    def __init__(
        self, folder: Path, provider: str = "auto", threads: int | None = None, events: EventSink = ignore_events
    ) -> None:
        """Raises UserError for a missing or damaged file of the two, or two that do not belong together."""
        self._model = OnnxModel(folder / MODEL_FILE, threads=threads, provider=provider, events=events)
        try:
            self.names, self.categories = read_tags(folder / TAGS_FILE)
            self.tags = [tag_words(name) for name in self.names]
            self.input = _input(self._model)
            widths = [port.shape[-1] for port in self._model.outputs if port.shape]
            if widths and all(width is not None and width != len(self.tags) for width in widths):
                raise UserError("tagger.tags_do_not_match", TAGS_FILE, rows=len(self.tags), outputs=widths[0])
        except UserError:
            self.close()
            raise

    @property
    def side(self) -> int:
        return self.input.side

    @property
    def provider(self) -> str:
        """What the model runs on: one of `sessions.PROVIDERS`."""
        return self._model.provider

    def __enter__(self) -> Tagger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unloads the model; the memory of the device is free again."""
        self._model.close()

    def probabilities(self, images: Sequence[Image.Image], batch_size: int = MOST_AT_ONCE) -> np.ndarray:
        """float32 (len(images), len(self.tags)), each 0..1. A model with a fixed batch is fed so many at a time."""
        rows = [
            self._run([prepared(image, self.side) for image in images[start : start + batch_size]])
            for start in range(0, len(images), batch_size)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, len(self.tags)), np.float32)

    def stream(
        self,
        items: Iterable[tuple[Key, Callable[[], Image.Image]]],
        commands: Commands | None = None,
        workers: int | None = None,
    ) -> Iterator[tuple[Key, np.ndarray | UserError]]:
        """For each item, in order, its key and the probabilities of its picture, float32 (len(self.tags),).

        The second part of an item opens the picture; a UserError that it raises is given in place of probabilities.
        Pictures are opened and prepared in threads while the model runs. `items` is read as far as needed only, and
        at most two batches of prepared pictures wait, so that memory does not grow with their number. Raises Stopped
        between two batches.
        """
        workers = workers or default_workers()

        def work(opened: Callable[[], Image.Image]) -> np.ndarray:
            return prepared(opened(), self.side)

        made = worked_ahead(items, work, MOST_AT_ONCE * 2 + workers, workers)
        size = 1
        batch: list[tuple[Key, np.ndarray | UserError]] = []
        try:
            for each in made:
                _check(commands)
                batch.append(each)
                if len(batch) < size:
                    continue
                before = time.monotonic()
                yield from self._answered(batch)
                batch.clear()
                if time.monotonic() - before < _SHORT_RUN:
                    size = min(size * 2, MOST_AT_ONCE)
            yield from self._answered(batch)
        finally:
            made.close()

    def _answered(
        self, batch: Sequence[tuple[Key, np.ndarray | UserError]]
    ) -> list[tuple[Key, np.ndarray | UserError]]:
        rows = iter(self._run([pixels for _, pixels in batch if not isinstance(pixels, UserError)]))
        return [(key, pixels if isinstance(pixels, UserError) else next(rows)) for key, pixels in batch]

    def _run(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Of uint8 RGB (side, side, 3) each. Raises UserError("tagger.no_probabilities")."""
        if not pixels:
            return np.zeros((0, len(self.tags)), np.float32)
        batch = np.empty((len(pixels), self.side, self.side, 3), np.float32)
        for row, picture in zip(batch, pixels, strict=True):
            row[...] = picture[:, :, ::-1]
        if self.input.channels_first:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        outputs = self._model.run(batch)
        shape = (len(pixels), len(self.tags))
        found = next((output for output in outputs if output.shape == shape), None)
        if found is None:
            raise UserError("tagger.tags_do_not_match", TAGS_FILE, rows=shape[1], outputs=outputs[0].shape[-1])
        # Room for rounding: half precision, and sigmoids that end a hair above 1. NaN fails both comparisons.
        if not (found.min() >= -1e-3 and found.max() <= 1 + 1e-3):
            raise UserError("tagger.no_probabilities", MODEL_FILE)
        return np.clip(found.astype(np.float32), 0.0, 1.0)


def prepared(image: Image.Image, side: int) -> np.ndarray:
    """uint8 RGB (side, side, 3): on white, in the middle of a white square, resized once. See `Tagger`."""
    if image.mode in ("RGBA", "LA", "PA", "P") or "transparency" in image.info:
        image = image.convert("RGBA")
        longest = max(image.size)
        square = Image.new("RGBA", (longest, longest), (*_WHITE, 255))
        square.alpha_composite(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        square = square.convert("RGB")
    else:
        image = square = image if image.mode == "RGB" else image.convert("RGB")
        longest = max(image.size)
        if image.width != image.height:
            square = Image.new("RGB", (longest, longest), _WHITE)
            square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    if longest != side:
        square = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square)


def _input(model: OnnxModel) -> Input:
    """Raises UserError("tagger.not_a_tagger") for a graph that does not take one colour picture of a fixed square."""
    shape = model.inputs[0].shape if len(model.inputs) == 1 else ()
    if len(shape) != 4:
        raise UserError("tagger.not_a_tagger", MODEL_FILE)
    channels_first = shape[1] == 3 and shape[3] != 3
    channels, height, width = shape[1:] if channels_first else (shape[3], shape[1], shape[2])
    sides = {side for side in (height, width) if side is not None} or {DEFAULT_SIDE}
    if len(sides) != 1 or channels not in (3, None):
        raise UserError("tagger.not_a_tagger", MODEL_FILE)
    return Input(sides.pop(), channels_first)


def tagger_digest(folder: Path) -> str:
    """A hash of the two files of a tagger: what one saw is another's only when both are the same. Reads all of them."""
    digest = hashlib.sha256()
    for name in (MODEL_FILE, TAGS_FILE):
        path = folder / name
        try:
            with path.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UserError("onnx.missing_file", name) from error
    return digest.hexdigest()


def _check(commands: Commands | None) -> None:
    if commands is not None and commands.stopping:
        raise Stopped
