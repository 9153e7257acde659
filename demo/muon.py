"""Muon for weight matrices and convolutions, AdamW for the rest: converges in fewer samples than AdamW alone here."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

#: Quintic Newton-Schulz coefficients (K. Jordan, 2024): singular values go to about 1 in five rounds.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Nearest (semi-)orthogonal matrices of a stack (n, rows, columns), roughly."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Both optimizers behind one ``step(rate)``; parameters of one shape are orthogonalised in one call."""

    def __init__(self, hidden: list[nn.Parameter], others: list[nn.Parameter], lr: float, adam_lr: float) -> None:
        self.lr, self.adam_lr, self.momentum, self.decay = lr, adam_lr, 0.95, 0.01
        self.adam = torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.parameters = [*hidden, *others]
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in hidden:
            self.groups[tuple(parameter.shape)].append(parameter)
        self.buffers = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at ``rate`` times the learning rates; clears the gradients."""
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad for p in group])  # type: ignore[misc]
            buffer = self.buffers[shape].lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(buffer, self.momentum).reshape(len(group), shape[0], -1))
            # 0.2 sqrt(longer side) gives updates the size of AdamW's, so that one learning rate fits both
            size = 0.2 * max(update.shape[1:]) ** 0.5 * self.lr * rate
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - self.lr * rate * self.decay)
                parameter.sub_(change.reshape(shape), alpha=size)
        for options in self.adam.param_groups:
            options["lr"] = self.adam_lr * rate
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Momentum buffers by number, and AdamW's by parameter number and name."""
        state = {f"muon.{i}": buffer for i, buffer in enumerate(self.buffers.values())}
        for number, values in self.adam.state_dict()["state"].items():
            state.update({f"adam.{number}.{name}": value for name, value in values.items()})
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        for i, buffer in enumerate(self.buffers.values()):
            buffer.copy_(state[f"muon.{i}"])
        whole = self.adam.state_dict()
        for key, value in state.items():
            kind, number, *name = key.split(".")
            if kind == "adam":
                whole["state"].setdefault(int(number), {})[name[0]] = value
        self.adam.load_state_dict(whole)
