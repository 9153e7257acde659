"""Training in half precision without autocast.

The WebUI computes pictures under autocast: every normalisation makes an fp32 copy of its input, and what it gives is
made half again for each layer that reads it. For a picture that is nothing; a training keeps these copies for its
backward pass (a fifth more memory) and waits for them (a third more of the time outside of matrix products). The
weights are half already and the kernels add up in fp32 inside, so the numbers are the same without.

What stands in the way is that the normalisations of the original's U-Net turn their input into fp32 themselves, which
only autocast lets them do with half weights, and that this U-Net takes fp32 for its own type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def is_half(unet: nn.Module) -> bool:
    """Whether all weights are in one half-precision type: with --upcast-sampling some are not."""
    kinds = {parameter.dtype for parameter in unet.parameters()}
    return len(kinds) == 1 and kinds <= {torch.float16, torch.bfloat16}


@contextmanager
def half_norms(unet: nn.Module) -> Iterator[None]:
    """Inside the block the normalisations compute in the type of their weights, unless autocast is on.

    Only `forward` in the instances' own dicts is replaced. A module that somebody else has replaced it on, before or
    meanwhile, is left to them.
    """
    replaced: list[tuple[nn.Module, HalfNorm]] = []
    try:
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm) and type(module) is not nn.GroupNorm and "forward" not in vars(module):
                norm = HalfNorm(module)
                module.__dict__["forward"] = norm
                replaced.append((module, norm))
        yield
    finally:
        for module, norm in replaced:
            if module.__dict__.get("forward") is norm:
                del module.__dict__["forward"]


class HalfNorm:
    """The `forward` of a group normalisation that would compute in fp32."""

    def __init__(self, module: nn.GroupNorm) -> None:
        self.module = module
        self.original = module.forward

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled():
            return self.original(x)
        module = self.module
        return F.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)


@contextmanager
def own_dtype(unet: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block the U-Net takes `dtype` for its own type, which it gives to its input."""
    before = unet.dtype
    unet.dtype = dtype
    try:
        yield
    finally:
        unet.dtype = before
