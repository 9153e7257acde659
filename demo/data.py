"""What the base is trained on: cached latents of drawings, with captions made anew each time they are seen."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from demo.attributes import Portrait, sample
from demo.captions import NAMES, join, named_characters, training_words
from demo.training import CHECKPOINT, draw_many, encode, load_state, save_state

ORDINARY, PER_NAME = 12_000, 100  # pictures
NAMED_SHARE = 0.25  # of the pictures in a batch
BATCH = 16  # per process


def encode_part(vae_folder: Path, seed: int, portraits: list[Portrait]) -> tuple[Tensor, Tensor]:
    """Draw and encode some portraits on one thread: latents fp16 (n, 4, 16, 16), masks uint8 (n, 1, 16, 16)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    vae = AutoencoderKL.from_pretrained(str(vae_folder), torch_dtype=torch.float32).eval()
    _, pictures, masks = draw_many(len(portraits), seed, 0.0, 8, portraits)
    return encode(vae.to(memory_format=torch.channels_last), pictures).half(), masks


def cache_latents(work: Path) -> None:
    """Draw all pictures of the base, named characters last, and keep their latents with masks and attributes."""
    rng = random.Random(11)
    portraits = [sample(rng) for _ in range(ORDINARY)]
    portraits += [{**sample(rng), **traits} for traits in named_characters().values() for _ in range(PER_NAME)]
    starts = range(0, len(portraits), 300)
    # processes of one thread each: on a busy machine two threads in step wait for each other most of the time
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(encode_part, CHECKPOINT / "vae", start, portraits[start : start + 300]) for start in starts]
        parts = [job.result() for job in jobs]
    latents = torch.cat([part for part, _ in parts])
    deviation, mean = latents.float().std((0, 2, 3)).tolist(), latents.float().mean((0, 2, 3)).tolist()
    print(f"{len(latents)} latents, deviation {deviation}, mean {mean}", flush=True)
    tensors = {"latents": latents, "masks": torch.cat([part for _, part in parts])}
    save_state(work / "latents.safetensors", tensors, {"portraits": portraits})


class Data:
    """Cached latents with freshly made captions; ``detail`` is the extra loss weight of cells with eyes, mouth, worn things."""

    def __init__(self, work: Path, seed: int, detail: float) -> None:
        tensors, facts = load_state(work / "latents.safetensors")
        self.latents = tensors["latents"].float()
        weight = 1 + detail * tensors["masks"].float() / 255
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
