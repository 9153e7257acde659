"""The original's U-Net and autoencoder in sizes that their constructors refuse: for the demo checkpoint.

They count on 32 groups in every normalisation and on whole multiples of the first width. A checkpoint's `.yaml` names
these classes; the WebUI makes its model from them and patches them like the ones they are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ldm.modules.attention as attention
import ldm.modules.diffusionmodules.model as autoencoder_parts
import ldm.modules.diffusionmodules.openaimodel as unet_parts
import ldm.modules.diffusionmodules.util as util
from ldm.models.autoencoder import AutoencoderKL
from torch import nn


class NarrowUNet(unet_parts.UNetModel):
    """`norm_num_groups` as in diffusers; `channel_mult` may hold fractions, such as 64 / 48."""

    def __init__(
        self, model_channels: int, channel_mult: Sequence[float], norm_num_groups: int = 32, **params: Any
    ) -> None:
        widths = tuple(_Multiple(round(multiple * model_channels)) for multiple in channel_mult)
        with _groups(norm_num_groups):
            super().__init__(model_channels=model_channels, channel_mult=widths, **params)


class NarrowAutoencoder(AutoencoderKL):
    """`ddconfig` with diffusers' `norm_num_groups` in it."""

    def __init__(self, ddconfig: Mapping[str, Any], **params: Any) -> None:
        with _groups(ddconfig["norm_num_groups"]):
            super().__init__(ddconfig=ddconfig, **params)


class _Multiple:
    """Times anything, it is the width it stands for: a fraction's product would be a float, which is no width."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __mul__(self, base: object) -> int:
        return self.width

    __rmul__ = __mul__


@contextmanager
def _groups(count: int) -> Iterator[None]:
    """Normalisations are made with `count` groups. The WebUI builds one model at a time."""

    def unet_norm(channels: int) -> nn.Module:
        return util.GroupNorm32(count, channels)

    def norm(in_channels: int, num_groups: int = count) -> nn.Module:
        return nn.GroupNorm(num_groups=count, num_channels=in_channels, eps=1e-6, affine=True)

    before = (unet_parts.normalization, attention.Normalize, autoencoder_parts.Normalize)
    unet_parts.normalization, attention.Normalize, autoencoder_parts.Normalize = unet_norm, norm, norm
    try:
        yield
    finally:
        unet_parts.normalization, attention.Normalize, autoencoder_parts.Normalize = before
