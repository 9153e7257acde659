"""Trading time for memory: blocks that are computed again in the backward pass instead of kept.

The wrapping is our own, on the instance, and works alike on diffusers' and LDM's modules. Non-reentrant
checkpointing gives the same gradients bit for bit and needs no input that requires one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def diffusers_blocks(unet: nn.Module) -> list[str]:
    """Names of the residual blocks and spatial transformers of a diffusers U-Net, in the order they are computed."""
    names: list[str] = []
    for part, blocks in (("down_blocks", unet.down_blocks), ("up_blocks", unet.up_blocks)):
        if part == "up_blocks":
            # The middle has one residual block more than attentions, and begins with it.
            middle = unet.mid_block
            names.append("mid_block.resnets.0")
            for index in range(len(middle.attentions)):
                names += [f"mid_block.attentions.{index}", f"mid_block.resnets.{index + 1}"]
        for level, block in enumerate(blocks):
            attends = hasattr(block, "attentions")
            for index in range(len(block.resnets)):
                names.append(f"{part}.{level}.resnets.{index}")
                if attends:
                    names.append(f"{part}.{level}.attentions.{index}")
    return names


@contextmanager
def recomputed(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside the block the modules `names` of `model` keep no activations but their input.

    Only `forward` in the instances' own dicts is replaced, and put back on every way out. A module that somebody
    else has replaced `forward` on meanwhile is left to them.
    """
    wrapped: list[tuple[nn.Module, RecomputedForward]] = []
    try:
        for name in names:
            module = model.get_submodule(name)
            forward = RecomputedForward(module)
            module.__dict__["forward"] = forward
            wrapped.append((module, forward))
        yield
    finally:
        for module, forward in reversed(wrapped):
            forward.restore(module)


class Recomputation:
    """How many of a model's blocks, counted from the first, are computed again. All off when its `with` ends."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self._model = model
        self._names = tuple(names)
        self._stack = ExitStack()

    def use(self, count: int) -> None:
        """From now on the first `count` blocks, whatever it was before."""
        self._stack.close()
        self._stack.enter_context(recomputed(self._model, self._names[:count]))

    def __enter__(self) -> Recomputation:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class RecomputedForward:
    """A module's `forward` under torch.utils.checkpoint while gradients are on."""

    def __init__(self, module: nn.Module) -> None:
        self.own = module.__dict__.get("forward")
        self.original = module.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.original(*args, **kwargs)
        return checkpoint(self.original, *args, use_reentrant=False, **kwargs)

    def restore(self, module: nn.Module) -> None:
        if module.__dict__.get("forward") is not self:
            return
        if self.own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = self.own
