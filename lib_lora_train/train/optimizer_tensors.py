"""An optimizer's state as flat tensors and JSON: every kind of optimizer on offer, bit for bit, without pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lib_lora_train.errors import UserError

# How a step is carried out, not what it computes: a state may go on with another device's choice.
_EXECUTION = {"foreach", "fused", "capturable", "differentiable"}


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The whole state: `{"0.3.exp_avg": tensor}` by group, parameter and name, and a dict that JSON can hold.

    The tensors are the optimizer's own and some may share memory: copy them before the next step or before writing.
    Raises TypeError for a state that holds anything but tensors, numbers, texts, None and lists of them.
    """
    tensors: dict[str, Tensor] = {}
    groups, entries = [], {}
    for group_index, group in enumerate(optimizer.param_groups):
        facts: dict[str, Any] = {"parameters": len(group["params"])}
        values = {key: value for key, value in group.items() if key != "params" and key not in _EXECUTION}
        facts["values"] = _split(values, f"{group_index}", tensors)
        groups.append(facts)
        for index, parameter in enumerate(group["params"]):
            if parameter in optimizer.state:
                place = f"{group_index}.{index}"
                entries[place] = _split(optimizer.state[parameter], place, tensors)
    return tensors, {"optimizer": type(optimizer).__name__, "groups": groups, "state": entries}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    """Puts a saved state into a fresh optimizer over the same parameters; the tensors are copied.

    Raises UserError("optimizer.state_other") for another optimizer's state and UserError("optimizer.state_mismatch")
    when its groups are not this one's.
    """
    kind = type(optimizer).__name__
    if scalars.get("optimizer") != kind:
        raise UserError("optimizer.state_other", "resume", then=scalars.get("optimizer"), now=kind)
    groups = scalars["groups"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if [group["parameters"] for group in groups] != sizes:
        raise UserError("optimizer.state_mismatch", "resume")
    waiting: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, _, name = key.rpartition(".")
        waiting.setdefault(place, {})[name] = tensor
    optimizer.state.clear()
    for group_index, (group, saved) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        group.update(_decoded(saved["values"]))
        for name, tensor in waiting.pop(f"{group_index}", {}).items():
            group[name] = tensor.clone()
        for index, parameter in enumerate(group["params"]):
            place = f"{group_index}.{index}"
            if place not in scalars["state"] and place not in waiting:
                continue
            entry = _decoded(scalars["state"].get(place, {}))
            for name, tensor in waiting.pop(place, {}).items():
                # torch keeps its step count on the CPU unless the step itself runs on the device.
                stays = name == "step" and not (group.get("fused") or group.get("capturable"))
                entry[name] = tensor.to("cpu" if stays else parameter.device, copy=True)
            optimizer.state[parameter] = entry
    if waiting:
        raise UserError("optimizer.state_mismatch", "resume")


def _split(values: Mapping[str, Any], place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The plain values of one parameter or group, encoded; its tensors go into `tensors`."""
    plain = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            tensors[f"{place}.{name}"] = value.detach()
        else:
            plain[name] = _encoded(value, f"{place}.{name}")
    return plain


def _encoded(value: Any, where: str) -> Any:
    """JSON keeps every finite double exactly, but knows no infinity and no tuple."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (tuple, list)):
        items = [_encoded(item, where) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise TypeError(f"{where}: a {type(value).__name__} cannot be saved")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"]) if "float" in value else tuple(_decode(item) for item in value["tuple"])
    return [_decode(item) for item in value] if isinstance(value, list) else value


def _decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(value) for name, value in values.items()}
