"""The order in which pictures are shown, and the batches of it.

All of it is a pure function of (seed, epoch): a run that is resumed in the middle of an epoch asks for the same epoch
again and goes on where it was.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_lora_train.dataset.buckets import Size
from lib_lora_train.dataset.captions import compose
from lib_lora_train.dataset.latents import LatentCache
from lib_lora_train.draws import python_random
from lib_lora_train.settings.tables import DatasetSettings, TrainSettings


@dataclass(frozen=True)
class Showing:
    """One time that one picture is shown in an epoch: its place in the cache, and which of its repeats this is."""

    picture: int
    repeat: int
    flipped: bool = False


@dataclass
class Batch:
    """What one forward pass takes. `latents` (batch, 4, height/8, width/8) fp32, scaled; `masks` (batch, 1,
    height/8, width/8) in 0..1, or None when nothing in the batch is masked; `loss_weights` (batch,); `size_ids`
    (batch, 6) as SDXL takes them. All on the CPU."""

    latents: Tensor
    captions: list[str]
    masks: Tensor | None
    loss_weights: Tensor
    size_ids: Tensor


def batches_per_epoch(cache: LatentCache, batch_size: int) -> int:
    """How many batches an epoch has; the last one of each bucket may be smaller."""
    shown: Counter[Size] = Counter()
    for entry in cache.entries:
        shown[entry.bucket] += entry.picture.repeats
    return sum(math.ceil(count / batch_size) for count in shown.values())


def epoch_batches(cache: LatentCache, seed: int, epoch: int, batch_size: int) -> list[list[Showing]]:
    """The batches of one epoch (counted from 0), in order.

    Each picture is shown exactly its repeats; a batch holds one bucket; order within a bucket and order of the batches
    are drawn. A picture with mirrored latents is mirrored in half of its showings.
    """
    shown: defaultdict[Size, list[Showing]] = defaultdict(list)
    for index, entry in enumerate(cache.entries):
        for repeat in range(entry.picture.repeats):
            mirrored = entry.flipped is not None and python_random(seed, "flip", epoch, index, repeat).random() < 0.5
            shown[entry.bucket].append(Showing(index, repeat, mirrored))
    batches: list[list[Showing]] = []
    for bucket, showings in sorted(shown.items()):
        python_random(seed, "order", epoch, *bucket).shuffle(showings)
        batches += [showings[start : start + batch_size] for start in range(0, len(showings), batch_size)]
    python_random(seed, "batches", epoch).shuffle(batches)
    return batches


def fixed_captions(cache: LatentCache, settings: DatasetSettings) -> set[str]:
    """All that `make_batch` will give where captions do not vary (`captions.captions_vary`), and those of pictures that
    are held back."""
    unused, entries = random.Random(0), (*cache.entries, *cache.held_back)
    return {compose(entry.picture.caption, settings, 0, unused) for entry in entries}


def make_batch(
    showings: Sequence[Showing], cache: LatentCache, settings: TrainSettings, seed: int, epoch: int
) -> Batch:
    """Latents, captions, masks and weights of `showings`, which are of one bucket."""
    entries = [cache.entries[showing.picture] for showing in showings]
    latents, captions, masks = [], [], []
    for showing, entry in zip(showings, entries, strict=True):
        flipped = showing.flipped and entry.flipped is not None
        latents.append(entry.flipped if flipped else entry.latents)
        mask = torch.ones_like(entry.latents[:1]) if entry.mask is None else entry.mask
        masks.append(mask.flip(-1) if flipped else mask)
        draws = python_random(seed, "caption", epoch, showing.picture, showing.repeat)
        captions.append(compose(entry.picture.caption, settings.dataset, epoch, draws))
    weights = [settings.loss.prior_loss_weight if entry.picture.is_regularization else 1.0 for entry in entries]
    ids = [entry.size_ids(showing.flipped) for showing, entry in zip(showings, entries, strict=True)]
    return Batch(
        latents=torch.stack(latents),
        captions=captions,
        masks=torch.stack(masks) if any(entry.mask is not None for entry in entries) else None,
        loss_weights=torch.tensor(weights, dtype=torch.float32),
        size_ids=torch.tensor(ids, dtype=torch.float32),
    )
