"""What the training scripts share: tensors of drawings, wall-clock schedule, moving average, state files."""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from demo.attributes import Portrait, sample
from demo.draw import draw

CHECKPOINT = Path(__file__).parent / "checkpoint"
SCALE = 0.18215  # Stable Diffusion 1's latent scale


def setup(description: str) -> argparse.Namespace:
    """Common command line; two threads' worth of CPU manners (denormals cost a factor of three here)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder for training state, outside the repository")
    parser.add_argument("--minutes", type=float, required=True, help="length of this leg")
    parser.add_argument("--stage", default="", help="which part to train, where the script has several")
    parser.add_argument("--resume", action="store_true", help="continue from the state in --work")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    return arguments


def tensor(pictures: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) -> float32 in -1..1, channels last."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def draw_many(
    count: int, seed: int, held_out: float, cell: int, given: list[Portrait] | None = None
) -> tuple[list[Portrait], Tensor, Tensor]:
    """Portraits, pictures uint8 (n, 3, 128, 128), and detail masks uint8 (n, 1, 128 / cell, 128 / cell) in 0..255.

    The portraits are sampled unless they are ``given``.
    """
    rng = random.Random(seed)
    portraits = given or [sample(rng, held_out) for _ in range(count)]
    pictures = torch.empty(count, 3, 128, 128, dtype=torch.uint8)
    masks = torch.empty(count, 1, 128 // cell, 128 // cell, dtype=torch.uint8)
    for i, portrait in enumerate(portraits):
        drawing = draw(portrait, rng)
        pictures[i] = torch.from_numpy(np.array(drawing.image)).permute(2, 0, 1)
        masks[i, 0] = torch.from_numpy((drawing.mask(cell) * 255).astype(np.uint8))
    return portraits, pictures, masks


class Clock:
    """Wall-clock schedule of one leg: ``rate()`` is warm-up, plateau, then cosine to zero at the end."""

    def __init__(self, minutes: float, warmup: float = 0.01, plateau: float = 0.3) -> None:
        self.start, self.seconds, self.warmup, self.plateau = time.monotonic(), minutes * 60, warmup, plateau

    def share(self) -> float:
        return (time.monotonic() - self.start) / self.seconds

    def rate(self) -> float:
        share = min(1.0, self.share())
        fall = max(0.0, (share - self.plateau) / (1 - self.plateau))
        return min(1.0, share / self.warmup + 0.01) * (0.5 + 0.5 * math.cos(math.pi * fall))


class Average:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.parameters = list(module.parameters())
        self.values = [p.detach().clone() for p in self.parameters]
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange parameters and averages; call again to undo."""
        for p, value in zip(self.parameters, self.values, strict=True):
            kept = p.detach().clone()
            p.copy_(value)
            value.copy_(kept)


def save_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Training state as safetensors with JSON beside it."""
    temporary = path.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
    temporary.replace(path)
    path.with_suffix(".json").write_text(json.dumps(facts))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict]:
    return load_file(path), json.loads(path.with_suffix(".json").read_text())


def export(model: nn.Module, folder: Path) -> None:
    """Save a diffusers / transformers model in fp16 (safetensors wants contiguous weights)."""
    plain = type(model).from_config(model.config) if hasattr(model, "from_config") else type(model)(model.config)
    plain.load_state_dict({key: value.detach().contiguous() for key, value in model.state_dict().items()})
    plain.half().save_pretrained(folder)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Mean latents of uint8 pictures, scaled: (n, 4, h / 8, w / 8)."""
    return torch.cat([vae.encode(tensor(part)).latent_dist.mean for part in pictures.split(4)]) * SCALE


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """uint8 pictures (n, 3, h, w) of scaled latents."""
    parts = [vae.decode(part / SCALE).sample for part in latents.split(4)]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().byte()
