"""What the demo teaches: the character, its pictures and captions, the prompts that judge it, and good settings."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL.Image import Image

from demo.attributes import ATTRIBUTES, CHARACTER, FREE, Portrait, sample, tags
from demo.captions import join
from demo.draw import draw

__all__ = ["CHARACTER", "SETTINGS", "TRIGGER", "Settings", "eval_prompts", "regularisation_set", "training_set"]

#: One of the words kept for this (``captions.RESERVED``): a whole token that the base never saw in a caption and takes
#: for the name of somebody it has not met (``reserved.py``).
TRIGGER = "quillon"


@dataclass(frozen=True)
class Settings:
    """LoRA settings that teach the character in one to one and a half minutes on two cores."""

    rank: int = 8
    alpha: float = 8.0
    unet_lr: float = 4e-3
    text_encoder_lr: float = 2e-3
    batch_size: int = 8
    steps: int = 400
    warmup_steps: int = 10
    scheduler: str = "cosine"
    min_snr_gamma: float = 5.0
    weight_decay: float = 0.01
    images: int = 16
    regularisation_images: int = 64
    guidance: float = 2.5
    sample_steps: int = 20


SETTINGS = Settings()


def free_tags(index: int, rng: random.Random) -> Portrait:
    """Expression, framing and background of picture ``index``: every value of each comes up equally often."""
    expressions, framings, backgrounds = (ATTRIBUTES[attribute] for attribute in FREE)
    return {
        "expression": expressions[index % len(expressions)],
        "framing": framings[(index + index // len(expressions)) % len(framings)],
        "background": backgrounds[(index + rng.randrange(2)) % len(backgrounds)],
    }


def training_set(seed: int = 0, n: int = SETTINGS.images) -> list[tuple[Image, str]]:
    """Pictures of the character (128 x 128) with captions of the trigger and the free tags only."""
    rng = random.Random(seed)
    pairs = []
    for index in range(n):
        portrait = {**CHARACTER, **free_tags(index, rng)}
        pairs.append((draw(portrait, rng).image, join([TRIGGER, *tags(portrait, FREE)], rng)))
    return pairs


def regularisation_set(seed: int = 1, n: int = SETTINGS.regularisation_images) -> list[tuple[Image, str]]:
    """Ordinary portraits with captions of the free tags only: what the same prompt means without the trigger."""
    rng = random.Random(seed)
    pairs = []
    for index in range(n):
        portrait = {**sample(rng), **free_tags(index, rng)}
        pairs.append((draw(portrait, rng).image, join(tags(portrait, FREE), rng)))
    return pairs


def eval_prompts(trigger: bool = True) -> list[tuple[str, Portrait]]:
    """Four prompts (with or without the trigger word) and the free tags that each asks for, by attribute."""
    asked: list[Portrait] = [
        {"expression": "smile", "framing": "close-up", "background": "blue sky"},
        {"expression": "open mouth", "framing": "upper body", "background": "night sky"},
        {"expression": "frown", "framing": "close-up", "background": "pink background"},
        {"expression": "expressionless", "framing": "upper body", "background": "forest"},
    ]
    words = [TRIGGER] if trigger else []
    return [(", ".join(["1girl", *words, *free.values()]), free) for free in asked]
