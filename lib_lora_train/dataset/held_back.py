"""Pictures that are held back from training, to see what is learned by what was never shown: which ones, and how many.

The choice is that of kohya's scripts for the same `validation_split` and `validation_seed`: the files of each folder,
sorted by name, are shuffled, and the last ones are taken. Two things differ. Without a seed of its own the run's is
taken, where theirs shuffles once for training and once more for validation. And a picture that is held back is never
trained on: their training set is rounded up, so that one picture can be in both.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lib_lora_train.settings.tables import DatasetSettings

if TYPE_CHECKING:
    from lib_lora_train.dataset.pictures import Picture

HOLD_BACK_FROM = 40  # pictures: a tenth of them is enough to tell something, and the rest to learn from
_USUAL = 0.1
_MOST = 16  # pictures; more say little more, and take their time with every file
_LEAST = 4  # with fewer, chance decides


def usual_share(folders: Sequence[int]) -> float:
    """The share that is advised for folders of so many pictures, in hundredths; 0 where there are too few."""
    count = sum(folders)
    if count < HOLD_BACK_FROM:
        return 0.0
    share = min(_USUAL, max(0.01, math.floor(100 * _MOST / count) / 100))
    held = sum(held_back_count(each, share) for each in folders)
    return share if held >= _LEAST else 0.0


def held_back_count(count: int, share: float) -> int:
    """How many of the `count` pictures of a folder are held back: halves go to the even number, as in Python."""
    return min(count, round(count * share))


def held_back_places(count: int, share: float, seed: int) -> frozenset[int]:
    """Their places among the folder's pictures, sorted by name. `share` is 0 to 1."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return frozenset(order[count - held_back_count(count, share) :])


def validation_seed(settings: DatasetSettings, run_seed: int) -> int:
    """That of the choice, and of the noise that the loss is computed with."""
    return run_seed if settings.validation_seed is None else settings.validation_seed


def hold_back(pictures: Sequence[Picture], share: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """The pictures that are trained on and those that are held back, both in their order.

    `pictures` are sorted by name within their folders. Of regularization pictures none is held back.
    """
    folders: defaultdict[object, list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        if not picture.is_regularization:
            folders[picture.concept].append(place)
    held: set[int] = set()
    for places in folders.values():
        held |= {places[index] for index in held_back_places(len(places), share, seed)}
    trained = [picture for place, picture in enumerate(pictures) if place not in held]
    return trained, [pictures[place] for place in sorted(held)]
