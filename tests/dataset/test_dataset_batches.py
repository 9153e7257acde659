"""The order of an epoch, and what a batch holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.batches import Showing, batches_per_epoch, epoch_batches, make_batch
from lib_lora_train.dataset.buckets import CropPlan, Size
from lib_lora_train.dataset.latents import CachedPicture, LatentCache
from lib_lora_train.dataset.listing import Concept
from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.settings import TrainSettings


def entry(index: int, bucket: Size = (64, 64), repeats: int = 1, flip: bool = False, regular: bool = False, mask=None):
    concept = Concept("x", Path("x"), repeats, "", regular)
    width, height = bucket
    plan = CropPlan(bucket, (width + 8, height), (4, 0, width + 4, height))
    picture = Picture(
        Path(f"{index}.png"), f"{index}.png", concept, f"t{index}, b, c", repeats, (width + 8, height), plan, ""
    )
    latents = torch.full((4, height // 8, width // 8), float(index))
    return CachedPicture(picture, latents, -latents - 1 if flip else None, mask)


def cache_of(*entries: CachedPicture) -> LatentCache:
    return LatentCache(list(entries))


BUCKETS = st.sampled_from([(64, 64), (128, 64), (64, 128)])
CACHES = st.lists(st.tuples(BUCKETS, st.integers(1, 7)), min_size=1, max_size=8).map(
    lambda rows: cache_of(*(entry(index, bucket, repeats, flip=True) for index, (bucket, repeats) in enumerate(rows)))
)


@settings(max_examples=200, deadline=None)
@given(CACHES, st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(1, 9))
def test_every_epoch(cache, seed, epoch, batch_size):
    batches = epoch_batches(cache, seed, epoch, batch_size)
    shown = [showing for batch in batches for showing in batch]
    assert Counter((showing.picture, showing.repeat) for showing in shown) == Counter(
        (index, repeat) for index, each in enumerate(cache.entries) for repeat in range(each.picture.repeats)
    )
    assert all(len({cache.entries[showing.picture].bucket for showing in batch}) == 1 for batch in batches)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert len(batches) == batches_per_epoch(cache, batch_size)
    buckets = Counter(cache.entries[batch[0].picture].bucket for batch in batches if len(batch) < batch_size)
    assert all(count == 1 for count in buckets.values())  # at most one smaller batch for each bucket
    assert batches == epoch_batches(cache, seed, epoch, batch_size)


def test_order_is_pinned():
    cache = cache_of(entry(0, repeats=3, flip=True), entry(1, (128, 64), 2), entry(2, repeats=2, flip=True))
    batches = epoch_batches(cache, 42, 0, 2)
    assert [[(s.picture, s.repeat, s.flipped) for s in batch] for batch in batches] == [
        [(2, 0, False), (2, 1, True)],
        [(0, 2, False), (0, 1, False)],
        [(0, 0, True)],
        [(1, 0, False), (1, 1, False)],
    ]


def test_epochs_and_seeds_differ():
    cache = cache_of(*(entry(index) for index in range(20)))
    orders = [epoch_batches(cache, seed, epoch, 1) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    assert len({tuple(batch[0].picture for batch in order) for order in orders}) == 4


def test_who_shares_a_batch_changes_from_epoch_to_epoch():
    cache = cache_of(*(entry(index) for index in range(20)))
    groups = [
        {frozenset(showing.picture for showing in batch) for batch in epoch_batches(cache, seed, epoch, 4)}
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert groups[0] != groups[1]
    assert groups[0] != groups[2]


def test_the_order_of_buckets_is_mixed():
    cache = cache_of(entry(0, (64, 64), 50), entry(1, (128, 64), 50))
    firsts = [batch[0].picture for batch in epoch_batches(cache, 1, 0, 5)]
    assert firsts != sorted(firsts)
    assert firsts != sorted(firsts, reverse=True)


def test_places_are_drawn_evenly():
    cache = cache_of(*(entry(index) for index in range(4)))
    places = Counter(
        (place, batch[0].picture)
        for epoch in range(2000)
        for place, batch in enumerate(epoch_batches(cache, 7, epoch, 1))
    )
    assert all(420 < places[place, picture] < 580 for place in range(4) for picture in range(4))


def test_half_of_the_showings_are_mirrored_and_only_where_there_is_a_mirror():
    cache = cache_of(entry(0, repeats=4000, flip=True), entry(1, repeats=50))
    shown = [showing for batch in epoch_batches(cache, 3, 0, 10) for showing in batch]
    mirrored = Counter(showing.picture for showing in shown if showing.flipped)
    assert 1880 < mirrored[0] < 2120
    assert mirrored[1] == 0


def test_a_batch():
    mask = torch.linspace(0, 1, 64).view(1, 8, 8)
    cache = cache_of(entry(0, flip=True, mask=mask), entry(1, regular=True), entry(2, flip=True))
    chosen = TrainSettings()
    chosen.loss.prior_loss_weight = 0.25
    batch = make_batch([Showing(0, 0, True), Showing(1, 0), Showing(2, 0)], cache, chosen, 1, 0)
    assert batch.latents.shape == (3, 4, 8, 8)
    assert batch.latents[:, 0, 0, 0].tolist() == [-1.0, 1.0, 2.0]
    assert batch.captions == ["t0, b, c", "t1, b, c", "t2, b, c"]
    assert torch.equal(batch.masks[0], mask.flip(-1))
    assert batch.masks[1:].eq(1).all()
    assert batch.loss_weights.tolist() == [1.0, 0.25, 1.0]
    assert batch.size_ids.tolist()[1] == [64.0, 72.0, 0.0, 4.0, 64.0, 64.0]
    assert {value.dtype for value in (batch.latents, batch.masks, batch.loss_weights, batch.size_ids)} == {
        torch.float32
    }


def test_no_masks_in_a_batch_is_none():
    cache = cache_of(entry(0), entry(1, mask=torch.ones(1, 8, 8)))
    assert make_batch([Showing(0, 0)], cache, TrainSettings(), 1, 0).masks is None
    assert make_batch([Showing(0, 0), Showing(1, 0)], cache, TrainSettings(), 1, 0).masks is not None


def test_captions_are_drawn_anew_for_each_showing_and_again_alike_for_the_same():
    cache = cache_of(entry(0, repeats=30))
    chosen = TrainSettings()
    chosen.dataset.shuffle_caption = True
    showings = [Showing(0, repeat) for repeat in range(30)]
    first = make_batch(showings, cache, chosen, 1, 0).captions
    assert len(set(first)) == 6
    assert make_batch(showings, cache, chosen, 1, 0).captions == first
    assert make_batch(showings[::-1], cache, chosen, 1, 0).captions == first[::-1]
    assert make_batch(showings, cache, chosen, 1, 1).captions != first
    assert make_batch(showings, cache, chosen, 2, 0).captions != first
