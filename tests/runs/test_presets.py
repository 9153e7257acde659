"""Presets: shipped ones are sound, the user's come back as they were, and nothing private is in them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.runs.presets import (
    PRIVATE,
    Preset,
    delete_preset,
    list_presets,
    load_preset,
    restore_preset,
    save_preset,
)
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe
from lib_lora_train.settings.reading import validate

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "lib_lora_train/presets").glob("*.json"))


def names(root: Path, shipped: bool = False) -> list[str]:
    return [preset.name for preset in list_presets(root) if preset.shipped == shipped]


def private(settings: TrainSettings) -> dict[str, object]:
    return {name: getattr(getattr(settings, name.split(".")[0]), name.split(".")[1]) for name in PRIVATE}


def personal() -> TrainSettings:
    """Every private setting at a value of its own."""
    settings = TrainSettings()
    for item in describe(TrainSettings):
        if f"{item.group}.{item.name}" in PRIVATE:
            value = {bool: True, int: 7, str: "mine"}[item.type]
            setattr(getattr(settings, item.group), item.name, value)
    return settings


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_presets_are_sound(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document) == {"name", "settings"} and document["settings"]["version"] == 1
    given = {f"{group}.{name}" for group, table in document["settings"].items() if group != "version" for name in table}
    assert given and not given & PRIVATE
    settings = load_preset(tmp_path, document["name"])
    assert [note.code for note in validate(settings)] == ["settings.no_prompts"]
    assert settings != TrainSettings() and private(settings) == private(TrainSettings())


def test_shipped_names_have_a_translation() -> None:
    texts = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    missing = [name for name in names(ROOT / "none", shipped=True) if not texts.get(name)]
    assert len(SHIPPED) == 7 and missing == []


def test_a_preset_comes_back_without_what_is_private(tmp_path: Path) -> None:
    settings = personal()
    settings.network.network_dim, settings.optimizer.optimizer_args = 48, ["weight_decay=0.1"]
    save_preset(tmp_path, "我的预设", settings)
    assert names(tmp_path) == ["我的预设"]
    loaded = load_preset(tmp_path, "我的预设")
    assert (loaded.network.network_dim, loaded.optimizer.optimizer_args) == (48, ["weight_decay=0.1"])
    assert private(loaded) == private(TrainSettings())
    assert "mine" not in (tmp_path / ".presets/我的预设.json").read_text(encoding="utf-8")
    onto = load_preset(tmp_path, "我的预设", settings)
    assert dataclasses.asdict(onto) == dataclasses.asdict(settings)


def test_what_is_overwritten_or_deleted_can_be_brought_back(tmp_path: Path) -> None:
    settings = TrainSettings()
    for rank in (4, 8):
        settings.network.network_dim = rank
        save_preset(tmp_path, "a", settings)
    settings.network.network_dim = 9
    save_preset(tmp_path, "A", settings)  # one and the same on Windows
    assert names(tmp_path) == ["A"]
    trash_id = delete_preset(tmp_path, "A")
    assert names(tmp_path) == []
    assert restore_preset(tmp_path, trash_id) == Preset("A", False)
    assert load_preset(tmp_path, "A").network.network_dim == 9
    older = sorted((tmp_path / ".presets/.trash").glob("a-*.json"))
    assert len(older) == 2
    delete_preset(tmp_path, "A")
    restored = [restore_preset(tmp_path, path.stem) for path in older[:1]]
    assert restored == [Preset("a", False)] and load_preset(tmp_path, "a").network.network_dim in (4, 8)
    with pytest.raises(UserError) as caught:
        restore_preset(tmp_path, older[1].stem)
    assert caught.value.code == "preset.taken"


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "../x", "a/b", "a\\b", "/etc/x", "C:x", "con", "x\x00", ".hidden", "x" * 300, "a."]
)
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "projects"
    root.mkdir()
    with pytest.raises(UserError) as caught:
        save_preset(root, name, TrainSettings())
    assert caught.value.code == "preset.name"
    for refused in (
        lambda: load_preset(root, name),
        lambda: delete_preset(root, name),
        lambda: restore_preset(root, name),
    ):
        with pytest.raises(UserError) as caught:
            refused()
        assert caught.value.code == "preset.unknown"
    assert list(tmp_path.rglob("*")) == [root]


def test_shipped_presets_stay(tmp_path: Path) -> None:
    shipped = names(tmp_path, shipped=True)[0]
    for refused in (
        lambda: save_preset(tmp_path, shipped, TrainSettings()),
        lambda: save_preset(tmp_path, shipped.upper(), TrainSettings()),
        lambda: delete_preset(tmp_path, shipped),
    ):
        with pytest.raises(UserError) as caught:
            refused()
        assert caught.value.code == "preset.shipped"
    assert len(SHIPPED) == len(names(tmp_path, shipped=True))
