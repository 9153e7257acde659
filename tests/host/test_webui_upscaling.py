"""The WebUI's upscalers, without a WebUI: which are offered, the size of what comes back, and every way it can fail."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.signals import Commands, Stopped

NAME = "lib_lora_train.host.webui.upscaling"


class Model:
    """As the WebUI's `Upscaler`: enlarges by its own factor, whatever was asked for."""

    def __init__(self, factor: int = 4, deed: Callable[[], Any] | None = None) -> None:
        self.scale = 1
        self.factor, self.deed = factor, deed
        self.calls: list[tuple[tuple[int, int], str, str, float]] = []

    def do_upscale(self, image: Image.Image, selected_model: str) -> Image.Image:
        self.calls.append((image.size, image.mode, selected_model, self.scale))
        if self.deed is not None:
            self.deed()
        return image.resize((image.width * self.factor, image.height * self.factor), Image.Resampling.NEAREST)


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.state = SimpleNamespace(interrupted=False)
        self.shared = SimpleNamespace(sd_upscalers=[], state=self.state)
        modules = SimpleNamespace(shared=self.shared, devices=SimpleNamespace(device=torch.device("cpu")))
        monkeypatch.setitem(sys.modules, "modules", modules)
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        self.module = importlib.import_module(NAME)

    def add(self, name: str, model: Model, path: str | None = "", **others: Any) -> Model:
        """`path` "" makes a file."""
        if path == "":
            path = str(self.folder / f"{name}.pth")
            Path(path).touch()
        self.shared.sd_upscalers.append(SimpleNamespace(name=name, data_path=path, scaler=model, **others))
        return model

    def upscale(self, image: Image.Image, factor: float = 2, commands: Commands | None = None) -> Image.Image:
        return self.module.upscale(image, "Sharp", factor, commands or Commands())


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scene]:
    yield Scene(monkeypatch, tmp_path)
    sys.modules.pop(NAME, None)


def picture(width: int = 20, height: int = 12, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, len(mode)), np.uint8), mode)


def test_those_whose_files_are_there_are_offered(scene: Scene) -> None:
    scene.add("None", Model(), None)
    scene.add("Lanczos", Model(), None)
    scene.add("Sharp", Model())
    scene.add("Sharp", Model())
    scene.add("Far", Model(), "https://example.invalid/far.pth", local_data_path="https://example.invalid/far.pth")
    here = scene.folder / "fetched.pth"
    here.touch()
    scene.add("Fetched", Model(), "https://example.invalid/fetched.pth", local_data_path=str(here))
    scene.add("Gone", Model(), str(scene.folder / "gone.pth"))
    assert scene.module.upscaler_names() == ["Sharp", "Fetched"]


def test_the_model_is_asked_by_its_own_path(scene: Scene) -> None:
    here = scene.folder / "fetched.pth"
    here.touch()
    model = scene.add("Sharp", Model(), "https://example.invalid/fetched.pth", local_data_path=str(here))
    scene.upscale(picture(), 2)
    assert model.calls == [((20, 12), "RGB", "https://example.invalid/fetched.pth", 2)]
    assert model.scale == 1


@pytest.mark.parametrize(("factor", "passes"), [(1.37, 1), (4, 1), (5, 2), (16, 2), (100, 3)])
def test_the_size_is_exact_for_every_factor(scene: Scene, factor: float, passes: int) -> None:
    model = scene.add("Sharp", Model())
    image = picture()
    result = scene.upscale(image, factor)
    assert result.size == (round(20 * factor), round(12 * factor))
    assert len(model.calls) == passes
    if factor == 4:
        assert np.array_equal(np.asarray(result)[::4, ::4], np.asarray(image))


@pytest.mark.parametrize(("mode", "expected"), [("RGB", "RGB"), ("L", "RGB"), ("RGBA", "RGBA"), ("LA", "RGBA")])
def test_transparency_is_kept(scene: Scene, mode: str, expected: str) -> None:
    model = scene.add("Sharp", Model(2))
    image = picture(mode="RGBA").convert(mode)
    result = scene.upscale(image)
    assert (result.mode, model.calls[0][1]) == (expected, "RGB")
    if expected == "RGBA":
        alpha = image.getchannel("A").resize((40, 24), Image.Resampling.LANCZOS)
        assert np.array_equal(np.asarray(result)[:, :, 3], np.asarray(alpha))
    colours = np.asarray(image.convert("RGBA").convert("RGB"))
    assert np.array_equal(np.asarray(result)[::2, ::2, :3], colours)


def raises(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


@pytest.mark.parametrize("error", [RuntimeError("torn"), FileNotFoundError("torn"), KeyError("torn")])
def test_a_model_that_fails_is_named(scene: Scene, error: BaseException) -> None:
    model = scene.add("Sharp", Model(deed=raises(error)))
    with pytest.raises(UserError) as caught:
        scene.upscale(picture())
    assert caught.value.code == "webui.upscale_failed"
    assert "Sharp" in caught.value.sentence() and "torn" in caught.value.sentence()
    assert model.scale == 1


def test_a_picture_that_stays_as_it_was_is_no_success(scene: Scene) -> None:
    scene.add("Sharp", Model(1))
    with pytest.raises(UserError) as caught:
        scene.upscale(picture())
    assert caught.value.code == "webui.upscale_nothing"


def test_one_that_is_not_there_is_said(scene: Scene) -> None:
    with pytest.raises(UserError) as caught:
        scene.upscale(picture())
    assert caught.value.code == "host.no_upscaler"


def test_the_webuis_interrupt_ends_it(scene: Scene) -> None:
    scene.add("Sharp", Model(deed=lambda: setattr(scene.state, "interrupted", True)))
    with pytest.raises(UserError) as caught:
        scene.upscale(picture())
    assert caught.value.code == "webui.upscale_cancelled"


def test_a_stop_command_presses_interrupt(scene: Scene) -> None:
    commands = Commands()

    def work() -> None:
        commands.stop()
        until = time.monotonic() + 10
        while not scene.state.interrupted and time.monotonic() < until:
            time.sleep(0.01)

    scene.add("Sharp", Model(deed=work))
    with pytest.raises(Stopped):
        scene.upscale(picture(), commands=commands)


def test_nothing_is_begun_after_a_stop(scene: Scene) -> None:
    model, commands = scene.add("Sharp", Model()), Commands()
    commands.stop()
    with pytest.raises(Stopped):
        scene.upscale(picture(), commands=commands)
    assert model.calls == []


def test_random_states_are_as_before(scene: Scene) -> None:
    scene.add("Sharp", Model(deed=lambda: torch.rand(3)))
    before = torch.get_rng_state()
    scene.upscale(picture())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_embedded_host_has_none(tmp_path: Path) -> None:
    host = EmbeddedHost(HostPaths(tmp_path, tmp_path, tmp_path), device="cpu")
    assert host.upscalers() == []
    with pytest.raises(UserError) as caught:
        host.upscale(picture(), "Sharp", 2)
    assert caught.value.code == "host.no_upscaler"
