"""Taggers of the WD14 family: `model.onnx` beside `selected_tags.csv`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.vision.sessions import open_session

GENERAL, CHARACTER, RATING = 0, 4, 9  # the `category` column
_KAOMOJI = frozenset(
    ["0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||"]
)


class Tagger:
    """Probabilities of tags for pictures, with the pre-processing of the WD v3 models.

    A picture is put on white, padded to a white square, resized (bicubic) to the side the model asks for, and
    handed over as float32 0..255 in BGR, (n, side, side, 3).
    """

    def __init__(self, folder: Path) -> None:
        """Raises UserError for a missing or damaged file of the two."""
        self._session = open_session(folder / "model.onnx")
        self._input = self._session.get_inputs()[0]
        self.side = int(self._input.shape[1])
        self.tags, self.categories = _read_tags(folder / "selected_tags.csv")
        outputs = self._session.get_outputs()[0].shape[-1]
        if isinstance(outputs, int) and outputs != len(self.tags):
            raise UserError("tagger.tags_do_not_match", "selected_tags.csv", rows=len(self.tags), outputs=outputs)

    def probabilities(self, images: Sequence[Image.Image], batch_size: int = 16) -> np.ndarray:
        """float32 (len(images), len(self.tags)), each 0..1. A model with a fixed batch of 1 is fed one at a time."""
        if isinstance(self._input.shape[0], int):
            batch_size = self._input.shape[0]
        rows = []
        for start in range(0, len(images), batch_size):
            batch = np.stack([self._prepare(image) for image in images[start : start + batch_size]])
            rows.append(self._session.run(None, {self._input.name: batch})[0])
        return np.concatenate(rows) if rows else np.zeros((0, len(self.tags)), np.float32)

    def _prepare(self, image: Image.Image) -> np.ndarray:
        image = image.convert("RGBA")
        side = max(image.size)
        square = Image.new("RGBA", (side, side), (255, 255, 255, 255))
        square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
        rgb = square.convert("RGB")
        if side != self.side:
            rgb = rgb.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(np.asarray(rgb, dtype=np.float32)[:, :, ::-1])


def tag_words(name: str) -> str:
    """A tag as captions write it: spaces for underscores, but in the faces made of signs."""
    return name if name in _KAOMOJI else name.replace("_", " ")


def _read_tags(path: Path) -> tuple[list[str], list[int]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return [tag_words(row["name"]) for row in rows], [int(row["category"]) for row in rows]
    except (OSError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise UserError("tagger.unreadable_tags", path.name) from error
