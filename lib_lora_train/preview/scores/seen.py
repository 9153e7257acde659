"""What the tools saw in a picture, kept so that no picture is looked at twice."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.preview.scores.pixels import SIDE, Look, look_at
from lib_lora_train.vision.embeddings import Embedder
from lib_lora_train.vision.tagger import GENERAL, Tagger

AT_ONCE = 16
_LEAST = 0.02  # a probability below is not kept; it counts as 0
_MOST_TAGS = 300  # kept of a picture


@dataclass
class ScoreTools:
    """What there is on the computer. `key` of a tagger is its name or hash: what another one saw is not compared."""

    tagger: Tagger | None = None
    embedder: Embedder | None = None
    tagger_key: str = ""

    @property
    def keys(self) -> tuple[str, str]:
        tagger = (self.tagger_key or f"{len(self.tagger.tags)} tags") if self.tagger is not None else ""
        return tagger, self.embedder.key if self.embedder is not None else ""


@dataclass(frozen=True)
class Seen:
    """`tags` (by the tagger `tagger`) are probabilities as captions write them, `vector` is the embedder's. Both are
    None where no such tool was there."""

    look: Look
    tags: Mapping[str, float] | None
    vector: np.ndarray | None
    tagger: str = ""
    embedder: str = ""

    def enough(self, keys: tuple[str, str]) -> bool:
        """Whether the tools of these keys would see nothing more in the picture."""
        return self.tagger == keys[0] and self.embedder == keys[1]

    def as_dict(self) -> dict[str, Any]:
        return {
            "measures": [round(value, 5) for value in self.look.measures],
            "small": _packed(self.look.small),
            "tags": None if self.tags is None else {tag: round(value, 3) for tag, value in self.tags.items()},
            "vector": None if self.vector is None else _packed(self.vector.astype("<f2")),
            "tagger": self.tagger,
            "embedder": self.embedder,
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Seen | None:
        """None for what cannot be read: the picture is looked at again."""
        try:
            small = np.frombuffer(base64.b64decode(said["small"], validate=True), np.uint8).reshape(SIDE, SIDE, 3)
            vector = said["vector"]
            if vector is not None:
                vector = np.frombuffer(base64.b64decode(vector, validate=True), "<f2").astype(np.float32)
            tags = None if said["tags"] is None else {str(tag): float(value) for tag, value in said["tags"].items()}
            look = Look(*map(float, said["measures"]), small=small)
            return cls(look, tags, vector, str(said["tagger"]), str(said["embedder"]))
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
            return None


def look_at_all(
    pictures: Sequence[tuple[str, Callable[[], Image.Image]]], tools: ScoreTools, size: tuple[int, int]
) -> Iterator[dict[str, Seen]]:
    """In batches, by key; a picture that cannot be opened is left out. Raises UserError when a tool fails."""
    for start in range(0, len(pictures), AT_ONCE):
        images: dict[str, Image.Image] = {}
        for key, opened in pictures[start : start + AT_ONCE]:
            try:
                images[key] = opened()
            except UserError:  # deleted or damaged meanwhile
                continue
        yield dict(zip(images, _seen(list(images.values()), tools, size), strict=True))


def _seen(images: Sequence[Image.Image], tools: ScoreTools, size: tuple[int, int]) -> list[Seen]:
    tags = [None] * len(images) if tools.tagger is None else _tags(tools.tagger, images)
    vectors = [None] * len(images) if tools.embedder is None or not images else tools.embedder.embed(images)
    looks = [look_at(image, size) for image in images]
    return [Seen(*each, *tools.keys) for each in zip(looks, tags, vectors, strict=True)]


def _tags(tagger: Tagger, images: Sequence[Image.Image]) -> list[dict[str, float]]:
    kept = np.flatnonzero(np.asarray(tagger.categories) == GENERAL)
    found = []
    for row in tagger.probabilities(images):
        order = kept[np.argsort(-row[kept], kind="stable")][:_MOST_TAGS]
        found.append({tagger.tags[place]: float(row[place]) for place in order if row[place] >= _LEAST})
    return found


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
