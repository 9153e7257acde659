"""Folder names as kohya means them: which concept a folder's name asks for, and what its other folders are for."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora_train.collection.limits import MAX_CONCEPT_NAME, MAX_REPEATS
from lib_lora_train.collection.names import parse_folder

MASK_FOLDERS = frozenset({"masks", "mask", "conditioning"})
REGULARIZATION_FOLDERS = frozenset({"regularization", "reg", "regs"})
TRAINING_FOLDERS = ("dataset", "img", "image", "images", "train")  # below what people call the data set


@dataclass(frozen=True)
class Wish:
    """The concept that a folder's name asks for."""

    name: str
    repeats: int
    regularization: bool = False


def wish_of(folder: str, regularization: bool = False) -> Wish | None:
    """Of `10_hero`; None for a folder that is not named like that."""
    parsed = parse_folder(folder)
    if parsed is None or not parsed[1].strip() or parsed[0] > MAX_REPEATS:
        return None
    return Wish(parsed[1].strip()[:MAX_CONCEPT_NAME], parsed[0], regularization)
