"""Thousands of pictures: only those in sight are in the page, and all can be chosen with mouse and keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

MANY, MOST_TILES, PAGE = 3000, 300, 200
MAKE = """async (total) => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.classList.add("lora_train_panel");
    window.asked = [];
    window.told = {opened: [], removed: 0};
    loraTrain.state.project = {id: "p"};
    window.realGet = loraTrain.api.get;
    loraTrain.api.get = async (parts, query) => {
        window.asked.push(query);
        const pictures = [];
        for (let n = query.offset; n < Math.min(total, query.offset + query.limit); n++) {
            pictures.push({id: `i${n}`, name: `<i>${n}.png`, caption: n % 3 ? `tag ${n}` : "", stamp: "s",
                problem: n === 1 ? {sentence: "It is cut off.", remedy: ""} : null});
        }
        return {total, pictures};
    };
    window.grid = new loraTrain.PictureGrid({open: (n) => window.told.opened.push(n), changed: () => {},
        remove: () => { window.told.removed += 1; }});
    place.replaceChildren(window.grid.element);
    await window.grid.show("");
}"""
UNMAKE = """() => {
    document.querySelector("#lora_train_root").hidden = true;
    document.querySelector("#lora_train_place").replaceChildren();
    loraTrain.api.get = window.realGet;
    loraTrain.state.project = null;
}"""


@pytest.fixture
def grid(page: Page) -> Iterator[Page]:
    page.evaluate(MAKE, MANY)
    page.locator(".lora_train_tile").first.wait_for()
    yield page
    page.evaluate(UNMAKE)


def tiles(page: Page) -> list[int]:
    return sorted(map(int, page.locator(".lora_train_tile").evaluate_all("all => all.map((one) => one.dataset.place)")))


def chosen(page: Page) -> list[int]:
    return sorted(int(one[1:]) for one in page.evaluate("[...grid.chosen]"))


def test_only_what_is_in_sight_is_in_the_page(grid: Page) -> None:
    assert 10 <= len(tiles(grid)) <= MOST_TILES
    assert tiles(grid)[0] == 0
    offsets = grid.evaluate("asked.map((query) => query.offset)")
    assert offsets == list(range(0, 2000, PAGE))  # for the counts; not all of them
    grid.locator(".lora_train_grid").focus()
    grid.keyboard.press("End")
    grid.locator(f'[data-place="{MANY - 1}"]').wait_for()
    assert len(tiles(grid)) <= MOST_TILES
    assert tiles(grid)[-1] == MANY - 1
    assert 0 not in tiles(grid)
    assert grid.evaluate("asked.length") < 14  # and what lies between was not read


def test_tiles_say_what_they_are(grid: Page) -> None:
    first, second = (grid.locator(f'[data-place="{place}"]') for place in (0, 1))
    assert first.get_attribute("title") == "<i>0.png"
    assert first.locator(".lora_train_tile_caption").inner_text() == "no caption"
    assert second.get_attribute("title") == "It is cut off."
    assert "lora_train_bad" in (second.get_attribute("class") or "")
    assert grid.locator(".lora_train_grid i").count() == 0


def test_mouse(grid: Page) -> None:
    tile = lambda place: grid.locator(f'[data-place="{place}"]')  # noqa: E731
    tile(2).click()
    assert grid.evaluate("told.opened") == [2]
    tile(1).click(modifiers=["Control"])
    tile(4).click(modifiers=["Shift"])
    assert chosen(grid) == [1, 2, 3, 4]
    tile(3).click()  # while some are chosen, a press chooses
    assert chosen(grid) == [1, 2, 4]
    assert grid.evaluate("told.opened") == [2]


def test_keyboard(grid: Page) -> None:
    grid.locator(".lora_train_grid").focus()
    grid.keyboard.press("ArrowRight")
    grid.keyboard.press("Enter")
    assert grid.evaluate("told.opened") == [1]
    grid.keyboard.press("Space")
    grid.keyboard.press("Shift+ArrowDown")
    columns = grid.evaluate("grid.columns")
    assert columns > 2
    assert chosen(grid) == list(range(1, columns + 2))
    active = grid.locator(".lora_train_grid").get_attribute("aria-activedescendant")
    assert grid.locator(f"#{active}").get_attribute("data-place") == str(columns + 1)
    grid.keyboard.press("Delete")
    assert grid.evaluate("told.removed") == 1
    grid.keyboard.press("Escape")
    assert chosen(grid) == []
    grid.keyboard.press("Control+a")
    grid.wait_for_function(f"grid.chosen.size === {MANY}")


def test_what_is_gone_is_not_chosen_any_more(grid: Page) -> None:
    grid.evaluate("grid.chosen.add('i0'); grid.chosen.add('i1')")
    grid.evaluate("""async () => {
        loraTrain.api.get = async () => ({total: 1, pictures: [{id: "i1", name: "1", caption: "", stamp: "", problem: null}]});
        await grid.reload();
    }""")
    assert chosen(grid) == [1]
    assert tiles(grid) == [0]
