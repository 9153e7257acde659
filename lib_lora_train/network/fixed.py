"""A network that nobody trains, at one multiplier, put on the layers so that pictures cost little more than without it.

The same sum as in `modules.py`, in another order: up to the last bits the output is the same. Nothing is merged into
the layers' own weights, and only `forward` in the instances' own dicts is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lib_lora_train.network.modules import Adapter
from lib_lora_train.network.network import AdapterNetwork

_MOST_ADDED = 0.1  # of a layer's multiplications: where the two matrices take more, W + up @ down is computed once
_MOST_COPIED = 2**26  # weights, a quarter of a gigabyte; large layers at usual ranks need none

Forward = Callable[[Tensor], Tensor]


class FixedNetwork:
    """`network` at `multiplier`, without dropout. To be made anew when the network or the model has changed.

    Layers that are no plain Linear or 1x1 convolution, or that somebody else has put a `forward` on, get the adapters
    as in training, which read the multiplier of the network's state.
    """

    def __init__(self, network: AdapterNetwork, multiplier: float) -> None:
        self.network = network
        self.multiplier = multiplier
        self._forwards: list[tuple[Adapter, Forward | None]] = []
        left = _MOST_COPIED
        with torch.no_grad():
            for adapter in network.adapters.values():
                forward = None
                if _plain(adapter):
                    size = adapter.site.module.weight.numel()
                    copied = _copies(adapter) and size <= left
                    left -= size if copied else 0
                    forward = (_from_copy if copied else _added)(adapter, multiplier * adapter.scale)
                self._forwards.append((adapter, forward))

    @contextmanager
    def attached(self) -> Iterator[FixedNetwork]:
        """On inside the block, for passes without gradients; every layer is as it was on every way out of it."""
        put: list[tuple[nn.Module, Forward]] = []
        as_in_training: list[Adapter] = []
        try:
            for adapter, forward in self._forwards:
                own = vars(adapter.site.module)
                if forward is None or "forward" in own:
                    adapter.attach()
                    as_in_training.append(adapter)
                else:
                    own["forward"] = forward
                    put.append((adapter.site.module, forward))
            yield self
        finally:
            for module, forward in put:
                if vars(module).get("forward") is forward:
                    del vars(module)["forward"]
            for adapter in as_in_training:
                adapter.detach()


class LastFixed:
    """The network that was asked for last: pictures are drawn in the order of files and weights."""

    def __init__(self) -> None:
        self._last: FixedNetwork | None = None

    def of(self, network: AdapterNetwork, multiplier: float) -> FixedNetwork:
        """`network` must not have been trained since it was asked for."""
        last = self._last
        if last is None or last.network is not network or last.multiplier != multiplier:
            self._last = None  # first, so that the copies of two never lie in memory together
            last = self._last = FixedNetwork(network, multiplier)
        return last


def _plain(adapter: Adapter) -> bool:
    """Whether the layer computes what torch's own does: hosts replace the class's `forward`, or take a class of theirs."""
    module = adapter.site.module
    if type(module) is nn.Conv2d:
        ordinary = module.groups == 1 and module.padding_mode == "zeros"
    else:
        ordinary = type(module) is nn.Linear
    return ordinary and type(module).forward.__module__.startswith("torch.nn.modules.")


def _copies(adapter: Adapter) -> bool:
    """Whether W + up @ down is worth its memory. In half precision a small change would be rounded away."""
    site = adapter.site
    added = adapter.rank * (site.in_features + site.out_features)
    return site.module.weight.dtype == torch.float32 and added > _MOST_ADDED * site.in_features * site.out_features


def _from_copy(adapter: Adapter, factor: float) -> Forward:
    module = adapter.site.module
    down, up = adapter.lora_down.flatten(1), adapter.lora_up.flatten(1)
    weight = torch.addmm(module.weight.flatten(1), up, down, alpha=factor).view_as(module.weight)
    if adapter.site.kind == "conv":
        return lambda input: F.conv2d(input, weight, module.bias, module.stride, module.padding)
    return lambda input: F.linear(input, weight, module.bias)


def _added(adapter: Adapter, factor: float) -> Forward:
    """Into the layer's output, which is nobody else's yet. The weights are cast once."""
    module, dtype = adapter.site.module, adapter.site.module.weight.dtype
    down, up = adapter.lora_down.detach().to(dtype), adapter.lora_up.detach().to(dtype)

    def convolution(input: Tensor) -> Tensor:
        output = F.conv2d(input, module.weight, module.bias, module.stride, module.padding)
        low = F.conv2d(input, down, stride=module.stride, padding=module.padding)
        return output.add_(F.conv2d(low.mul_(factor), up))

    def linear(input: Tensor) -> Tensor:
        output = F.linear(input, module.weight, module.bias)
        flat = output.flatten(0, -2)
        flat.addmm_(F.linear(input, down).flatten(0, -2), up.t(), alpha=factor)
        return flat.view(output.shape)

    return convolution if adapter.site.kind == "conv" else linear
