"""What a portrait can look like: one table of attributes, and seeded sampling from it.

Every value is at the same time the booru tag that names it. ``none`` is a value without a tag.
"""

from __future__ import annotations

import random

Portrait = dict[str, str]

NONE = "none"

#: Never drawn for the base model's U-Net and text encoder, so that the demo can teach something new.
HELD_OUT = "horns"

#: Attribute -> its values. The order of values is the order of classes everywhere.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "hair_color": (
        "blonde hair", "brown hair", "black hair", "blue hair", "pink hair", "green hair", "red hair", "purple hair",
    ),
    "hair_style": ("short hair", "long hair", "twintails", "ponytail"),
    "eye_color": ("blue eyes", "green eyes", "purple eyes", "yellow eyes", "red eyes"),
    "headwear": (NONE, "cat ears", "beret", "crown", "hair bow", HELD_OUT),
    "accessory": (NONE, "glasses", "eyepatch", "earrings", "scarf"),
    "expression": ("smile", "open mouth", "frown", "expressionless"),
    "framing": ("close-up", "upper body"),
    "background": ("white background", "blue sky", "night sky", "forest", "pink background", "sunset"),
}  # fmt: skip

#: What makes a character, and what a caption asks for freely.
TRAITS = ("hair_color", "hair_style", "eye_color", "headwear", "accessory")
FREE = ("expression", "framing", "background")

#: The character that the demo teaches. Three or more of its traits never meet in the base model's pictures.
CHARACTER: Portrait = {
    "hair_color": "green hair",
    "hair_style": "twintails",
    "eye_color": "red eyes",
    "headwear": HELD_OUT,
    "accessory": "scarf",
}

#: Relative frequencies other than 1. The character's own traits are rare, so that luck alone rarely shows them.
WEIGHTS = {NONE: 1.5, "green hair": 0.5, "twintails": 0.5, "red eyes": 0.5, "scarf": 0.7, HELD_OUT: 0.0}


def resembles_character(portrait: Portrait) -> bool:
    """True if a portrait has three or more of the demo character's traits."""
    return sum(portrait[trait] == value for trait, value in CHARACTER.items()) >= 3


def sample(rng: random.Random, held_out: float = 0.0) -> Portrait:
    """One random portrait; ``held_out`` is the share that wears the held-out headwear (0 for the base's training)."""
    while True:
        portrait = {
            attribute: rng.choices(values, [WEIGHTS.get(value, 1.0) for value in values])[0]
            for attribute, values in ATTRIBUTES.items()
        }
        if rng.random() < held_out:
            portrait["headwear"] = HELD_OUT
        if held_out or not resembles_character(portrait):
            return portrait


def tags(portrait: Portrait, attributes: tuple[str, ...] = tuple(ATTRIBUTES)) -> list[str]:
    """The tags of a portrait (of some attributes), in table order; ``none`` has no tag."""
    return [portrait[attribute] for attribute in attributes if portrait[attribute] != NONE]
