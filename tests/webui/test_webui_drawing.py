"""Pictures of a run, drawn by the WebUI itself: those that its user gets, and nothing of them left behind."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora_train.network.files import save_lora
from tests.helpers.webui import Webui, losses, settings_for

NAME = "drawn-by-test"


class Drawing:
    """A WebUI with a LoRA for each place of its model in the LoRA folder, and pictures of it."""

    def __init__(self, webui: Webui, elsewhere: Path) -> None:
        self.webui = webui
        self.file = webui.loras / f"{NAME}.safetensors"
        self.keys = webui.inside("drawing", "write_lora", path=str(self.file))["keys"]
        self.elsewhere = elsewhere / "other name.safetensors"
        self.elsewhere.write_bytes(self.file.read_bytes())
        self.plain = webui.txt2img().pixels
        self.with_lora = webui.txt2img(f"a cat <lora:{NAME}:1>").pixels
        assert self.plain != self.with_lora
        webui.txt2img()
        self.before = webui.hash()

    def draw(self, *requests: dict[str, Any], **how: Any) -> Drawn:
        return Drawn(self.webui.inside("drawing", "drawn", requests=list(requests), **how))

    def with_file(self, **fields: Any) -> dict[str, Any]:
        return {"lora": str(self.elsewhere), **fields}

    def check_nothing_is_left(self) -> None:
        state = self.webui.state()
        assert (state["networks"], state["merged"], state["in_memory"]) == ([], [], [])
        assert [name for name in state["available"] if name.startswith("lora_train_")] == []
        assert self.webui.hash().against(self.before) == {}
        assert self.webui.txt2img().pixels == self.plain
        assert self.webui.txt2img(f"a cat <lora:{NAME}:1>").pixels == self.with_lora


class Drawn:
    """What `inside/drawing.py` tells of the pictures."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.pixels = [base64.b64decode(one) for one in told["pixels"]]
        self.infotexts: list[str] = told["infotexts"]
        assert told["in_pictures"] == self.infotexts
        assert told["changed"] == []


@pytest.fixture
def drawing(webui: Webui, tmp_path: Path) -> Iterator[Drawing]:
    found = Drawing(webui, tmp_path)
    yield found
    found.file.unlink()


@pytest.fixture
def family_drawing(family_webui: Webui, tmp_path: Path) -> Iterator[Drawing]:
    found = Drawing(family_webui, tmp_path)
    yield found
    found.file.unlink()


def test_pictures_are_those_of_txt2img(family_drawing: Drawing) -> None:
    drawing = family_drawing
    half = drawing.webui.txt2img(f"a cat <lora:{NAME}:0.5>").pixels
    drawn = drawing.draw(drawing.with_file(), {}, drawing.with_file(weight=0.0), drawing.with_file(weight=0.5))
    assert drawn.pixels == [drawing.with_lora, drawing.plain, drawing.plain, half]
    assert drawn.told["counts"] == [1, 2, 3, 4]
    drawing.check_nothing_is_left()


def test_pictures_in_training_are_those_of_the_saved_file(family_drawing: Drawing) -> None:
    """The network is attached with dropout acting, as between two steps."""
    drawing = family_drawing
    drawn = drawing.draw({}, {"weight": 0.0}, drawing.with_file(), training=True)
    assert drawn.pixels == [drawing.with_lora, drawing.plain, drawing.with_lora]
    assert drawn.told["network"] == [1.0, True]
    drawing.check_nothing_is_left()


def test_the_loader_finds_a_place_for_every_key(family_drawing: Drawing, family: str) -> None:
    drawing = family_drawing
    matched = drawing.webui.matched(NAME)
    assert (len(matched["matched"]), matched["unmatched"]) == (drawing.keys, [])
    assert drawing.keys == {"sd1": 264, "sd2v": 258, "sdxl": 866}[family]


def test_infotext_is_the_webuis_and_names_no_file_that_is_gone(drawing: Drawing) -> None:
    own = drawing.webui.txt2img(f"a cat <lora:{NAME}:1>", clip_skip=1).infotext
    title = drawing.elsewhere.stem
    told = drawing.draw(drawing.with_file(), {}, training=True).infotexts
    assert told[0] == own.replace(NAME, title)
    assert f"<lora:{title}:1>" in told[0] and re.search(f'Lora hashes: "{title}: [0-9a-f]{{12}}"', told[0])
    assert "lora" not in told[1].lower()
    assert told[1] == drawing.webui.txt2img().infotext
    users = drawing.draw({"prompt": f"a cat <lora:{NAME}:1>", "clip_skip": 2}, training=True).infotexts[0]
    assert users.startswith(f"a cat <lora:{NAME}:1>\n")
    assert f'Lora hashes: "{NAME}: ' in users and "lora_train_" not in users
    assert "Clip skip: 2" in users


@pytest.mark.parametrize("functional", [False, True])
def test_what_a_prompt_left_merged_is_taken_off_exactly(family_drawing: Drawing, functional: bool) -> None:
    drawing = family_drawing
    webui = drawing.webui
    webui.set_options(lora_functional=functional)
    try:
        merged = webui.txt2img(f"a cat <lora:{NAME}:1>").pixels
        assert webui.state()["networks"] == [NAME]
        assert (webui.hash()["tensors"] == drawing.before["tensors"]) is (functional and not webui.state()["merged"])
        assert webui.inside("drawing", "unmerge") is False
        assert webui.state()["networks"] == []
        assert webui.hash().against(drawing.before) == {}
        assert webui.txt2img(f"a cat <lora:{NAME}:1>").pixels == merged
        assert webui.txt2img().pixels == drawing.plain
    finally:
        webui.set_options(lora_functional=False)
    drawing.check_nothing_is_left()


def test_what_is_merged_when_the_option_changes_is_taken_off_too(drawing: Drawing) -> None:
    """The loader itself then leaves it merged for good."""
    drawing.webui.txt2img(f"a cat <lora:{NAME}:1>")
    drawing.webui.set_options(lora_functional=True)
    drawing.webui.inside("drawing", "unmerge")
    drawing.webui.set_options(lora_functional=False)
    drawing.check_nothing_is_left()


def test_reload_ui_does_no_harm_to_a_layer_that_is_being_computed(drawing: Drawing) -> None:
    assert drawing.webui.inside("drawing", "computed_while_reloading", kept=False) is False  # else it is not needed
    assert drawing.webui.inside("drawing", "computed_while_reloading", kept=True) is True
    assert drawing.webui.inside("drawing", "computed_while_reloading", kept=False) is False
    drawing.check_nothing_is_left()


@pytest.mark.parametrize(("deed", "at"), [("interrupt", 7), ("interrupt", 10), ("interrupt_once", 9), ("skip", 8)])
def test_a_cancelled_picture_is_left_out(drawing: Drawing, deed: str, at: int) -> None:
    """The second of three, at its first step, at its last and in between."""
    requests = [{"seed": seed, "steps": 4} for seed in (1, 2, 3)]
    drawn = drawing.draw(*requests, deed=deed, at=at)
    assert drawn.told["seeds"] == [1, 3]
    assert drawn.told["counts"] == [1, 2, 3]
    assert [event["code"] for event in drawn.told["events"]] == ["host.sample_cancelled"]
    assert drawn.pixels[0] == drawing.plain
    drawing.check_nothing_is_left()


def test_a_button_pressed_before_a_picture_does_not_cancel_it(drawing: Drawing) -> None:
    drawn = drawing.draw({}, {}, deed="interrupt", at=6)  # as the second begins
    assert drawn.pixels == [drawing.plain] * 2


@pytest.mark.parametrize("at", [1, 4, 8])
def test_stop_is_obeyed_at_the_next_step(drawing: Drawing, at: int) -> None:
    drawn = drawing.draw(drawing.with_file(), drawing.with_file(seed=2), training=True, deed="stop", at=at)
    assert (drawn.told["outcome"], drawn.told["calls"], drawn.told["network"]) == ("stopped", at, [1.0, True])
    drawing.check_nothing_is_left()


def test_a_checkpoint_picked_meanwhile_is_neither_loaded_nor_forgotten(drawing: Drawing) -> None:
    webui = drawing.webui
    other = webui.checkpoint("sd2v")
    told = webui.inside("drawing", "drawn", requests=[{}, {}], deed="choose", at=3, value=other)
    assert [base64.b64decode(one) for one in told["pixels"]] == [drawing.plain] * 2
    assert told["changed"] == ["options"]
    assert webui.state()["loaded"].startswith("nano_sd1") and webui.state()["chosen"] == other
    webui.choose("sd1")
    drawing.check_nothing_is_left()


def test_a_setting_changed_meanwhile_stays_and_ours_are_not_saved(drawing: Drawing) -> None:
    webui = drawing.webui
    webui.set_options(show_progress_type="Full")
    config = webui.data / "config.json"
    drawing.draw({"clip_skip": 2}, deed="save_settings", at=3)
    saved = json.loads(config.read_text(encoding="utf-8"))
    assert (saved.get("CLIP_stop_at_last_layers", 1), saved["show_progress_type"]) == (1, "Full")
    webui.set_options(show_progress_type="Approx cheap")
    told = webui.inside("drawing", "drawn", requests=[{"clip_skip": 2}], deed="set_clip_skip", at=3, value=4)
    assert told["changed"] == ["options"]
    assert webui.state()["options"]["CLIP_stop_at_last_layers"] == 4


@pytest.mark.parametrize("at", [3, 8])
def test_cards_refreshed_meanwhile_do_not_lose_the_file(drawing: Drawing, at: int) -> None:
    """Before the file is wanted, and while it is on."""
    drawn = drawing.draw({}, drawing.with_file(), drawing.with_file(), deed="refresh", at=at)
    assert drawn.pixels == [drawing.plain, drawing.with_lora, drawing.with_lora]
    drawing.check_nothing_is_left()


def test_settings_that_add_a_lora_to_every_prompt_do_not_count(drawing: Drawing) -> None:
    drawing.webui.set_options(sd_lora=NAME)
    drawn = drawing.draw({}, drawing.with_file(weight=0.0))
    drawing.webui.set_options(sd_lora="None")
    assert drawn.pixels == [drawing.plain] * 2


def test_a_widened_vae_is_narrowed_again(drawing: Drawing) -> None:
    drawing.draw({}, deed="widen_vae", at=3)
    drawing.check_nothing_is_left()


def test_without_the_loader_adapters_are_on_by_hook(family_drawing: Drawing) -> None:
    drawing = family_drawing
    drawing.webui.txt2img(f"a cat <lora:{NAME}:1>")  # left merged
    requests = [drawing.with_file(), {}, {"weight": 0.0}, drawing.with_file(weight=0.0)]
    drawn = drawing.draw(*requests, training=True, without_loader=True)
    assert drawn.pixels[2:] == [drawing.plain] * 2
    assert drawn.pixels[0] == drawn.pixels[1] != drawing.plain
    first, second = (np.frombuffer(pixels, np.uint8).astype(int) for pixels in (drawn.pixels[0], drawing.with_lora))
    assert abs(first - second).max() <= 2  # of merged weights but for rounding
    assert drawn.told["network"] == [1.0, True]
    drawing.check_nothing_is_left()


def test_files_that_do_not_fit_are_refused(drawing: Drawing, tmp_path: Path) -> None:
    matrices = {"lora_down.weight": torch.ones(2, 8), "lora_up.weight": torch.ones(8, 2), "alpha": torch.tensor(2.0)}
    foreign = tmp_path / "foreign.safetensors"
    save_lora(foreign, {f"lora_unet_nowhere.{part}": value for part, value in matrices.items()}, {}, torch.float32)
    assert drawing.draw({"lora": str(foreign)}).told["outcome"] == "host.lora_unfit"
    assert drawing.draw({"lora": str(tmp_path / "none.safetensors")}).told["outcome"] == "network.file_missing"
    drawing.check_nothing_is_left()


def test_a_picture_of_nan_is_an_error_in_words(drawing: Drawing, tmp_path: Path) -> None:
    wild = tmp_path / "wild.safetensors"
    drawing.webui.inside("drawing", "write_lora", path=str(wild), scale=1e18)
    assert drawing.draw({"lora": str(wild)}).told["outcome"] == "host.nan_picture"
    drawing.check_nothing_is_left()


def test_a_runs_last_sample_is_what_its_file_draws(webui: Webui, project: str) -> None:
    """And the run is the one that it would be without samples."""
    asked = "zuna, girl --w 64 --h 64 --s 4 --d 7\nzuna --w 64 --h 64 --s 4 --d 8"
    usual = {"save_precision": "fp32", "sample_at_first": True, "sample_every_n_steps": 3}

    def run(prompts: str) -> str:
        fast = {"learning_rate": "1e-2"}
        settings = settings_for(webui, optimizer=fast, run={**usual, "max_train_steps": 6, "sample_prompts": prompts})
        started = webui.rest.start(project, settings)
        webui.rest.wait_for_end(project, started)
        return started

    quiet, drawing = run(""), run(asked)
    assert losses(webui, project, quiet) == losses(webui, project, drawing)
    folder = next(webui.data.rglob(f"{project}/runs/{drawing}/samples"))
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{step:08d}-{number:02d}.png" for step in (0, 3, 6) for number in (0, 1)]
    file = next(webui.loras.rglob(f"*{drawing}*.safetensors"))
    fields = {"seed": 7, "sampler_name": "DDIM", "cfg_scale": 7}
    plain = webui.txt2img("zuna, girl", **fields)
    own = webui.txt2img(f"zuna, girl <lora:{file.stem}:1>", **fields)
    assert own.pixels != plain.pixels
    with Image.open(folder / "00000006-00.png") as last, Image.open(folder / "00000000-00.png") as first:
        assert (last.tobytes(), first.tobytes()) == (own.pixels, plain.pixels)
        assert last.text["parameters"] == plain.infotext
    webui.txt2img()
