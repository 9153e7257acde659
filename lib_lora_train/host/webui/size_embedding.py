"""What SDXL is told about the size and the cut of a picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WIDTH = 256  # of each of the six numbers
_LONGEST_PERIOD = 10_000


def embed_sizes(size_ids: Tensor) -> Tensor:
    """(batch, 6) numbers to (batch, 1536) fp32: of each the cosines of 128 frequencies, then the sines.

    The order is kept: original height, width, crop top, left, target height, width, all in pixels.
    """
    half = _WIDTH // 2
    steps = torch.arange(half, dtype=torch.float32, device=size_ids.device) / half
    angles = size_ids.float()[..., None] * torch.exp(-math.log(_LONGEST_PERIOD) * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(1)
