"""Where the parts of the borrowed model lie: on the device while they are needed, else in the computer's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from modules import devices, lowvram
from torch import Tensor, nn

from lib_lora_train.errors import UserError

_MOVES = "send_me_to_gpu"  # the hook of --medvram: it takes away whatever part was used before
_WRAPPED = ("encode", "decode")  # of the VAE, by --medvram, on the instance
_Store = dict[str, Any]  # a module's parameters or buffers


def parts_of(sd_model: Any) -> dict[str, nn.Module]:
    """The three parts by the names that the protocol gives them; SDXL's two text encoders are one."""
    return {
        "unet": sd_model.model,
        "text_encoder": getattr(sd_model, "conditioner", None) or sd_model.cond_stage_model,
        "vae": sd_model.first_stage_model,
    }


class Placement:
    """Moves parts from `take` on; `give_back` puts every tensor where it lay before the first `take`.

    With --medvram the WebUI moves one part at a time to the device, from hooks. Training needs the text encoder and the
    U-Net at once, so the hooks are off meanwhile and this moves alone. `check` is called whenever a part is used.
    """

    def __init__(self, sd_model: Any, check: Callable[[], None]) -> None:
        settle(sd_model)
        self._sd_model = sd_model
        self._check = check
        self._parts = parts_of(sd_model)
        held = [each for part in self._parts.values() for each in _all(part)]
        self._homes = [(store, name, _home(store[name])) for store, name in held]
        self._resting: set[str] = set(self._parts) if sd_model.lowvram else set()
        self._marks: dict[str, Tensor] = {}  # a tensor of each part that lies on the device, to see that it does
        self._hooks: list[tuple[_Store, _Store]] = []
        self._wrappers: dict[str, Any] = {}

    def use(self, part: str) -> None:
        """The part lies on the device from now on.

        Called before every step, so it looks at no tensor's content. Raises UserError("host.unloaded") when somebody
        has moved the part, and what `check` raises.
        """
        self._check()
        if part in self._resting:
            self._resting.discard(part)
            self._bring(part)
        elif self._marks[part].device.type != devices.device.type:
            raise UserError("host.unloaded")

    def rest(self, part: str) -> None:
        """The part is not needed for now, and leaves the device."""
        self._check()
        self._resting.add(part)
        self._remove(part)
        if part == "vae" and self._sd_model.lowvram:
            # Training comes next. What it needs has to be there before anybody asks how much memory is left.
            self.use("text_encoder")
            self.use("unet")

    def take(self) -> None:
        """From here on the parts lie as training needs them."""
        settle(self._sd_model)
        self._take_hooks()
        for part in self._parts:
            if part in self._resting:
                self._remove(part)
            else:
                self._bring(part)

    def lend(self) -> None:
        """Until the next `take` the WebUI can draw: all parts are where it expects them."""
        for part in self._parts:
            if self._sd_model.lowvram:
                self._remove(part)
            else:
                self._bring(part)
        self._put_hooks()

    def give_back(self) -> None:
        """Everything as it was."""
        for store, name, device in self._homes:
            _move(store, name, device)
        self._put_hooks()
        devices.torch_gc()

    def _take_hooks(self) -> None:
        for module in self._sd_model.modules():
            present = module._forward_pre_hooks
            moving = [key for key, hook in present.items() if _moves(hook)]
            if moving:
                self._hooks.append((present, dict(present)))
                for key in moving:
                    del present[key]
        if self._sd_model.lowvram:
            vae = self._parts["vae"]
            self._wrappers = {name: vars(vae)[name] for name in _WRAPPED if name in vars(vae)}
            for name in self._wrappers:
                delattr(vae, name)

    def _put_hooks(self) -> None:
        for present, kept in self._hooks:
            later = {key: hook for key, hook in present.items() if key not in kept}
            present.clear()
            present.update(kept | later)
        self._hooks = []
        for name, wrapper in self._wrappers.items():
            setattr(self._parts["vae"], name, wrapper)
        self._wrappers = {}

    def _bring(self, part: str) -> None:
        for store, name in _all(self._parts[part]):
            _move(store, name, devices.device)
        self._marks[part] = next(self._parts[part].parameters())

    def _remove(self, part: str) -> None:
        for store, name in _all(self._parts[part]):
            _move(store, name, devices.cpu)
        devices.torch_gc()


def settle(sd_model: Any) -> None:
    """With --medvram: the state in which the WebUI has no part on the device, and brings each when it is called."""
    if sd_model.lowvram:
        lowvram.send_everything_to_cpu()


def _moves(hook: Any) -> bool:
    return getattr(hook, "__name__", "") == _MOVES and getattr(hook, "__module__", "") == lowvram.__name__


def _all(part: nn.Module) -> list[tuple[_Store, str]]:
    return [
        (store, name)
        for module in part.modules()
        for store in (module._parameters, module._buffers)
        for name, tensor in store.items()
        if tensor is not None
    ]


def _home(tensor: Tensor) -> torch.device:
    return tensor.device


def _move(store: _Store, name: str, device: torch.device) -> None:
    tensor = store[name]
    if isinstance(tensor, nn.Parameter):
        tensor.data = tensor.data.to(device)  # the parameter stays the same object: others hold it too
    else:
        store[name] = tensor.to(device)
