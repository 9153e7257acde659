"""The demo checkpoint in the WebUI: it loads, is taught its character there, and txt2img shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from demo.attributes import CHARACTER, FREE, TRAITS, Portrait
from demo.character import SETTINGS, TRIGGER, eval_prompts, training_set
from lib_lora_train.demo_run import JUDGE, read_portraits
from lib_lora_train.host.export import export_single_file
from lib_lora_train.serve import DEMO
from lib_lora_train.vision.tagger import Tagger
from tests.helpers.webui import Webui

SEEDS = range(100, 106)


@pytest.fixture
def with_demo(own_webui: Callable[..., Webui], tmp_path: Path) -> Webui:
    """A WebUI whose only checkpoint is the demo's, as `export` writes it."""
    export_single_file(DEMO, tmp_path / "checkpoints" / "demo.safetensors")
    webui = own_webui("--ckpt-dir", str(tmp_path / "checkpoints"))
    webui.set_options(sd_model_checkpoint="demo.safetensors")
    return webui


def test_the_character_is_taught_and_drawn(with_demo: Webui) -> None:
    webui, rest = with_demo, with_demo.rest
    project = rest.new_project("Quillon", trigger=TRIGGER)
    rest.add_pictures(project, training_set())
    wishes = {"kind": "character", "choice": "quick", "checkpoint": "demo"}
    settings = rest.post(f"projects/{project}/plan", wishes)["settings"]
    settings["run"]["grid_after_training"] = False  # pictures are drawn by the WebUI itself below
    run = rest.start(project, settings)
    over = rest.wait_for_end(project, run, seconds=1200)
    assert over["lora"]

    lora = Path(over["lora"]).stem
    with_lora = shown(webui, f"<lora:{lora}:1>")
    without = shown(webui, "")
    asked = [free for _, free in eval_prompts() for _ in SEEDS]
    assert share(with_lora, [CHARACTER] * len(asked), TRAITS) > 0.8
    assert share(without, [CHARACTER] * len(asked), TRAITS) < 0.2
    assert share(with_lora, asked, FREE) > 0.8
    matched = webui.matched(lora)
    assert matched["unmatched"] == [] and matched["matched"]


def shown(webui: Webui, lora: str) -> list[Portrait]:
    """What the judge sees in the WebUI's pictures of the demo's prompts."""
    pictures: list[Image.Image] = []
    for prompt, _ in eval_prompts():
        pictures += [
            drawn.image.convert("RGB")
            for drawn in webui.txt2img_all(
                f"{prompt} {lora}",
                seed=SEEDS[0],
                batch_size=len(SEEDS),
                width=128,
                height=128,
                steps=SETTINGS.sample_steps,
                cfg_scale=SETTINGS.guidance,
                sampler_name="DDIM",
            )[-len(SEEDS) :]  # a grid may come first
        ]
    return read_portraits(Tagger(JUDGE), pictures)


def share(portraits: list[Portrait], wishes: list[Portrait], attributes: tuple[str, ...]) -> float:
    pairs = [(seen[one], wish[one]) for seen, wish in zip(portraits, wishes, strict=True) for one in attributes]
    return sum(seen == wish for seen, wish in pairs) / len(pairs)
