"""The drawing program: what it samples, where it says the details are, and what it must never show the base."""

from __future__ import annotations

import random

import numpy as np
import pytest

from demo.attributes import ATTRIBUTES, CHARACTER, FREE, HELD_OUT, NONE, TRAITS, resembles_character, sample, tags
from demo.captions import NAMES, RESERVED, named_characters, targets, training_words
from demo.character import SETTINGS, TRIGGER, eval_prompts, regularisation_set, training_set
from demo.draw import SIZE, draw


def test_same_seed_same_picture() -> None:
    portrait = sample(random.Random(3))
    first, second = (np.asarray(draw(portrait, random.Random(4)).image) for _ in range(2))
    assert first.shape == (SIZE, SIZE, 3)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("attribute", list(ATTRIBUTES))
def test_every_value_looks_different(attribute: str) -> None:
    portrait = {name: values[0] for name, values in ATTRIBUTES.items()}
    pictures = [
        np.asarray(draw({**portrait, attribute: value}, random.Random(0)).image, np.int16)
        for value in ATTRIBUTES[attribute]
    ]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert (np.abs(first - second).max(2) > 40).sum() > 40


def test_mask_marks_the_details() -> None:
    portrait = {**sample(random.Random(0)), "accessory": "glasses", "framing": "close-up"}
    mask = draw(portrait, random.Random(0)).mask()
    assert mask.shape == (16, 16)
    assert 0.1 < mask.mean() < 0.6
    assert mask[0].max() == 0


def test_base_never_sees_the_character() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        portrait = sample(rng)
        assert portrait["headwear"] != HELD_OUT
        assert not resembles_character(portrait)
    for traits in named_characters().values():
        assert not resembles_character(traits)
        assert traits["headwear"] != HELD_OUT


def test_held_out_headwear_where_asked_for() -> None:
    rng = random.Random(1)
    share = sum(sample(rng, 0.2)["headwear"] == HELD_OUT for _ in range(1000)) / 1000
    assert 0.15 < share < 0.25


def test_captions_hold_only_true_tags() -> None:
    rng, names = random.Random(2), named_characters()
    for i in range(500):
        name = NAMES[i % len(NAMES)] if i % 3 == 0 else None
        portrait = {**sample(rng), **(names[name] if name else {})}
        words = training_words(portrait, name, rng)
        assert set(words or ()) <= {*tags(portrait), name}
        said = targets(words, names)
        for (attribute, values), number in zip(ATTRIBUTES.items(), said, strict=True):
            assert number == 0 or values[number - 1] == portrait[attribute]


def test_names_have_their_own_traits() -> None:
    names = named_characters()
    assert list(names) == list(NAMES)
    assert len({tuple(traits.values()) for traits in names.values()}) == len(NAMES)
    assert NONE not in {word for traits in names.values() for word in tags({**sample(random.Random(0)), **traits})}


def test_training_set_names_the_character_only_by_trigger() -> None:
    pairs = training_set(0, 16)
    assert len(pairs) == 16
    assert TRIGGER in RESERVED
    hidden = {CHARACTER[trait] for trait in TRAITS}
    for image, caption in pairs:
        words = caption.split(", ")
        assert image.size == (SIZE, SIZE)
        assert words[0] == "1girl" and TRIGGER in words
        assert not hidden & set(words)
        assert len(words) == 2 + len(FREE)


def test_regularisation_set_lacks_the_trigger() -> None:
    pairs = regularisation_set(1, SETTINGS.regularisation_images)
    assert all(TRIGGER not in caption for _, caption in pairs)


def test_evaluation_prompts_cover_the_free_tags() -> None:
    with_trigger, without = eval_prompts(), eval_prompts(trigger=False)
    assert len(with_trigger) == 4
    assert {free["expression"] for _, free in with_trigger} == set(ATTRIBUTES["expression"])
    for (first, free), (second, _) in zip(with_trigger, without, strict=True):
        assert TRIGGER in first and first.replace(f" {TRIGGER},", "") == second
        assert set(free.values()) <= set(first.split(", "))
