"""Muon for weight matrices and convolutions, AdamW for the rest: converges in fewer samples than AdamW alone here."""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.distributed as dist
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


def flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@torch.no_grad()
def spread(flat: Tensor, tensors: list[Tensor]) -> None:
    """Inverse of ``flatten``, into the tensors."""
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """The same mean gradient in every process."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = flatten(gradients)
    dist.all_reduce(flat)
    spread(flat / dist.get_world_size(), gradients)


class Muon:
    """Both optimizers behind one ``step(rate)``; parameters of one shape are orthogonalised in one call.

    Each process does its share of the matrices and sends the others the result; AdamW's part is done by all alike.
    """

    def __init__(self, hidden: list[nn.Parameter], others: list[nn.Parameter], lr: float, adam_lr: float) -> None:
        self.lr, self.adam_lr, self.momentum, self.decay = lr, adam_lr, 0.95, 0.01
        self.adam = torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.parameters, self.shares = (
            [*hidden, *others],
            [hidden[i :: dist.get_world_size()] for i in range(dist.get_world_size())],
        )
        self.groups: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in self.shares[dist.get_rank()]:
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
        for owner, share in enumerate(self.shares):
            flat = flatten([p.detach() for p in share])
            dist.broadcast(flat, owner)
            if owner != dist.get_rank():
                spread(flat, [p.detach() for p in share])
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """AdamW's, by parameter number and name. Muon's momentum is 20 steps long and not worth keeping."""
        numbered = self.adam.state_dict()["state"].items()
        return {f"{number}.{name}": value for number, values in numbered for name, value in values.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        whole = self.adam.state_dict()
        for key, value in state.items():
            number, name = key.split(".")
            whole["state"].setdefault(int(number), {})[name] = value
        self.adam.load_state_dict(whole)
