"""The training pictures, as what a grid's pictures are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lib_lora_train.errors import UserError
from lib_lora_train.preview.scores.pixels import Look, distance
from lib_lora_train.preview.scores.seen import ScoreTools, Seen
from lib_lora_train.vision.embeddings import Embedder

MOST_PICTURES = 150  # more tell nothing new; evenly chosen
_SHOWN = 0.35  # mean probability from which a tagger is taken to know a trait
_OFTEN = 0.6  # and from which one that no caption names is taken for a trait
_FAMILIAR = 0.8  # probability that stands for "shown" where no training picture shows a tag


@dataclass(frozen=True)
class TrainingSet:
    """The subject's own pictures, without regularization, and their captions, as tags. `bound` are the tags that the
    trigger word is to stand for: what the tagger saw in most pictures and the captions do not say; empty, or none that the tagger sees: found out."""

    pictures: tuple[Path, ...] = ()
    captions: tuple[tuple[str, ...], ...] = ()
    bound: tuple[str, ...] = ()
    trigger: str = ""

    def chosen(self) -> list[tuple[str, int, Callable[[], Image.Image]]]:
        """Stamp, place in `pictures`, and what opens it; a picture that is not there is left out."""
        step = max(1.0, len(self.pictures) / MOST_PICTURES)
        found = []
        for place in dict.fromkeys(int(step * number) for number in range(min(len(self.pictures), MOST_PICTURES))):
            path = self.pictures[place]
            try:
                state = path.stat()
            except OSError:
                continue
            found.append((f"{path.name} {state.st_size} {state.st_mtime_ns}", place, _opener(path)))
        return found


@dataclass(frozen=True)
class Reference:
    """What is usual among the training pictures. `traits`: probability of each bound tag where it is shown;
    `shown`: the same of the tags that captions name. `nearest` is how near training pictures lie to each other: by
    embedding (likeness of each to its nearest other) and by small copies (distance, grey levels)."""

    vectors: np.ndarray | None
    smalls: np.ndarray
    traits: Mapping[str, float]
    shown: Mapping[str, float]
    usual: tuple[tuple[float, float], ...] = ()  # lowest and highest of each measure, but for a tenth at either end
    alike: float = 1.0  # median of each picture's mean likeness to the others
    nearest_alike: float = 1.0
    nearest_apart: float = 0.0

    def share_of(self, tag: str) -> float:
        """The probability at which a tag counts as fully shown."""
        return self.shown.get(tag, _FAMILIAR)


def reference_of(seen: Sequence[tuple[Seen, Sequence[str]]], training: TrainingSet, tools: ScoreTools) -> Reference:
    """`seen` with the tags of each picture's caption."""
    looks = [each for each, _ in seen]
    smalls = np.stack([each.look.small for each in looks]) if looks else np.zeros((0, 1, 1, 3), np.uint8)
    vectors = None
    if tools.embedder is not None and looks and all(each.vector is not None for each in looks):
        vectors = np.stack([each.vector for each in looks])
    alike, nearest = _among(vectors, tools.embedder)
    return Reference(
        vectors=vectors,
        smalls=smalls,
        traits=_traits(seen, training),
        shown=_shown(seen),
        usual=_usual([each.look for each in looks]),
        alike=alike,
        nearest_alike=nearest,
        nearest_apart=_nearest_apart(smalls),
    )


def _usual(looks: Sequence[Look]) -> tuple[tuple[float, float], ...]:
    if not looks:
        return ()
    low, high = np.quantile([look.measures for look in looks], [0.1, 0.9], axis=0)
    return tuple(zip(map(float, low), map(float, high), strict=True))


def _traits(seen: Sequence[tuple[Seen, Sequence[str]]], training: TrainingSet) -> dict[str, float]:
    """Bound tags that the tagger sees in the training pictures, with their mean probability there."""
    rows = [each.tags for each, _ in seen if each.tags is not None]
    if not rows:
        return {}
    means: dict[str, float] = {}
    for tag in dict.fromkeys(tag for row in rows for tag in row):
        means[tag] = sum(row.get(tag, 0.0) for row in rows) / len(rows)
    bound = {tag: means[tag] for tag in dict.fromkeys(training.bound) if means.get(tag, 0.0) >= _SHOWN}
    if bound:
        return bound
    said = {tag for _, caption in seen for tag in caption}
    return {tag: mean for tag, mean in means.items() if mean >= _OFTEN and tag not in said}


def _shown(seen: Sequence[tuple[Seen, Sequence[str]]]) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for each, caption in seen:
        if each.tags is not None:
            for tag in set(caption):
                sums.setdefault(tag, []).append(each.tags.get(tag, 0.0))
    return {tag: max(_SHOWN, sum(found) / len(found)) for tag, found in sums.items() if len(found) > 1}


def _among(vectors: np.ndarray | None, embedder: Embedder | None) -> tuple[float, float]:
    """Median of the mean likeness to the others, and what nine of ten pictures' nearest other does not reach."""
    if vectors is None or embedder is None or len(vectors) < 2:
        return 1.0, 1.0
    alike = np.array(embedder.likeness(vectors, vectors), np.float64)
    np.fill_diagonal(alike, np.nan)
    return float(np.median(np.nanmean(alike, axis=1))), float(np.quantile(np.nanmax(alike, axis=1), 0.9))


def _nearest_apart(smalls: np.ndarray) -> float:
    if len(smalls) < 2:
        return 0.0
    apart = distance(smalls, smalls)
    np.fill_diagonal(apart, np.inf)
    return float(np.median(apart.min(axis=1)))


def _opener(path: Path) -> Callable[[], Image.Image]:
    def opened() -> Image.Image:
        try:
            with Image.open(path) as image:
                return ImageOps.exif_transpose(image).copy()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError("scores.no_picture", path.name) from error

    return opened
