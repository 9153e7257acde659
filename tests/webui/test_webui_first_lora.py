"""The main job in the WebUI: from pictures to a LoRA among the WebUI's cards that changes what txt2img draws."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lib_lora_train.network.files import describe_lora
from tests.helpers.pictures import gradient
from tests.helpers.serving import wait_for, write_drawings
from tests.helpers.tab import LONG
from tests.helpers.webui import Installation, Webui, settings_for
from tests.helpers.webui_tab import WebuiTab

PROMPT = "zuna, girl, smile"
TITLE = "Zuna"
# Places for an adapter: in the U-Net, and in each text encoder by layer. The narrow OpenCLIP towers have 12 layers.
IN_UNET = {"sd1": 192, "sd2v": 192, "sdxl": 722}
ENCODERS = {"sd1": ["lora_te"], "sd2v": ["lora_te"], "sdxl": ["lora_te1", "lora_te2"]}
OF_A_LAYER = {
    "self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2",
}  # fmt: skip
WEIGHTS = ("1:0", "0:1", "1:1")  # of the text encoder's part and the U-Net's
_TEXT_KEY = re.compile(r"(lora_te\d?)_text_model_encoder_layers_(\d+)_(\w+)")


@pytest.fixture
def for_small_pictures(installation: Installation, own_webui: Callable[..., Webui], tmp_path: Path) -> Webui:
    """A WebUI that a processor can train in within a minute: its only checkpoint says that it was made for 64 px, and
    plans, and the grid that follows, are shorter than a person's."""
    target = tmp_path / "checkpoints" / "small.safetensors"
    target.parent.mkdir()
    source = installation.checkpoints / "nano_sd1.safetensors"
    shutil.copyfile(source, target)
    config = source.with_suffix(".yaml").read_text(encoding="utf-8")
    target.with_suffix(".yaml").write_text(f"{config}\nlora_train: {{native: 64}}\n", encoding="utf-8")
    webui = own_webui("--ckpt-dir", str(target.parent))
    webui.inside("plan", "shorten")
    grid = {"checkpoints": 1, "weights": "1", "seeds": "1", "prompts": PROMPT, "steps": 1}
    webui.inside("plan", "shorten_grids", settings=grid)
    return webui


def test_from_pictures_to_a_lora_in_txt2img(
    for_small_pictures: Webui, open_tab: Callable[..., WebuiTab], tmp_path: Path
) -> None:
    webui = for_small_pictures
    before = webui.txt2img(PROMPT).pixels, webui.hash()
    shown = [(gradient(64, 64 + 16 * number), f"zuna, girl, smile {number}") for number in range(4)]
    folder = write_drawings(tmp_path / "pictures", shown)

    tab = open_tab(webui)
    page = tab.page
    page.locator('[data-form="project"] [name="title"]').click()
    page.keyboard.type(TITLE)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("zuna")
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        tab.press("choose-folder")
    chooser.value.set_files(folder)
    expect(page.locator(".lora_train_tile")).to_have_count(4)
    page.locator(".lora_train_choice", has_text="Quick").click()
    expect(page.locator(".lora_train_plan_line")).to_contain_text("4 pictures")
    tab.press("train-now")

    tab.expect_run("running", "r01")
    expect(page.locator("#lora_train_live .lora_train_stage")).to_contain_text("step", timeout=LONG)
    expect(tab.bar).to_have_count(1)
    first = wait_for(tab.bar_percent, lambda percent: percent > 0)

    page.reload()
    tab.show("LoRA Train")
    expect(page.locator(".lora_train_strip_text")).to_contain_text(f"{TITLE} r01")
    tab.press("strip")
    tab.expect_run("running", "r01")
    expect(tab.bar).to_have_count(1)
    wait_for(tab.bar_percent, lambda percent: percent > first, 120)
    tab.expect_run("done", "r01", timeout=2 * LONG)
    expect(tab.bar).to_have_count(0)

    assert TITLE in tab.lora_cards()
    page.locator("#txt2img_extra_tabs > .tab-nav > button").get_by_text("Generation", exact=True).click()
    tab.click_generate(f"{PROMPT} <lora:{TITLE}:1>")
    expect(page.locator("#txt2img_gallery img").first).to_be_visible(timeout=60_000)
    expect(page.locator("#html_info_txt2img").first).to_contain_text("Lora hashes")

    with_lora = webui.txt2img(f"{PROMPT} <lora:{TITLE}:1>").pixels
    assert with_lora != before[0]
    assert (webui.txt2img(PROMPT).pixels, webui.hash()) == before
    matched = webui.matched(TITLE)
    assert (len(matched["matched"]), matched["unmatched"]) == (264, [])
    assert webui.complaints() == []


def test_every_part_of_each_familys_lora_is_taken_up(family_webui: Webui, family: str) -> None:
    webui = family_webui
    before = webui.txt2img(PROMPT).pixels
    title = f"Zuna {family}"
    project = webui.rest.new_project(title, trigger="zuna")
    webui.rest.add_pictures(project, [(gradient(64, 64), "zuna, girl"), (gradient(64, 96), "zuna, smile")])
    fast = {"learning_rate": "1e-2"}
    run = webui.rest.start(project, settings_for(webui, family, optimizer=fast, run={"max_train_steps": 4}))
    lora = webui.rest.wait_for_end(project, run)["lora"]

    name = Path(lora).stem
    matched = webui.matched(name)
    assert matched["unmatched"] == []
    in_unet = [key for key in matched["matched"] if key.startswith("lora_unet_")]
    assert len(in_unet) == IN_UNET[family]
    layers: dict[tuple[str, str], set[str]] = {}
    for key in set(matched["matched"]) - set(in_unet):
        encoder, layer, part = _TEXT_KEY.fullmatch(key).groups()
        layers.setdefault((encoder, layer), set()).add(part)
    assert sorted({encoder for encoder, _ in layers}) == ENCODERS[family]
    assert all(parts == OF_A_LAYER for parts in layers.values())
    assert len(layers) >= 11 * len(ENCODERS[family])

    path = next(webui.loras.rglob(lora))
    assert describe_lora(path).hash_matches
    text_only, unet_only, both = (webui.txt2img(f"{PROMPT} <lora:{name}:{weights}>").pixels for weights in WEIGHTS)
    assert len({before, text_only, unet_only, both}) == 4
    assert webui.txt2img(PROMPT).pixels == before
