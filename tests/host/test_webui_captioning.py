"""BLIP and DeepDanbooru as the WebUI has them, with stand-ins for its modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, Event, EventSink, Stage, Stopped

NAME = "lib_lora_train.host.webui.captioning"
PICTURE = Image.new("RGBA", (8, 8), (10, 20, 30, 255))


class Interrogator:
    """As far as `modules.interrogate.InterrogateModels` of 1.10.1 is used; it fails as that does without its file."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.blip_model: nn.Module | None = None
        self.clip_model = None
        self.dtype: torch.dtype | None = None
        self.running_on_cpu = True

    def load_blip_model(self) -> nn.Module:
        self.scene.told.append("load")
        return nn.Linear(2, 2)

    def load(self) -> None:
        pytest.fail("this loads CLIP too")

    def generate_caption(self, image: Image.Image) -> str:
        assert image.mode == "RGB"
        assert self.dtype == torch.float32
        if self.scene.fault is not None:
            raise self.scene.fault
        return "a drawing of a girl"

    def unload(self) -> None:
        self.scene.told.append("unload")


class DeepDanbooru:
    """As far as `modules.deepbooru.DeepDanbooru` of 1.10.1 is used."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.model: nn.Module | None = None

    def start(self) -> None:
        self.scene.told.append("start")
        self.model = nn.Linear(2, 2)

    def tag_multi(self, image: Image.Image, force_disable_ranks: bool = False) -> str:
        data = self.scene.options
        assert force_disable_ranks
        tags = ["long_hair", "shirt (white)"]
        if data["deepbooru_sort_alpha"]:
            tags.sort(reverse=True)
        if data["deepbooru_use_spaces"]:
            tags = [tag.replace("_", " ") for tag in tags]
        if data["deepbooru_escape"]:
            tags = [tag.replace("(", r"\(").replace(")", r"\)") for tag in tags]
        return ", ".join(tags)

    def stop(self) -> None:
        self.scene.told.append("stop")


class Scene:
    """The WebUI's modules as far as they are asked, and what they were told in which order."""

    def __init__(self, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.fault: Exception | None = None
        self.options: dict[str, Any] = {
            "deepbooru_escape": True,
            "deepbooru_use_spaces": False,
            "deepbooru_sort_alpha": True,
            "interrogate_return_ranks": True,
        }
        self.models = models
        modules = ModuleType("modules")
        parts = {
            "deepbooru": SimpleNamespace(model=DeepDanbooru(self)),
            "devices": SimpleNamespace(torch_gc=lambda: None, device_interrogate=torch.device("cpu")),
            "lowvram": SimpleNamespace(send_everything_to_cpu=lambda: self.told.append("room")),
            "paths": SimpleNamespace(models_path=str(models)),
            "shared": SimpleNamespace(
                interrogator=Interrogator(self),
                opts=SimpleNamespace(data=self.options),
                cmd_opts=SimpleNamespace(no_half=False),
            ),
        }
        for name, part in parts.items():
            setattr(modules, name, part)
        self.interrogator = parts["shared"].interrogator
        monkeypatch.setitem(sys.modules, "modules", modules)
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        self.module = importlib.import_module(NAME)

    def put(self, name: str) -> None:
        path = self.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")

    @contextmanager
    def turn(self, commands: Commands, events: EventSink) -> Iterator[None]:
        self.told.append("lock")
        try:
            yield
        finally:
            self.told.append("free")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    yield Scene(tmp_path / "models", monkeypatch)
    sys.modules.pop(NAME, None)


def test_blip_alone_is_loaded_under_the_lock_and_sent_back(scene: Scene) -> None:
    scene.put("BLIP/model_base_caption_capfilt_large.pth")
    blip = scene.module.Blip(scene.turn)
    events: list[Event] = []
    assert blip.trouble() is None
    with blip.loaded(Commands(), events.append) as caption:
        assert caption(PICTURE) == "a drawing of a girl"
        assert caption(PICTURE) == "a drawing of a girl"
    assert scene.told == ["lock", "room", "load", "unload", "free"]
    assert events == [Stage("tagging.stage_loading")]
    with blip.loaded() as caption:
        caption(PICTURE)
    assert scene.told.count("load") == 1  # the WebUI keeps it in the computer's memory


def test_deepdanbooru_writes_tags_as_captions_have_them(scene: Scene) -> None:
    scene.put("torch_deepdanbooru/model-resnet_custom_v3.pt")
    before = dict(scene.options)
    with scene.module.DeepDanbooru(scene.turn).loaded() as caption:
        assert caption(PICTURE) == "long hair, shirt (white)"
        assert scene.options == before
    assert scene.told == ["lock", "room", "start", "stop", "free"]


@pytest.mark.parametrize(
    ("name", "code"), [("Blip", "tagging.blip_missing"), ("DeepDanbooru", "tagging.deepdanbooru_missing")]
)
def test_without_its_file_nothing_is_loaded_and_no_lock_taken(scene: Scene, name: str, code: str) -> None:
    captioner = getattr(scene.module, name)(scene.turn)
    trouble = captioner.trouble()
    assert trouble is not None
    assert trouble.code == code
    assert str(scene.models) not in trouble.text()
    with pytest.raises(UserError) as caught, captioner.loaded():
        pytest.fail("there is no file")
    assert caught.value.code == code
    assert scene.told == []


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("Sizes of tensors must match\nat line 5"),
        IndexError("list index out of range"),
        AttributeError("x"),
    ],
)
def test_a_failure_is_one_sentence_and_all_is_given_back(scene: Scene, fault: Exception) -> None:
    scene.put("BLIP/model.pth")
    scene.fault = fault
    with pytest.raises(UserError) as caught, scene.module.Blip(scene.turn).loaded() as caption:
        caption(PICTURE)
    assert caught.value.code == "tagging.host_failed"
    assert "\n" not in caught.value.sentence()
    assert scene.told[-2:] == ["unload", "free"]


def test_a_load_that_fails_gives_all_back_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.put("BLIP/model.pth")

    def fail() -> nn.Module:
        raise ImportError("No module named 'models.blip'")

    monkeypatch.setattr(scene.interrogator, "load_blip_model", fail)
    with pytest.raises(UserError) as caught, scene.module.Blip(scene.turn).loaded():
        pytest.fail("it was not loaded")
    assert caught.value.code == "tagging.host_failed"
    assert scene.told[-2:] == ["unload", "free"]


def test_out_of_memory_is_not_hidden(scene: Scene) -> None:
    scene.put("BLIP/model.pth")
    scene.fault = torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.cuda.OutOfMemoryError), scene.module.Blip(scene.turn).loaded() as caption:
        caption(PICTURE)
    assert scene.told[-2:] == ["unload", "free"]


def test_a_stop_ends_it(scene: Scene) -> None:
    scene.put("BLIP/model.pth")
    commands = Commands()
    with pytest.raises(Stopped), scene.module.Blip(scene.turn).loaded(commands) as caption:
        caption(PICTURE)
        commands.stop()
        caption(PICTURE)
    assert scene.told[-2:] == ["unload", "free"]


def test_names_are_those_of_the_settings(scene: Scene) -> None:
    from lib_lora_train.prepare.tables import CAPTIONERS

    pair = [scene.module.Blip(scene.turn), scene.module.DeepDanbooru(scene.turn)]
    assert [each.name for each in pair] == ["blip", "deepdanbooru"]
    assert {each.name for each in pair} < set(CAPTIONERS)
    assert len({each.key for each in pair}) == 2
