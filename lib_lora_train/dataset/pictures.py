"""What a scan of the folders gives: pictures, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib_lora_train.dataset.buckets import CropPlan, Size
from lib_lora_train.dataset.listing import Concept
from lib_lora_train.dataset.masks import MaskFile
from lib_lora_train.errors import UserError
from lib_lora_train.signals import EventSink, Log


@dataclass(frozen=True)
class Picture:
    """One training picture, known by its header only: nothing is decoded yet.

    `where` is its name in messages; `caption` its text before prefix, shuffle and dropout; `repeats` how often it is
    shown per epoch; `size` is (width, height) when upright; `content_hash` the SHA-256 of the file.
    """

    path: Path
    where: str
    concept: Concept
    caption: str
    repeats: int
    size: Size
    crop: CropPlan
    content_hash: str
    mask: MaskFile | None = None

    @property
    def is_regularization(self) -> bool:
        return self.concept.is_regularization

    @property
    def mask_path(self) -> Path | None:
        return self.mask.path if self.mask else None


@dataclass
class Scan:
    """What was found. `problems` are files that are not used, each with its reason; `notes` are things to know;
    `held_back` are pictures that are not trained on, but looked at with every file that is saved."""

    pictures: list[Picture] = field(default_factory=list)
    held_back: list[Picture] = field(default_factory=list)
    problems: list[UserError] = field(default_factory=list)
    notes: list[Log] = field(default_factory=list)

    @property
    def concepts(self) -> list[Concept]:
        return list(dict.fromkeys(picture.concept for picture in self.pictures))

    @property
    def buckets(self) -> tuple[Size, ...]:
        """The (width, height) that will be trained, sorted."""
        return tuple(sorted({picture.crop.bucket for picture in self.pictures}))


def report(found: Scan, events: EventSink) -> None:
    """Sends each note and problem as a Log event."""
    for note in found.notes:
        events(note)
    for problem in found.problems:
        events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))


def balance_regularization(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Log]]:
    """Repeats of regularization pictures so that together they are shown as often as the training pictures.

    As sd-scripts does: each is taken with its folder's repeats until the number is reached (the rest is left out),
    then all in turn get one more until it is.
    """
    wanted = sum(picture.repeats for picture in pictures if not picture.is_regularization)
    candidates = [picture for picture in pictures if picture.is_regularization]
    repeats: list[int] = []
    while sum(repeats) < wanted and len(repeats) < len(candidates):
        repeats.append(candidates[len(repeats)].concept.repeats)
    if repeats:
        rounds, extra = divmod(max(wanted - sum(repeats), 0), len(repeats))
        repeats = [count + rounds + (index < extra) for index, count in enumerate(repeats)]
    used = [replace(picture, repeats=count) for picture, count in zip(candidates, repeats, strict=False)]
    notes = []
    if len(used) < len(candidates):
        notes.append(Log("dataset.regularization_unused", {"count": len(candidates) - len(used)}, "warning"))
    return [picture for picture in pictures if not picture.is_regularization] + used, notes
