"""A checksum of tensors computed where they lie, fast enough to run at every borrowing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Numbers mixed at once: on a CPU what its cache holds (15 times as fast as large pieces), elsewhere enough to keep
# a GPU busy with few launches.
_CPU_CHUNK, _GPU_CHUNK = 2**15, 2**22
_STEP = 0x9E3779B97F4A7C15 - 2**64  # odd constants from splitmix64 (Steele et al., 2014), as signed 64-bit numbers
_CARRY = 0xBF58476D1CE4E5B9 - 2**64


def checksums(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A 64-bit checksum of every tensor's bits, by name.

    Bits are read as integers, multiplied by a number that depends on the position, and summed modulo 2^64. Every
    change of a single number changes the sum, since the factors are odd; so do swaps, except by rare chance. The
    results of a device are fetched together, so a GPU is waited for once.
    """
    sums: dict[torch.device, dict[str, Tensor]] = {}
    weights: dict[torch.device, Tensor] = {}
    found: dict[str, str] = {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor.is_meta or tensor.numel() == 0:
                found[name] = "empty"
                continue
            device = tensor.device
            if device not in weights:
                chunk = _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK
                weights[device] = torch.arange(1, 2 * chunk, 2, device=device, dtype=torch.int64) * _STEP
            sums.setdefault(device, {})[name] = _checksum(tensor, weights[device])
        for held in sums.values():
            values = torch.stack(list(held.values())).tolist()
            found |= {name: f"{value & (2**64 - 1):016x}" for name, value in zip(held, values, strict=True)}
    return found


def _checksum(tensor: Tensor, weights: Tensor) -> Tensor:
    """0-dim int64."""
    numbers = _as_integers(tensor.detach())
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for chunk in numbers.split(len(weights)):
        total = total * _CARRY + (chunk * weights[: len(chunk)]).sum()
    return total


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits of a tensor in the order of its axes, as a flat tensor of int64, or of its own width if that is odd."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    flat = tensor.contiguous().reshape(-1)
    width = flat.element_size()
    if flat.numel() * width % 8:
        return flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[width])
    if flat.storage_offset() * width % 8:
        flat = flat.clone()  # a view of another width must begin at a multiple of it
    return flat.view(torch.int64)
