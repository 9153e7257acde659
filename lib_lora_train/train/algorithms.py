"""Lion and Adafactor, written here so that they do not depend on what the host has installed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Lion of Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023): the sign of a mixed momentum.

    The step is `lr * sign(b1 * momentum + (1 - b1) * gradient)`, the momentum then follows with b2; weight decay is
    decoupled. Rates a third to a tenth of AdamW's are usual.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        """Raises ValueError for a beta outside 0..1 or a negative weight decay."""
        if not all(0.0 <= beta <= 1.0 for beta in betas):
            raise ValueError(f"betas = {betas}")
        if weight_decay < 0.0:
            raise ValueError(f"weight_decay = {weight_decay}")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = _evaluate(closure)
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            gradients = [parameter.grad for parameter in moving]
            momenta = [self._momentum(parameter) for parameter in moving]
            (beta1, beta2), rate = group["betas"], group["lr"]
            if group["weight_decay"]:
                torch._foreach_mul_(moving, 1.0 - rate * group["weight_decay"])
            updates = torch._foreach_mul(momenta, beta1)
            torch._foreach_add_(updates, gradients, alpha=1.0 - beta1)
            for update in updates:
                update.sign_()
            torch._foreach_add_(moving, updates, alpha=-rate)
            torch._foreach_mul_(momenta, beta2)
            torch._foreach_add_(momenta, gradients, alpha=1.0 - beta2)
        return loss

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        return state["exp_avg"]


class Adafactor(torch.optim.Optimizer):
    """Adafactor of Shazeer and Stern (2018): second moments as row and column means, updates clipped by their RMS.

    With `relative_step` the rate follows the step number and the groups' rates are ignored; `scale_parameter`
    multiplies the rate with the parameter's RMS (at least `eps[1]`). Both are off by default here, unlike in
    transformers, because LoRA's up weights start at zero and the rates of U-Net and text encoder differ.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = False,
        relative_step: bool = False,
        warmup_init: bool = False,
    ) -> None:
        """Raises ValueError for `warmup_init` without `relative_step`, or a clip threshold that is not positive."""
        if warmup_init and not relative_step:
            raise ValueError("warmup_init=True needs relative_step=True")
        if clip_threshold <= 0.0:
            raise ValueError(f"clip_threshold = {clip_threshold}")
        defaults = {
            "lr": lr,
            "eps": tuple(eps),
            "clip_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "scale_parameter": scale_parameter,
            "relative_step": relative_step,
            "warmup_init": warmup_init,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = _evaluate(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad.float(), group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            self._start(state, gradient, group["beta1"])
        state["step"] += 1
        weight = parameter.float()  # the parameter itself in fp32, a copy in half precision
        rate = _rate(group, state["step"], weight)
        decay = 1.0 - math.pow(state["step"], group["decay_rate"])
        update = _normalised(gradient, state, decay, group["eps"][0])
        update.div_((_rms(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(rate)
        if group["beta1"] is not None:
            update = state["exp_avg"].mul_(group["beta1"]).add_(update, alpha=1.0 - group["beta1"])
        if group["weight_decay"]:
            weight.sub_(weight * rate, alpha=group["weight_decay"])  # the rate may be a tensor: no waiting for it
        weight.add_(-update)
        if weight is not parameter:
            parameter.copy_(weight)

    @staticmethod
    def _start(state: dict[str, Any], gradient: Tensor, beta1: float | None) -> None:
        state["step"] = 0
        if beta1 is not None:
            state["exp_avg"] = torch.zeros_like(gradient)
        if gradient.dim() >= 2:
            state["exp_avg_sq_row"] = gradient.new_zeros(gradient.shape[:-1])
            state["exp_avg_sq_col"] = gradient.new_zeros(gradient.shape[:-2] + gradient.shape[-1:])
        else:
            state["exp_avg_sq"] = torch.zeros_like(gradient)


def _rate(group: dict[str, Any], step: int, weight: Tensor) -> float | Tensor:
    rate = group["lr"]
    if group["relative_step"]:
        rate = min(1e-6 * step if group["warmup_init"] else 1e-2, 1.0 / math.sqrt(step))
    return rate * _rms(weight).clamp(min=group["eps"][1]) if group["scale_parameter"] else rate


def _normalised(gradient: Tensor, state: dict[str, Any], decay: float, floor: float) -> Tensor:
    """The gradient over the root of its second moment, which is a product of row and column means (section 3)."""
    square = gradient**2 + floor
    if "exp_avg_sq" in state:
        mean = state["exp_avg_sq"].mul_(decay).add_(square, alpha=1.0 - decay)
        return mean.rsqrt().mul_(gradient)
    row = state["exp_avg_sq_row"].mul_(decay).add_(square.mean(dim=-1), alpha=1.0 - decay)
    column = state["exp_avg_sq_col"].mul_(decay).add_(square.mean(dim=-2), alpha=1.0 - decay)
    row_factor = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    return torch.mul(row_factor, column.unsqueeze(-2).rsqrt()).mul_(gradient)


def _rms(tensor: Tensor) -> Tensor:
    return tensor.norm(2) / tensor.numel() ** 0.5


def _evaluate(closure: Callable[[], float] | None) -> float | None:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
