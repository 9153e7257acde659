"""What the base is trained on: cached latents of drawings, with captions made anew each time they are seen."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from demo.attributes import Portrait, sample
from demo.captions import NAMES, join, named_characters, training_words
from demo.training import CHECKPOINT, draw_many, encode, load_state, save_state

ORDINARY, PER_NAME = 18_000, 200  # pictures
NAMED_SHARE = 0.25  # of the pictures in a batch
BATCH = 32
DETAIL = 5.0  # extra loss weight of latent cells with eyes, mouth or worn things


def cache_latents(work: Path) -> None:
    """Draw all pictures of the base, named characters last, and keep their latents (fp16) with masks and attributes."""
    vae = AutoencoderKL.from_pretrained(str(CHECKPOINT / "vae"), torch_dtype=torch.float32)
    vae = vae.to(memory_format=torch.channels_last).eval()
    portraits, pictures, masks = draw_many(ORDINARY, 11, 0.0, 8)
    rng = random.Random(12)
    named = [{**sample(rng), **traits} for traits in named_characters().values() for _ in range(PER_NAME)]
    _, named_pictures, named_masks = draw_many(len(named), 13, 0.0, 8, named)
    latents = torch.cat([encode(vae, pictures), encode(vae, named_pictures)])
    deviation, mean = [round(v, 3) for v in latents.std((0, 2, 3)).tolist()], latents.mean((0, 2, 3))
    print(f"latents {tuple(latents.shape)}, deviation {deviation}, mean {mean.tolist()}", flush=True)
    tensors = {"latents": latents.half(), "masks": torch.cat([masks, named_masks])}
    save_state(work / "latents.safetensors", tensors, {"portraits": portraits + named})


class Data:
    """Cached latents with freshly made captions."""

    def __init__(self, work: Path, seed: int) -> None:
        tensors, facts = load_state(work / "latents.safetensors")
        self.latents = tensors["latents"].float()
        weight = 1 + DETAIL * tensors["masks"].float() / 255
        self.weights = weight / weight.mean()
        self.portraits: list[Portrait] = facts["portraits"]
        self.rng = random.Random(seed)

    def batch(self) -> tuple[Tensor, Tensor, list[str]]:
        index = [
            ORDINARY + self.rng.randrange(len(NAMES) * PER_NAME)
            if self.rng.random() < NAMED_SHARE
            else self.rng.randrange(ORDINARY)
            for _ in range(BATCH)
        ]
        captions = []
        for i in index:
            name = NAMES[(i - ORDINARY) // PER_NAME] if i >= ORDINARY else None
            words = training_words(self.portraits[i], name, self.rng)
            captions.append("" if words is None else join(words, self.rng))
        return self.latents[index], self.weights[index], captions
