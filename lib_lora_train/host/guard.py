"""Proof that a borrowed model leaves as it came in, and the means to put back what can be put back.

Works on any `nn.Module`. A snapshot holds no weights, only what identifies them: with `exact` a SHA-256 of every
tensor's bits, else an integer checksum computed where the tensor lies, and the version counter that torch raises
with every in-place write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.checksum import checksums
from lib_lora_train.host.switches import read_switches, write_switches
from lib_lora_train.signals import EventSink, Log, ignore_events

# Attributes of nn.Module that hold hooks; those that a torch version lacks are skipped.
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_MOST_SHOWN = 8


@dataclass(frozen=True)
class TensorState:
    """A parameter or buffer without its content."""

    kind: str  # the class: Parameter or Tensor
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str
    requires_grad: bool
    has_grad: bool
    digest: str
    version: int | None  # None for inference tensors, which have no counter


@dataclass(frozen=True)
class ModuleState:
    """What a module does besides holding tensors."""

    kind: type
    training: bool
    own_forward: Any  # the `forward` in its instance dict, None without one
    hooks: tuple[tuple[str, tuple[Any, ...]], ...]
    children: tuple[str, ...]


@dataclass(frozen=True)
class ModelState:
    """Everything that must be the same afterwards, by name."""

    exact: bool
    versions: bool
    tensors: dict[str, TensorState]
    modules: dict[str, ModuleState]
    class_forwards: dict[type, Any]
    global_hooks: dict[str, int]
    switches: dict[str, Any] = field(default_factory=dict)


def snapshot(
    modules: Mapping[str, nn.Module], exact: bool = False, versions: bool = True, classes: bool = True
) -> ModelState:
    """The state of several named modules and of torch's switches. Changes nothing, draws no random number.

    Without `versions` a write that leaves the same bits is no change: a host may merge something for a picture and put
    the weights back. Without `classes` the classes' own `forward`s do not count: somebody else may replace them.
    """
    named = [(f"{part}.{name}" if name else part, owner) for part, name, owner in _walk(modules)]
    tensors: dict[str, Tensor] = {}
    for path, owner in named:
        for name, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is not None:
                tensors[f"{path}.{name}"] = tensor
    digests = _digests(tensors, exact)
    return ModelState(
        exact=exact,
        versions=versions and not exact,
        tensors={name: _tensor_state(tensor, digests[name]) for name, tensor in tensors.items()},
        modules={path: _module_state(owner) for path, owner in named},
        class_forwards=_class_forwards(owner for _, owner in named) if classes else {},
        global_hooks={
            name: len(hooks)
            for name, hooks in vars(torch.nn.modules.module).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        },
        switches=read_switches(),
    )


def differences(before: ModelState, after: ModelState) -> list[str]:
    """One line per thing that is not as it was; empty when all is well."""
    found = [
        *_compare("tensor", before.tensors, after.tensors, lambda a, b: _tensor_changes(a, b, before.versions)),
        *_compare("module", before.modules, after.modules, _module_changes),
        *_compare("hooks", before.global_hooks, after.global_hooks, lambda a, b: [f"{a} -> {b}"] if a != b else []),
        *_compare("switch", before.switches, after.switches, lambda a, b: [f"{a} -> {b}"] if a != b else []),
    ]
    for kind, forward in before.class_forwards.items():
        if kind in after.class_forwards and after.class_forwards[kind] is not forward:
            found.append(f"class {kind.__qualname__}: forward was replaced")
    return found


def repair(modules: Mapping[str, nn.Module], before: ModelState) -> list[str]:
    """Puts back what needs no copy of the weights: forwards, hooks, modes, flags, gradients, switches.

    Returns one line for each thing that had to be put back. Weights are never written.
    """
    repaired = []
    for part, name, owner in _walk(modules):
        path = f"{part}.{name}" if name else part
        state = before.modules.get(path)
        if state is None:
            continue
        for change in _module_changes(state, _module_state(owner)):
            repaired.append(f"module {path}: {change}")
        _repair_module(owner, state)
        for key, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            known = before.tensors.get(f"{path}.{key}")
            if tensor is None or known is None:
                continue
            if tensor.requires_grad != known.requires_grad and tensor.is_leaf:
                tensor.requires_grad_(known.requires_grad)
                repaired.append(f"tensor {path}.{key}: requires_grad")
            if tensor.grad is not None and not known.has_grad:
                tensor.grad = None
                repaired.append(f"tensor {path}.{key}: gradient")
    changed = [name for name, value in read_switches().items() if value != before.switches.get(name, value)]
    write_switches({name: before.switches[name] for name in changed})
    return repaired + [f"switch {name}" for name in changed]


@contextmanager
def guarded(
    modules: Mapping[str, nn.Module],
    exact: bool = False,
    events: EventSink = ignore_events,
    on_damage: Callable[[], None] | None = None,
    versions: bool = True,
    classes: bool = True,
) -> Iterator[ModelState]:
    """Repairs and then checks `modules` when the block ends, however it ends; `versions`, `classes` as in `snapshot`.

    What had to be repaired is told by an event. When something still differs `on_damage` is called (so that the host
    loads afresh) and UserError("guard.changed") is raised; when the block itself raised, its error goes on and the
    difference is told by an event.
    """
    before = snapshot(modules, exact, versions, classes)
    raised = True
    try:
        yield before
        raised = False
    finally:
        repaired = repair(modules, before)
        if repaired:
            events(Log("guard.repaired", {"list": _shown(repaired)}, level="warning"))
        changed = differences(before, snapshot(modules, exact, versions, classes))
        if changed and on_damage is not None:
            on_damage()
        if changed and raised:
            events(Log("guard.changed_after_error", {"list": _shown(changed)}, level="error"))
    if changed:
        raise UserError("guard.changed", ", ".join(modules), list=_shown(changed))


def _shown(lines: list[str]) -> str:
    rest = len(lines) - _MOST_SHOWN
    return "; ".join(lines[:_MOST_SHOWN]) + (f"; +{rest}" if rest > 0 else "")


def _walk(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, nn.Module]]:
    for part, root in modules.items():
        for name, owner in root.named_modules():
            yield part, name, owner


def _class_forwards(owners: Iterable[nn.Module]) -> dict[type, Any]:
    return {kind: kind.forward for owner in owners for kind in type(owner).__mro__[:-1] if "forward" in vars(kind)}


def _tensor_state(tensor: Tensor, digest: str) -> TensorState:
    return TensorState(
        kind=type(tensor).__name__,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        device=str(tensor.device),
        requires_grad=tensor.requires_grad,
        has_grad=tensor.is_leaf and tensor.grad is not None,
        digest=digest,
        version=None if tensor.is_inference() else tensor._version,
    )


def _digests(tensors: Mapping[str, Tensor], exact: bool) -> dict[str, str]:
    if not exact:
        return checksums(tensors)
    return {name: hashlib.sha256(_bits(tensor)).hexdigest() for name, tensor in tensors.items()}


def _bits(tensor: Tensor) -> memoryview | bytes:
    if tensor.is_meta:
        return b""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def _module_state(owner: nn.Module) -> ModuleState:
    hooks = ((name, tuple(getattr(owner, name).values())) for name in _HOOKS if hasattr(owner, name))
    return ModuleState(
        kind=type(owner),
        training=owner.training,
        own_forward=vars(owner).get("forward"),
        hooks=tuple((name, held) for name, held in hooks if held),
        children=tuple(owner._modules),
    )


def _repair_module(owner: nn.Module, state: ModuleState) -> None:
    owner.training = state.training
    if state.own_forward is not None:
        owner.forward = state.own_forward
    elif "forward" in vars(owner):
        del owner.forward
    held = dict(state.hooks)
    for name in _HOOKS:
        present = getattr(owner, name, None)
        if not present:
            continue
        kept = held.get(name, ())
        for key in [key for key, hook in present.items() if not any(hook is known for known in kept)]:
            del present[key]


def _compare(
    what: str, before: Mapping[str, Any], after: Mapping[str, Any], changes: Callable[[Any, Any], list[str]]
) -> Iterator[str]:
    for name in before.keys() | after.keys():
        if name not in after:
            yield f"{what} {name}: gone"
        elif name not in before:
            yield f"{what} {name}: new"
        else:
            yield from (f"{what} {name}: {change}" for change in changes(before[name], after[name]))


def _tensor_changes(before: TensorState, after: TensorState, versions: bool) -> list[str]:
    names = ("kind", "shape", "dtype", "device", "requires_grad", "has_grad")
    found = [
        f"{name} {getattr(before, name)} -> {getattr(after, name)}"
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]
    if before.digest != after.digest:
        found.append("other content")
    elif versions and before.version != after.version:
        # The checksum could in principle miss a change; the counter cannot.
        found.append("was written to")
    return found


def _module_changes(before: ModuleState, after: ModuleState) -> list[str]:
    found = []
    if before.kind is not after.kind:
        found.append(f"class {before.kind.__name__} -> {after.kind.__name__}")
    if before.training != after.training:
        found.append("training mode" if after.training else "evaluation mode")
    if before.own_forward is not after.own_forward:
        found.append("forward was replaced" if after.own_forward is not None else "forward was removed")
    if before.children != after.children:
        found.append("other children")
    if before.hooks != after.hooks:
        found.append("other hooks")
    return found
