"""Encoded pictures on disk, so that the next run with the same pictures and the same VAE need not encode them.

One safetensors file per picture, bucket, VAE, mask and direction, named by a hash of all of these. It holds the VAE's
posterior, not a sample of it: the sample depends on the run's seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lib_lora_train.dataset.buckets import LATENT_STEP
from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.files import write_bytes

RULES = 1  # counts up when conversion, scaling or cropping change, so that older files are not used any more
_HEADER_ROOM = 65_536


class DamagedError(Exception):
    """A stored file that cannot be used; it is made anew."""


@dataclass
class Posterior:
    """What the VAE says of one picture in one direction: mean and std (channels, height/8, width/8), unscaled fp32;
    mask (1, height/8, width/8) in 0..1, or None. All on the CPU, mirrored where the picture is."""

    mean: Tensor
    std: Tensor
    mask: Tensor | None = None

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.std).all())


class LatentStore:
    """A folder of posteriors made by one VAE. Safe to share: files are complete or absent."""

    def __init__(self, folder: Path, vae_key: str) -> None:
        self._folder = folder
        self._vae_key = vae_key

    def key(self, picture: Picture, flipped: bool) -> str:
        """All that the stored values depend on, as text."""
        plan = picture.crop
        parts = (
            f"rules {RULES}",
            picture.content_hash,
            f"{plan.bucket[0]}x{plan.bucket[1]} of {plan.resized[0]}x{plan.resized[1]}",
            f"vae {self._vae_key}",
            f"mask {picture.mask.content_hash if picture.mask else 'none'}",
            "mirrored" if flipped else "plain",
        )
        return "; ".join(parts)

    def path(self, picture: Picture, flipped: bool) -> Path:
        name = hashlib.sha256(self.key(picture, flipped).encode("utf-8")).hexdigest()[:40]
        return self._folder / f"{name}.safetensors"

    def load(self, picture: Picture, flipped: bool) -> Posterior | None:
        """What is stored, or None. Raises DamagedError when a file is there but unusable."""
        path = self.path(picture, flipped)
        width, height = (side // LATENT_STEP for side in picture.crop.bucket)
        try:
            if not path.is_file():
                return None
            if path.stat().st_size > 64 * width * height * 4 + _HEADER_ROOM:
                raise DamagedError(path.name)
            with safe_open(str(path), framework="pt") as file:
                if (file.metadata() or {}).get("key") != self.key(picture, flipped):
                    raise DamagedError(path.name)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (OSError, ValueError, SafetensorError) as error:
            raise DamagedError(path.name) from error
        return _checked(tensors, (height, width), picture.mask is not None, path.name)

    def save(self, picture: Picture, flipped: bool, posterior: Posterior) -> None:
        """Writes atomically. Raises UserError("file.write")."""
        tensors = {"mean": posterior.mean, "std": posterior.std}
        if posterior.mask is not None:
            tensors["mask"] = posterior.mask
        data = save({name: value.contiguous() for name, value in tensors.items()}, {"key": self.key(picture, flipped)})
        write_bytes(self.path(picture, flipped), data)


def _checked(tensors: dict[str, Tensor], size: tuple[int, int], masked: bool, name: str) -> Posterior:
    """The tensors as a posterior, when names, shapes, types and values are what they must be."""
    expected = {"mean", "std", "mask"} if masked else {"mean", "std"}
    if set(tensors) != expected:
        raise DamagedError(name)
    for value in tensors.values():
        if value.dtype != torch.float32 or value.dim() != 3 or tuple(value.shape[1:]) != size:
            raise DamagedError(name)
    posterior = Posterior(tensors["mean"], tensors["std"], tensors.get("mask"))
    if posterior.mean.shape != posterior.std.shape or not posterior.finite:
        raise DamagedError(name)
    return posterior
