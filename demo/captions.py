"""Captions in booru style, the named characters of the base model, and the words kept for characters to come."""

from __future__ import annotations

import random

from demo.attributes import ATTRIBUTES, FREE, NONE, TRAITS, Portrait, sample, tags

#: Characters that the base knows by name. A caption with a name often leaves the traits out, so the base learns that
#: a name decides them. A LoRA can then attach a new character to a new name instead of to every picture.
NAMES = (
    "alice", "bella", "clara", "daphne", "elena", "fiona", "greta", "hanna", "iris", "julia", "karin", "lucia",
    "mina", "nora", "olga", "petra", "rosa", "sofia", "tamara", "ursula", "vera", "wanda", "xenia", "yuki",
)  # fmt: skip

#: Whole tokens that no caption of the base holds: trigger words for characters to teach (see ``reserved.py``).
RESERVED = ("zelkova", "quillon", "mirabel", "tovani", "ashgrove", "peridot", "lumira", "kestrel")

Names = dict[str, Portrait]


def named_characters(seed: int = 5) -> Names:
    """Name -> its traits (only those of ``TRAITS``), all different."""
    rng = random.Random(seed)
    seen: set[tuple[str, ...]] = set()
    characters: Names = {}
    while len(characters) < len(NAMES):
        portrait = sample(rng)
        key = tuple(portrait[trait] for trait in TRAITS)
        if key not in seen:
            seen.add(key)
            characters[NAMES[len(characters)]] = dict(zip(TRAITS, key, strict=True))
    return characters


def join(words: list[str], rng: random.Random) -> str:
    """``1girl`` and then the words in random order, as a caption."""
    words = list(words)
    rng.shuffle(words)
    return ", ".join(["1girl", *words])


def caption(portrait: Portrait, rng: random.Random, drop: float = 0.0, extra: tuple[str, ...] = ()) -> str:
    """A caption of a portrait; each tag is left out with probability ``drop``; ``extra`` words always stay."""
    return join([tag for tag in tags(portrait) if rng.random() >= drop] + list(extra), rng)


def training_words(portrait: Portrait, name: str | None, rng: random.Random) -> list[str] | None:
    """The words (without ``1girl``) of one training caption of the base; None for the empty caption.

    One caption in ten is empty (guidance needs it); tags go missing at several rates, so that captions of one to three
    tags are common. A named character is mostly called by name alone, with free tags.
    """
    if rng.random() < 0.1:
        return None
    drop = rng.choice((0.0, 0.0, 0.2, 0.5, 0.75))
    if name is not None and (chance := rng.random()) < 0.85:
        kept = tags(portrait, FREE) if chance < 0.7 else tags(portrait)
        return [name, *(tag for tag in kept if rng.random() >= drop)]
    return [tag for tag in tags(portrait) if rng.random() >= drop]


def targets(words: list[str] | None, names: Names) -> list[int]:
    """Per attribute what the words say: 0 for nothing, else 1 + the index of the value; a name stands for its traits."""
    said = set(words or ())
    for word in words or ():
        said.update(names.get(word, {}).values())
    said.discard(NONE)
    return [next((1 + i for i, value in enumerate(values) if value in said), 0) for values in ATTRIBUTES.values()]
