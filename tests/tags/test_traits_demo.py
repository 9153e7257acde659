"""The advice against the truth: drawn characters, read by the demo's tagger, in data sets of many shapes.

What makes a character is known from the drawing program (`TRAITS`); everything else changes from picture to picture.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from demo.attributes import ATTRIBUTES, CHARACTER, NONE, TRAITS, Portrait, tags
from demo.captions import join, named_characters
from demo.character import free_tags
from demo.draw import draw
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.traits import advise, load_rules
from lib_lora_train.vision.tagger import Tagger

TAGGER = Path(__file__).parents[2] / "demo" / "tagger"
DRAWN, SETS = 24, 20
TRIGGER = "kestrel"


def characters() -> dict[str, Portrait]:
    """The demo's, and the two of the base's that wear something on the head and on the face."""
    worn = {name: traits for name, traits in named_characters().items() if NONE not in traits.values()}
    return {"quillon": CHARACTER} | dict(list(worn.items())[:2])


def read_drawings(character: Portrait, seed: int) -> list[list[str]]:
    """Tags that the demo's tagger sees in drawings of a character."""
    rng = random.Random(seed)
    pictures = [draw({**character, **free_tags(number, rng)}, rng).image for number in range(DRAWN)]
    with Tagger(TAGGER) as tagger:
        names, rows = tagger.tags, tagger.probabilities(pictures)
    return [[n for n, p in zip(names, row, strict=True) if p >= 0.35 and n != "general"] for row in rows]


def data_set(drawings: list[list[str]], rng: random.Random) -> list[Item]:
    """Some of the drawings; some tags were missed, some traits taken for others, some captions sorted by hand."""
    count = rng.randint(8, DRAWN)
    missed, mistaken = rng.choice((0.0, 0.05, 0.1, 0.2)), rng.choice((0.0, 0.0, 0.03, 0.06))
    others = [value for trait in TRAITS for value in ATTRIBUTES[trait] if value != NONE]
    items = []
    for number, seen in enumerate(rng.sample(drawings, count)):
        words = [tag for tag in seen if tag != "1girl" and rng.random() >= missed]
        words = [rng.choice(others) if tag in others and rng.random() < mistaken else tag for tag in words]
        line = f"{TRIGGER}, {join(list(dict.fromkeys(words)), rng)}"
        if rng.random() < 0.3:
            line = line.replace(" ", "_").replace(",_", ", ")
        key = f"{number:03d}.txt"
        items.append(
            Item(
                key,
                key,
                f"{key}.png",
                key,
                "",
                False,
                128,
                128,
                9,
                "s",
                line,
                "v",
                (key,),
                tuple(line.split(", ")),
                False,
            )
        )
    return items


@pytest.mark.parametrize("name", characters())
def test_the_advice_is_the_truth(name: str) -> None:
    character = characters()[name]
    traits = set(tags(character, TRAITS))
    assert len(traits) == 5
    drawings = read_drawings(character, seed=len(name))
    rules, right, all_tags = load_rules(), 0, 0
    for seed in range(SETS):
        advice = advise(data_set(drawings, random.Random(f"{name} {seed}")), "character", rules, TRIGGER)
        assert len(advice.rows) >= len(traits)
        for row in advice.rows:
            bound = row.decision == "bind"
            right += bound == (row.tag.replace("_", " ") in traits)
            all_tags += 1
    assert all_tags > 15 * SETS
    assert right >= 0.95 * all_tags, f"{right} of {all_tags}"
