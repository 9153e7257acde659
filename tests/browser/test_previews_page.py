"""The Previews sub-tab against the real server: a grid comes by itself after a training and is watched, stopped and gone
on with; its cells are looked at, judged and drawn again, with the mouse and with the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from demo.character import training_set
from tests.browser.test_chinese import english
from tests.browser.test_text_is_text import CLEAN, INTRUDERS
from tests.helpers.serving import Rest, Server, short_settings, wait_for
from tests.helpers.tab import LONG, Tab

CELL = ".lora_train_matrix_cell"
TITLE = 'Grid <img src=x onerror="window.pwned=1"> 祖 🦈'
PROMPTS = ('quillon, "smile", <b>x</b>: <img src=x onerror=window.pwned=2>', "quillon, 祖母 👩‍🚀, a (b:1.1)")
GRID = {"weights": "0, 0.5, 1", "seeds": "1", "prompts": "\n".join(PROMPTS), "steps": 2, "width": 64, "height": 64}
RUN = {"max_train_epochs": 0, "max_train_steps": 4, "save_every_n_steps": 2}
KEYS = ["Home", "End", "PageUp", "PageDown", "Esc"]  # what stands on keyboards
SIZES = "(all) => all.map((one) => [one.complete, one.naturalWidth])"


@dataclass(frozen=True)
class Drawn:
    """A project with a run of two files and its grid."""

    rest: Rest
    project: str
    grid: str

    @property
    def place(self) -> str:
        return f"projects/{self.project}/grids/{self.grid}"

    def shown(self) -> Any:
        return self.rest.get(self.place)

    def key(self, column: int, weight: float, prompt: int = 0) -> str:
        [key] = (
            one["key"] for one in self.shown()["cells"]
            if (one["column"], one["weight"], one["prompt"]) == (column if weight else -1, weight, prompt)
        )  # fmt: skip
        return key

    def picture(self, key: str) -> bytes:
        return self.rest.call("GET", f"{self.place}/cells/{key}").body

    def idle(self) -> Any:
        return wait_for(self.shown, lambda one: one["job"] is None, 300)


@pytest.fixture(scope="module")
def drawn(served: Server) -> Drawn:
    rest = served.rest()
    project = rest.new_project(TITLE)
    rest.add_pictures(project, training_set(n=4))
    run = rest.start(project, short_settings(**RUN, grid_after_training=False))
    rest.wait_for_end(project, run, seconds=400)
    made = Drawn(rest, project, rest.post(f"projects/{project}/grids", {"runs": [run], "settings": GRID})["grid"])
    assert made.idle()["state"] == "done"
    return made


@pytest.fixture
def opened(served: Server, drawn: Drawn, open_tab: Callable[..., Tab]) -> Callable[..., Tab]:
    def open_one(**options: Any) -> Tab:
        tab = open_tab(served, **options)
        tab.select_project(drawn.project)
        tab.tab("previews")
        tab.page.wait_for_function("loraTrain.previews.cells.size === 10")
        return tab

    return open_one


def cells(tab: Tab) -> Locator:
    return tab.page.locator(f"{CELL}:visible")


def cell(tab: Tab, key: str) -> Locator:
    return tab.page.locator(f'{CELL}[data-key="{key}"]')


def test_a_grid_comes_by_itself(served: Server, open_tab: Callable[..., Tab]) -> None:
    rest = served.rest()
    project = rest.new_project("By itself")
    rest.add_pictures(project, training_set(n=4))
    tab = open_tab(served)
    page = tab.page
    tab.select_project(project)
    tab.tab("previews")
    expect(page.locator("#lora_train_previews .lora_train_welcome")).to_contain_text("Train first")
    rest.start(project, short_settings(**RUN, grid_after_training=True))
    made = page.locator(f'{CELL}[data-state="made"]')
    expect(made.nth(2)).to_be_visible(timeout=3 * LONG)  # nobody has touched the page
    tab.press("stop-grid")
    state = page.locator('[data-note="grid-state"]')
    expect(state).to_have_text(re.compile(r"Stopped: \d+ of \d+ pictures are drawn\."), timeout=LONG)
    [line] = rest.get(f"projects/{project}/grids")["grids"]
    assert 3 <= line["made"] < line["cells"] and line["job"] is None
    assert f"{line['made']} of {line['cells']}" in state.inner_text()
    again = open_tab(served)  # as it is for who opens the page now
    again.select_project(project)
    again.tab("previews")
    expect(again.page.locator('[data-note="grid-state"]')).to_have_text(state.inner_text())
    tab.press("continue-grid")
    now = wait_for(
        lambda: rest.get(f"projects/{project}/grids")["grids"][0], lambda one: one["made"] > line["made"], 300
    )
    expect(page.locator(".lora_train_matrix_status [role=progressbar]")).to_be_visible()
    assert now["job"] is not None
    tab.press("stop-grid")
    expect(state).to_contain_text("Stopped", timeout=LONG)


def test_cells_are_looked_at(drawn: Drawn, opened: Callable[..., Tab]) -> None:
    tab = opened()
    page = tab.page
    expect(page.locator(f"{CELL} img")).to_have_count(10)
    page.wait_for_function(f"[...document.querySelectorAll('{CELL} img')].every((one) => one.naturalWidth > 0)")
    assert page.locator(f"{CELL} img").evaluate_all(SIZES) == [[True, 64]] * 10
    key = drawn.key(1, 0.5, 1)
    cell(tab, key).click()
    side = page.locator(".lora_train_matrix_aside")
    expect(side.locator(".lora_train_matrix_prompt")).to_have_text(PROMPTS[1])
    expect(side.locator(".lora_train_matrix_name")).to_contain_text("Step 4 at weight 0.5")
    image = side.locator(".lora_train_matrix_image")
    assert page.evaluate(
        "async (src) => [...new Uint8Array(await (await fetch(src)).arrayBuffer())].length", image.get_attribute("src")
    ) == len(drawn.picture(key))
    tab.press("difference")
    page.wait_for_function("document.querySelector('.lora_train_matrix_image').src.includes('/difference/')")
    page.wait_for_function("document.querySelector('.lora_train_matrix_image').naturalWidth === 64")
    tab.press("flicker")
    expect(side.locator(".lora_train_matrix_second")).to_have_attribute("src", re.compile(drawn.key(-1, 0, 1)))
    tab.press("flicker")
    page.locator(f"{CELL}").first.hover()
    expect(page.locator(".lora_train_matrix_tip")).to_contain_text(PROMPTS[0])
    assert page.evaluate(INTRUDERS) == CLEAN


def test_with_the_keyboard_alone(drawn: Drawn, opened: Callable[..., Tab]) -> None:
    tab = opened()
    page, press = tab.page, tab.page.keyboard.press
    presses = tab.presses
    page.locator('[role="grid"]').focus()
    press("Home")
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowDown")
    key = drawn.key(0, 1, 1)
    expect(page.locator(f"{CELL}[aria-selected=true]")).to_have_attribute("data-key", key)
    press("Enter")
    dialog = page.locator("dialog[open]")
    expect(dialog.locator(".lora_train_matrix_prompt")).to_have_text(PROMPTS[1])
    press("ArrowRight")
    press("ArrowUp")
    key = drawn.key(1, 0.5, 0)
    press("5")
    wait_for(drawn.shown, lambda one: [each["stars"] for each in one["cells"] if each["key"] == key] == [5])
    press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    advice = page.locator(".lora_train_matrix_advice")
    expect(advice).to_contain_text("you gave it 5 of 5 stars")  # the person's own stars win
    expect(cell(tab, key)).to_have_class(re.compile("lora_train_matrix_best"))
    expect(page.locator('[role="grid"]')).to_be_focused()
    press("0")
    wait_for(drawn.shown, lambda one: not any(each["stars"] for each in one["cells"]))
    expect(advice).not_to_contain_text("stars")
    assert tab.presses == presses


def test_a_cell_is_drawn_again(drawn: Drawn, opened: Callable[..., Tab]) -> None:
    tab = opened()
    key = drawn.key(0, 0.5)
    before = drawn.picture(key)
    cell(tab, key).click()
    tab.press("redraw-cell")
    drawn.idle()
    expect(tab.page.locator('[data-note="grid-state"]')).to_contain_text("10 pictures", timeout=LONG)
    expect(cell(tab, key)).to_have_attribute("data-state", "made")
    expect(cell(tab, key).locator("img")).to_have_attribute("src", re.compile(r"v=1$"))
    assert drawn.picture(key) == before  # the same noise


def test_closed_and_opened_again(drawn: Drawn, opened: Callable[..., Tab]) -> None:
    tab = opened()
    key = drawn.key(1, 1)
    cell(tab, key).click()
    tab.press("swap-axes")
    expect(tab.page.locator('.lora_train_matrix_above[data-axis="prompt"]')).to_have_count(2)
    tab.page.locator('.lora_train_matrix_filter[data-axis="column"] summary').click()
    tab.page.locator('[name="see-column"]').first.uncheck()
    expect(cells(tab)).to_have_count(6)
    tab.reload()
    tab.tab("previews")
    expect(cells(tab)).to_have_count(6)
    expect(tab.page.locator(f"{CELL}[aria-selected=true]")).to_have_attribute("data-key", key)
    tab.press("show-all-cells")
    expect(cells(tab)).to_have_count(10)


def test_a_grid_is_deleted_and_brought_back(drawn: Drawn, opened: Callable[..., Tab]) -> None:
    tab = opened()
    tab.allowed.append(r"status of 404 .*/thumbnail")  # of pictures that were just being fetched
    tab.press("delete-grid")
    expect(tab.page.locator("#lora_train_previews .lora_train_welcome")).to_contain_text("There is no grid yet.")
    expect(cells(tab)).to_have_count(0)
    tab.press("message-action")
    expect(cells(tab)).to_have_count(10)
    assert drawn.shown()["made"] == 10


@pytest.mark.parametrize("width", [800, 900, 1280])
def test_it_fits_and_reads_in_chinese(opened: Callable[..., Tab], width: int) -> None:
    tab = opened(locale="zh-CN", viewport={"width": width, "height": 900})
    page = tab.page
    cells(tab).nth(2).click()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    outside = page.locator("#lora_train_previews button:visible").evaluate_all(
        "(all) => all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.innerText)"
    )
    assert outside == []
    seen = tab.texts()
    page.locator("summary:visible").first.click()
    seen += tab.texts()
    page.keyboard.press("Escape")
    tab.press("preview-keys")
    seen += tab.texts()
    page.keyboard.press("Escape")
    page.locator('[role="grid"]').press("Enter")
    seen += tab.texts()
    own = (TITLE, "Grid _img", *PROMPTS)  # the file has a name that a file can have
    assert [text for text in seen if not any(part in text for part in own) and english(text)] == KEYS
