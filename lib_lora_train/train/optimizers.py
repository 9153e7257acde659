"""All optimizers on offer, in one table, and what the trainer does with whichever was chosen."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import OptimizerSettings
from lib_lora_train.signals import Log
from lib_lora_train.train.algorithms import Adafactor, Lion
from lib_lora_train.train.optimizer_tensors import load_optimizer_state, optimizer_state
from lib_lora_train.train.schedules import RateSchedule

__all__ = [
    "accepted_arguments",
    "eval_mode",
    "load_optimizer_state",
    "make_optimizer",
    "optimizer_notes",
    "optimizer_state",
    "parse_arguments",
    "set_rates",
    "train_mode",
]

LOWEST_ADAPTIVE_RATE = 0.1  # below it kohya warns too: these optimizers find the scale themselves
# A rate of exactly zero makes some D-Adaptation optimizers divide by zero; this one moves nothing either.
_NEARLY_ZERO = 1e-12
_INFINITY = float("inf")


@dataclass(frozen=True)
class _Kind:
    """An optimizer: where its class is, and its arguments with their defaults, whose types are the accepted ones."""

    arguments: Mapping[str, Any]
    source: type | None = None
    module: str = ""
    name: str = ""
    package: str = ""
    adaptive: bool = False  # finds the step size itself; one rate for all, near 1


_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
_D_ADAPT = {"weight_decay": 0.0, "log_every": 0, "d0": 1e-6}
_FREE = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "r": 0.0, "weight_lr_power": 2.0, "foreach": True}


def _d_adapt(name: str, **arguments: Any) -> _Kind:
    return _Kind(_D_ADAPT | arguments, module="dadaptation", name=name, package="dadaptation", adaptive=True)


KINDS: dict[str, _Kind] = {
    "AdamW": _Kind(_ADAM | {"amsgrad": False}, source=torch.optim.AdamW),
    "Lion": _Kind({"betas": (0.9, 0.99), "weight_decay": 0.0}, source=Lion),
    "Adafactor": _Kind(
        {
            "eps": (1e-30, 1e-3),
            "clip_threshold": 1.0,
            "decay_rate": -0.8,
            "beta1": None,
            "weight_decay": 0.0,
            "scale_parameter": False,
            "relative_step": False,
            "warmup_init": False,
        },
        source=Adafactor,
    ),
    "AdamW8bit": _Kind(
        _ADAM | {"min_8bit_size": 4096}, module="bitsandbytes.optim", name="AdamW8bit", package="bitsandbytes"
    ),
    "Prodigy": _Kind(
        {
            "betas": (0.9, 0.999),
            "beta3": None,
            "eps": 1e-8,
            "weight_decay": 0.0,
            "decouple": True,
            "use_bias_correction": False,
            "safeguard_warmup": False,
            "d0": 1e-6,
            "d_coef": 1.0,
            "growth_rate": _INFINITY,
            "slice_p": 1,
        },
        module="prodigyopt", name="Prodigy", package="prodigyopt", adaptive=True,
    ),
    "DAdaptAdam": _d_adapt(
        "DAdaptAdam", betas=(0.9, 0.999), eps=1e-8, decouple=False, use_bias_correction=False, growth_rate=_INFINITY
    ),
    "DAdaptAdaGrad": _d_adapt("DAdaptAdaGrad", momentum=0.0, eps=1e-6, growth_rate=_INFINITY),
    "DAdaptLion": _d_adapt("DAdaptLion", betas=(0.9, 0.99)),
    "DAdaptSGD": _d_adapt("DAdaptSGD", momentum=0.0, growth_rate=_INFINITY),
    "AdamWScheduleFree": _Kind(
        _FREE | {"warmup_steps": 0}, module="schedulefree", name="AdamWScheduleFree", package="schedulefree"
    ),
    "RAdamScheduleFree": _Kind(
        _FREE | {"silent_sgd_phase": True}, module="schedulefree", name="RAdamScheduleFree", package="schedulefree"
    ),
}  # fmt: skip


def make_optimizer(settings: OptimizerSettings, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """The chosen optimizer over `groups`, each a dict of `name` (unet, text_encoder), `params` and `lr`.

    Raises UserError("optimizer.unknown", "optimizer.package", "optimizer.package_broken"), those of
    `parse_arguments`, "optimizer.refused" when the class refuses a value, and "optimizer.one_rate" when an adaptive
    optimizer is given two rates, which it cannot keep apart.
    """
    kind = _kind(settings.optimizer_type)
    arguments = parse_arguments(settings)
    source = _load(settings.optimizer_type, kind)
    groups = [dict(group) for group in groups]
    if kind.adaptive:
        groups = _one_group(settings, groups)
    rates = [group.pop("lr") for group in groups]
    if settings.optimizer_type == "AdamW" and _all_on_cuda(groups):
        arguments["fused"] = True
    try:
        # Some classes refuse a rate of zero, with which a warm-up begins; the real rates come right after.
        optimizer = source(groups, lr=1.0, **arguments)
    except (ValueError, TypeError) as error:
        raise UserError("optimizer.refused", "optimizer_args", reason=str(error)) from error
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        _set_rate(optimizer, group, rate)
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float]) -> None:
    """Gives each group the rate of its name."""
    for group in optimizer.param_groups:
        _set_rate(optimizer, group, rates[group["name"]])


def train_mode(optimizer: torch.optim.Optimizer) -> None:
    """Puts the weights where the next step expects them; does nothing for optimizers with one set of weights.

    After `eval_mode` the weights come back bit for bit, so that a run does not depend on how often it was looked at.
    """
    if not hasattr(optimizer, "train"):
        return
    optimizer.train()
    for parameter, kept in optimizer.__dict__.pop("kept_weights", []):
        with torch.no_grad():
            parameter.copy_(kept)


def eval_mode(optimizer: torch.optim.Optimizer) -> None:
    """Puts the weights to what is to be saved or looked at: a schedule-free optimizer's average."""
    if not hasattr(optimizer, "eval") or "kept_weights" in optimizer.__dict__:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.kept_weights = [(parameter, parameter.detach().clone()) for parameter in parameters]
    optimizer.eval()


def optimizer_notes(settings: OptimizerSettings) -> list[Log]:
    """What of the settings has an unexpected effect with the chosen optimizer, to be said before the first step."""
    kind, notes = _kind(settings.optimizer_type), []
    if kind.adaptive:
        plans = RateSchedule(settings, total_steps=1).plans
        highest = max(rate for plan in plans.values() for rate, _ in plan.pieces)
        if highest <= LOWEST_ADAPTIVE_RATE:
            notes.append(Log("optimizer.low_rate", {"optimizer": settings.optimizer_type, "rate": highest}, "warning"))
    if parse_arguments(settings).get("relative_step"):
        notes.append(Log("optimizer.rates_ignored", {"optimizer": settings.optimizer_type}, "warning"))
    return notes


def accepted_arguments(optimizer_type: str) -> dict[str, Any]:
    """Names and defaults of what `optimizer_args` may hold. Raises UserError("optimizer.unknown")."""
    return dict(_kind(optimizer_type).arguments)


def parse_arguments(settings: OptimizerSettings) -> dict[str, Any]:
    """Reads `name=value` pairs as Python literals of the type the name asks for.

    Raises UserError("optimizer.argument_form", "optimizer.argument_unknown", "optimizer.argument_value",
    "optimizer.argument_twice").
    """
    accepted = accepted_arguments(settings.optimizer_type)
    parsed: dict[str, Any] = {}
    for text in settings.optimizer_args:
        name, equals, value_text = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UserError("optimizer.argument_form", "optimizer_args", text=text)
        if name not in accepted:
            names = ", ".join(accepted)
            values = {"name": name, "optimizer": settings.optimizer_type, "names": names}
            raise UserError("optimizer.argument_unknown", "optimizer_args", **values)
        if name in parsed:
            raise UserError("optimizer.argument_twice", "optimizer_args", name=name)
        try:
            value = ast.literal_eval(value_text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = NotImplemented  # of no accepted type
        value = tuple(value) if isinstance(value, list) else value
        if not _is_like(value, accepted[name]):
            values = {"name": name, "text": value_text, "example": f"{name}={_example(accepted[name])}"}
            raise UserError("optimizer.argument_value", "optimizer_args", **values)
        parsed[name] = value
    return parsed


def _is_like(value: Any, default: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if default is None:
        return value is None or number
    if isinstance(default, tuple):
        same = isinstance(value, tuple) and len(value) == len(default)
        return same and all(_is_like(item, like) for item, like in zip(value, default, strict=True))
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, type(default))
    return number if isinstance(default, float) else isinstance(value, int)


def _example(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(repr(item) for item in default)
    return repr(0.9) if default is None else "1.02" if default == _INFINITY else repr(default)


def _kind(optimizer_type: str) -> _Kind:
    if optimizer_type not in KINDS:
        raise UserError("optimizer.unknown", "optimizer_type", name=optimizer_type, names=", ".join(KINDS))
    return KINDS[optimizer_type]


def _load(optimizer_type: str, kind: _Kind) -> type:
    if kind.source is not None:
        return kind.source
    values = {"optimizer": optimizer_type, "package": kind.package, "command": f"pip install {kind.package}"}
    try:
        return getattr(importlib.import_module(kind.module), kind.name)
    except ModuleNotFoundError as error:
        raise UserError("optimizer.package", "optimizer_type", **values) from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # too old, or its native part does not load
        raise UserError("optimizer.package_broken", "optimizer_type", reason=str(error), **values) from error


def _one_group(settings: OptimizerSettings, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adaptive optimizers estimate one step size for all parameters, and fail on groups with rates of their own."""
    plans = RateSchedule(settings, total_steps=1).plans
    if len({plans[group["name"]] for group in groups}) > 1:
        raise UserError("optimizer.one_rate", "text_encoder_lr", optimizer=settings.optimizer_type)
    parameters = [parameter for group in groups for parameter in group["params"]]
    return [{**groups[0], "params": parameters}]


def _set_rate(optimizer: torch.optim.Optimizer, group: dict[str, Any], rate: float) -> None:
    divides = type(optimizer).__name__.startswith("DAdapt")
    group["lr"] = max(rate, _NEARLY_ZERO) if divides else rate


def _all_on_cuda(groups: Sequence[Mapping[str, Any]]) -> bool:
    return all(parameter.device.type == "cuda" for group in groups for parameter in group["params"])
