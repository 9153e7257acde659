"""Where the parts of the WebUI's model lie while it is borrowed, on a device that is made up."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lib_lora_train.errors import UserError

NAME = "lib_lora_train.host.webui.placement"
GPU, CPU = torch.device("cpu", 0), torch.device("cpu")  # both are the processor, and can be told apart
PARTS = ("unet", "text_encoder", "vae")


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("table", torch.zeros(3))

    def encode(self, x: Any) -> Any:
        return x

    def decode(self, x: Any) -> Any:
        return x


class Scene:
    """A model, the WebUI's modules as far as they are asked, and where each tensor was moved last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: torch.device, lowvram: bool) -> None:
        self.sent_away = 0
        self.lowvram = ModuleType("modules.lowvram")
        self.lowvram.send_everything_to_cpu = self._send_away
        self.devices = SimpleNamespace(device=GPU, cpu=CPU, torch_gc=lambda: None)
        modules = SimpleNamespace(devices=self.devices, lowvram=self.lowvram)
        monkeypatch.setitem(sys.modules, "modules", modules)
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        self.module = importlib.import_module(NAME)
        self.model = nn.Module()
        self.model.model, self.model.cond_stage_model = nn.Linear(2, 2), nn.Linear(2, 2)
        self.model.first_stage_model = Vae()
        self.model.lowvram = lowvram
        self.where = {id(tensor): home for tensor in (*self.model.parameters(), *self.model.buffers())}
        monkeypatch.setattr(self.module, "_move", self._move)
        monkeypatch.setattr(self.module, "_home", lambda tensor: self.where[id(tensor)])
        self.placement = self.module.Placement(self.model, lambda: None)

    def _send_away(self) -> None:
        self.sent_away += 1

    def _move(self, store: dict[str, Any], name: str, device: torch.device) -> None:
        self.where[id(store[name])] = device

    def on_device(self) -> set[str]:
        """The parts that lie there whole."""
        found = set()
        for name, part in self.module.parts_of(self.model).items():
            places = {self.where[id(tensor)] for tensor in (*part.parameters(), *part.buffers())}
            assert len(places) == 1, f"{name} is torn apart"
            found |= {name} if places == {GPU} else set()
        return found


@pytest.fixture(autouse=True)
def forget_the_module() -> Iterator[None]:
    yield
    sys.modules.pop(NAME, None)


def test_what_rests_leaves_the_device_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, GPU, lowvram=False)
    placement = scene.placement
    placement.take()
    assert scene.on_device() == set(PARTS)
    placement.rest("vae")
    placement.rest("text_encoder")
    assert scene.on_device() == {"unet"}
    placement.use("unet")
    assert scene.on_device() == {"unet"}
    placement.use("text_encoder")
    assert scene.on_device() == {"unet", "text_encoder"}
    placement.lend()
    assert scene.on_device() == set(PARTS)
    placement.take()
    assert scene.on_device() == {"unet", "text_encoder"}
    placement.give_back()
    assert scene.on_device() == set(PARTS)


def test_a_model_that_was_unloaded_before_is_brought_and_sent_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, CPU, lowvram=False)
    scene.placement.take()
    assert scene.on_device() == set(PARTS)
    scene.placement.lend()  # for a picture it has to be there too
    assert scene.on_device() == set(PARTS)
    scene.placement.take()
    scene.placement.give_back()
    assert scene.on_device() == set()


def test_medvram_brings_a_part_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, CPU, lowvram=True)
    assert scene.sent_away == 1  # before anything is looked at
    scene.placement.take()
    assert scene.on_device() == set()
    scene.placement.use("vae")
    assert scene.on_device() == {"vae"}
    scene.placement.rest("vae")
    assert scene.on_device() == {"unet", "text_encoder"}  # before anybody asks what memory is left
    scene.placement.rest("text_encoder")
    sent = scene.sent_away
    scene.placement.lend()
    assert scene.on_device() == set()
    scene.placement.take()
    assert scene.sent_away > sent  # the WebUI had brought parts of its own
    assert scene.on_device() == {"unet"}
    scene.placement.give_back()
    assert scene.on_device() == set()


def test_medvrams_own_moving_is_off_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, CPU, lowvram=True)
    unet, vae = scene.model.model, scene.model.first_stage_model

    def send_me_to_gpu(module: Any, _: Any) -> None: ...

    send_me_to_gpu.__module__ = "modules.lowvram"

    def others(module: Any, _: Any) -> None: ...

    unet.register_forward_pre_hook(others)
    unet.register_forward_pre_hook(send_me_to_gpu)
    unet.register_forward_pre_hook(others)
    wrappers = {name: lambda x: x for name in ("encode", "decode")}
    for name, wrapper in wrappers.items():
        setattr(vae, name, wrapper)
    before = list(unet._forward_pre_hooks.items())

    def is_off() -> bool:
        assert [hook for hook in unet._forward_pre_hooks.values() if hook is others] == [others, others]
        return send_me_to_gpu not in unet._forward_pre_hooks.values() and not set(wrappers) & set(vars(vae))

    def is_on() -> bool:
        own = {name: vars(vae)[name] for name in wrappers}
        return list(unet._forward_pre_hooks.items())[: len(before)] == before and own == wrappers

    scene.placement.take()
    assert is_off()
    scene.placement.lend()
    assert is_on()
    scene.placement.take()
    assert is_off()
    later = unet.register_forward_pre_hook(lambda module, _: None)
    scene.placement.give_back()
    assert is_on()
    assert later.id in unet._forward_pre_hooks


def test_a_part_that_somebody_has_moved_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, GPU, lowvram=False)
    scene.placement.take()
    scene.placement.use("unet")
    scene.devices.device = torch.device("cuda")  # where no tensor lies
    with pytest.raises(UserError) as caught:
        scene.placement.use("unet")
    assert caught.value.code == "host.unloaded"


def test_moving_keeps_parameters_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(devices=None, lowvram=None))
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    module = importlib.import_module(NAME)
    vae = Vae()
    weight = vae.linear.weight
    module._move(vae.linear._parameters, "weight", CPU)
    module._move(vae._buffers, "table", torch.device("meta"))
    assert vae.linear.weight is weight
    assert weight.requires_grad
    assert vae.table.is_meta
    assert "table" in dict(vae.named_buffers())
