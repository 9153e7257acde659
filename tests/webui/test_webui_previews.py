"""Choosing and using a LoRA in the WebUI's page: the grid comes by itself after training, a cell becomes a LoRA among the
cards, and txt2img draws that very cell."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.helpers.serving import wait_for
from tests.helpers.tab import LONG
from tests.helpers.webui import Webui, settings_for
from tests.helpers.webui_tab import WebuiTab
from tests.webui.conftest import new_project

TITLE = "Zuna"
NAME = "it's mine, 小猫 🐈 (v2)"
PROMPT = 'zuna, a "cat", C:\\x, <b>小猫</b> 🐈'
NEGATIVE = 'bad, Steps: 3, "x"'
GRID = {
    "width": 64,
    "height": 72,
    "steps": 3,
    "cfg_scale": 4.5,
    "clip_skip": 2,
    "weights": "0, 0.35, 1",
    "seeds": "1, 4294967295",
    "prompts": f"zuna, girl\n{PROMPT}",
    "negative_prompt": NEGATIVE,
}
FIELDS = {"steps": "3", "cfg_scale": "4.5", "seed": "4294967295", "width": "64", "height": "72"}
CELL = """([column, weight, prompt, seed]) => [...loraTrain.previews.cells.values()].find((one) => one.column === column
    && one.weight === weight && one.prompt === prompt && one.seed === seed).key"""


@dataclass(frozen=True)
class Trained:
    """A run in a WebUI, whose grid has followed by itself while the page was open."""

    webui: Webui
    project: str
    run: str
    tab: WebuiTab

    @property
    def page(self) -> Page:
        return self.tab.page

    @property
    def cells(self) -> Locator:
        return self.page.locator(".lora_train_matrix_cell")

    def choose(self, column: int = 1, weight: float = 0.35, prompt: int = 1, seed: int = 4294967295) -> str:
        """Clicks a cell in the grid; its key."""
        key = self.page.evaluate(CELL, [column, weight, prompt, seed])
        self.page.locator(f'.lora_train_matrix_cell[data-key="{key}"]').click()
        return key

    def pixels(self, key: str) -> bytes:
        """Of a cell."""
        grid = self.page.evaluate("loraTrain.previews.grid.id")
        return rgb(self.webui.rest.get(f"projects/{self.project}/grids/{grid}/cells/{key}"))

    def drawn(self) -> bytes:
        """Presses Generate in txt2img, and waits for its picture."""
        page = self.page
        seen = page.locator("#txt2img_gallery img")
        before = seen.first.get_attribute("src") if seen.count() else ""
        page.locator("#txt2img_generate").click()
        expect(seen.first).to_be_visible(timeout=60_000)
        wait_for(lambda: seen.first.get_attribute("src"), lambda now: now != before)
        return rgb(page.request.get(seen.first.evaluate("(image) => image.src")).body())

    def value(self, field: str) -> str:
        return self.page.locator(f"#txt2img_{field} input[type=number]").first.input_value()


@pytest.fixture
def trained(own_webui: Callable[..., Webui], open_tab: Callable[..., WebuiTab]) -> Iterator[Trained]:
    webui = own_webui()
    webui.inside("plan", "shorten_grids", settings=GRID)
    project = new_project(webui, TITLE)
    tab = open_tab(webui)
    tab.select_project(project)
    tab.tab("previews")
    expect(tab.page.locator("#lora_train_previews .lora_train_welcome")).to_be_visible()
    after: dict[str, Any] = {"save_every_n_steps": 3, "grid_after_training": True}
    run = webui.rest.start(project, settings_for(webui, optimizer={"learning_rate": "1e-2"}, run=after))
    trained = Trained(webui, project, run, tab)
    expect(trained.cells.first).to_be_visible(timeout=LONG)
    tab.page.wait_for_function("() => loraTrain.previews.grid.job === null", timeout=LONG)
    yield trained
    assert webui.complaints() == []


def rgb(picture: bytes) -> bytes:
    return Image.open(io.BytesIO(picture)).convert("RGB").tobytes()


def card(page: Page, name: str) -> Locator:
    """A card of txt2img's Lora page, as it is drawn without anybody's Refresh."""
    page.locator("#txt2img_extra_tabs > .tab-nav > button").get_by_text("Lora", exact=True).click()
    return page.locator("#txt2img_lora_cards .card").filter(has=page.get_by_text(name, exact=True))


def test_from_training_to_the_picture_in_txt2img(trained: Trained) -> None:
    tab, page = trained.tab, trained.page
    assert page.evaluate("loraTrain.previews.cells.size") == 20
    key = trained.choose()
    page.locator('[data-action="use-cell"]:visible').click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator('[name="weight"]')).to_have_value("0.35")
    dialog.locator('[name="name"]').fill(NAME)
    dialog.locator('[data-action="pick"]').click()
    expect(dialog.locator("h4").first).to_have_text(f"“{NAME}” is among your LoRAs now.", timeout=LONG)
    checks = dialog.locator(".lora_train_previews_pick_checks li")
    expect(checks.nth(0)).to_have_text("Loaded again: all 264 parts fit the checkpoint.")
    expect(checks.nth(1)).to_have_text("Drawn again: the same picture, to the last pixel.")

    dialog.locator('[data-action="send-picked"]').click()
    prompt = page.locator("#txt2img_prompt textarea")
    expect(prompt).to_be_visible()
    expect(prompt).to_have_value(f"{PROMPT} <lora:{NAME}:0.35>", timeout=LONG)
    expect(page.locator("#txt2img_neg_prompt textarea")).to_have_value(NEGATIVE)
    assert {name: trained.value(name) for name in FIELDS} == FIELDS
    picture = trained.drawn()
    expect(page.locator("#html_info_txt2img").first).to_contain_text("Sampler: DDIM")
    assert picture == trained.pixels(key)

    shown = card(page, NAME)
    expect(shown).to_have_count(1)
    preview = shown.locator("img.preview")
    expect(preview).to_be_visible()
    assert preview.evaluate("(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [
        64,
        72,
    ]
    assert rgb(page.request.get(preview.evaluate("(image) => image.src")).body()) == trained.pixels(key)

    # What the card itself puts into a prompt.
    page.locator("#txt2img_extra_tabs > .tab-nav > button").get_by_text("Generation", exact=True).click()
    prompt.fill("")
    card(page, NAME).click()
    expect(prompt).to_have_value(re.compile(re.escape(f"<lora:{NAME}:0.35> zuna")))

    tab.show("LoRA Train")
    page.evaluate("loraTrain.openTab('previews')")
    trained.webui.rest.post(f"projects/{trained.project}/grids/unpick", {})
    page.evaluate("loraTrain.previews.look()")
    tab.show("txt2img")
    expect(page.locator("#txt2img_lora_cards .card").filter(has_text=NAME)).to_have_count(0)
