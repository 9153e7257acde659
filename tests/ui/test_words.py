"""Every static word of gradio's part of the page has a Chinese one, and nothing heavy is needed to build it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_lora_train.studio import Studio
from lib_lora_train.ui.tab import build_tab
from lib_lora_train.words import page_words, word

ROOT = Path(__file__).parents[2]
HAN, LATIN = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[A-Za-z]{2}")
SAME = {"LoRA"}  # in both languages
HEAVY = ("torch", "diffusers", "transformers", "onnxruntime", "cv2", "safetensors")


def static_words(block: Any) -> Iterator[str]:
    for child in getattr(block, "children", []):
        yield from static_words(child)
    if "lora_train_hidden" in (getattr(block, "elem_classes", None) or []):
        return
    for name in ("label", "info", "placeholder"):
        yield getattr(block, name, None) or ""
    if isinstance(block, gr.Button | gr.HTML):
        yield re.sub(r"<[^>]+>", "", block.value or "").strip()
    if isinstance(block, gr.Radio):
        yield from (choice[0] if isinstance(choice, tuple) else choice for choice in block.choices)


def translations() -> dict[str, str]:
    return json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))


def test_every_word_has_a_chinese_one(studio: Studio) -> None:
    known = translations()
    wanted = {words for words in static_words(build_tab(studio)) if LATIN.search(words)}
    assert len(wanted) > 150
    assert sorted(wanted - known.keys()) == []
    same = {words for words in wanted if words in SAME or re.fullmatch(r"kohya: \w+", words)}
    assert sorted(words for words in wanted - same if not HAN.search(known[words])) == []


def test_chinese_labels_are_unique(studio: Studio) -> None:
    """As the English ones: two fields of the same name cannot be told apart."""
    known = translations()
    labels = {words for words in static_words(build_tab(studio)) if LATIN.search(words)}
    chinese = [known[label] for label in labels]
    assert sorted(text for text in set(chinese) if chinese.count(text) > 1) == []


def test_words_of_the_server() -> None:
    assert page_words("en") == {} and word("Rank", "en") == "Rank"
    assert word("no such words", "zh-CN") == "no such words"
    if (ROOT / "localizations" / "zh_CN.json").is_file():
        assert HAN.search(word("Rank", "zh-CN"))


def test_both_versions_know_every_argument(studio: Studio) -> None:
    """gradio 3 only warns of an argument that it does not know."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        build_tab(studio)
    ours = [str(one.message) for one in said if "on_event" not in str(one.message)]  # gradio 4's own use of fastapi
    assert ours == []


def test_building_the_tab_loads_nothing_heavy() -> None:
    code = (
        "import sys; from types import SimpleNamespace as N; from lib_lora_train.ui.tab import build_tab\n"
        "from lib_lora_train.access import Exposure\n"
        "build_tab(N(checkpoint_names=lambda: [], exposure=Exposure(), language=''))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_it_can_be_rendered_inside_another_page(studio: Studio) -> None:
    """As the WebUI does it; events keep working there."""
    tab = build_tab(studio)
    events = len(tab.get_config_file()["dependencies"])
    with gr.Blocks(analytics_enabled=False) as outer, gr.Tabs(), gr.TabItem("LoRA Train", id="lora_train"):
        tab.render()
    assert len(outer.get_config_file()["dependencies"]) == events > 15
    assert "lora_train_root" in {part["props"].get("elem_id") for part in outer.get_config_file()["components"]}


@pytest.mark.parametrize("name", ["dataset", "tags", "train", "previews", "runs"])
def test_sub_tabs_have_names(studio: Studio, name: str) -> None:
    parts = build_tab(studio).get_config_file()["components"]
    found = [part["props"] for part in parts if part["props"].get("elem_id") == f"lora_train_tab_{name}"]
    assert [part["id"] for part in found] == [name]
