"""Torch's global switches: what training may set and must put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

_Setter = Callable[[Any], object]


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], _Setter]:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _table() -> dict[str, tuple[Callable[[], Any], _Setter]]:
    """Name to getter and setter. Order matters where one switch moves another: the last one written wins."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {
        "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
        "autocast gpu": (partial(_autocasts, "cuda"), partial(_set_autocast, "cuda")),
        "autocast cpu": (partial(_autocasts, "cpu"), partial(_set_autocast, "cpu")),
        "autocast cache": (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        "matmul tf32": _attribute(cuda.matmul, "allow_tf32"),
        "cudnn tf32": _attribute(cudnn, "allow_tf32"),
        "cudnn enabled": _attribute(cudnn, "enabled"),
        "cudnn benchmark": _attribute(cudnn, "benchmark"),
        "cudnn deterministic": _attribute(cudnn, "deterministic"),
        "deterministic algorithms": (_deterministic, _set_deterministic),
        "flash attention": (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        "memory-efficient attention": (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        "plain attention": (cuda.math_sdp_enabled, cuda.enable_math_sdp),
        "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "threads": (torch.get_num_threads, torch.set_num_threads),
        "flush denormals": (_flushes_denormals, torch.set_flush_denormal),
    }


def read_switches() -> dict[str, Any]:
    """The present value of every switch, by name."""
    return {name: getter() for name, (getter, _) in _table().items()}


def write_switches(values: Mapping[str, Any]) -> None:
    """Sets the named switches, and no other."""
    table = _table()
    for name, value in values.items():
        table[name][1](value)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _flushes_denormals() -> bool:
    """Torch has no getter: half of the smallest normal number is zero only where denormals are flushed."""
    smallest = torch.full((1,), torch.finfo(torch.float32).tiny, dtype=torch.float32)
    return bool((smallest * 0.5 == 0).item())


def _autocasts(device: str) -> bool:
    if hasattr(torch, "get_autocast_dtype"):  # since torch 2.4 one function serves all devices
        return torch.is_autocast_enabled(device)
    return torch.is_autocast_enabled() if device == "cuda" else torch.is_autocast_cpu_enabled()


def _set_autocast(device: str, value: bool) -> None:
    if hasattr(torch, "get_autocast_dtype"):
        torch.set_autocast_enabled(device, value)
    elif device == "cuda":
        torch.set_autocast_enabled(value)
    else:
        torch.set_autocast_cpu_enabled(value)
