"""The grid's page against a server in memory: what stands where, what keys and buttons do, what comes while it is drawn,
and that of thousands of cells only those in sight are in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.helpers.serving import wait_for
from tests.javascript.conftest import new_page
from tests.javascript.previewing import Matrix, Previewing, job, open_previews

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CELL = ".lora_train_matrix_cell"
HOSTILE = "<img src=x onerror=window.harmed=1>"


@pytest.fixture
def server() -> Previewing:
    return Previewing()


@pytest.fixture
def card(browser: Browser, server: Previewing) -> Iterator[Page]:
    """In a page of its own: as in the tab, there is one card in it. Errors of the scripts are errors of the test."""
    page, problems = new_page(browser), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    open_previews(page, server)
    expect(page.locator(CELL).first).to_be_visible()
    yield page
    page.context.close()
    assert problems == []


def cell(page: Page, key: str) -> Locator:
    return page.locator(f'{CELL}[data-key="{key}"]')


def chosen(page: Page) -> str:
    return page.evaluate("loraTrain.previews.chosen")


def settle(page: Page) -> None:
    """Until what was pressed is drawn: the grid draws in the browser's next frame."""
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")


def heads(page: Page, side: str, axis: str) -> list[str]:
    found = page.locator(f'.lora_train_matrix_{side}[data-axis="{axis}"]')
    settle(page)
    placed = found.evaluate_all("(all) => all.map((one) => [one.offsetLeft + one.offsetTop, one.innerText])")
    return [words.replace("\n", ", ") for _, words in sorted(placed)]


def keys_by_place(page: Page) -> dict[tuple[int, int], str]:
    settle(page)
    told = page.locator(f"{CELL}:visible").evaluate_all(
        "(all) => all.map(({dataset}) => [dataset.row, dataset.column, dataset.key])"
    )
    return {(int(row), int(column)): key for row, column, key in told}


def test_what_stands_where(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    assert heads(card, "above", "column") == ["Without LoRA", *(f"Epoch {n}, step {n}0" for n in (1, 2, 3))]
    assert heads(card, "above", "weight") == ["0", "0.5", "1", "0.5", "1", "0.5", "1"]
    assert heads(card, "beside", "prompt") == list(grid.prompts)
    assert heads(card, "beside", "seed") == ["1", "2", "1", "2"]
    places = [(-1, 0), *((column, weight) for column in range(3) for weight in (0.5, 1))]
    assert keys_by_place(card) == {
        (2 * prompt + seed - 1, at): grid.key(column, weight, prompt, seed)
        for at, (column, weight) in enumerate(places) for prompt in (0, 1) for seed in (1, 2)
    }  # fmt: skip
    assert card.locator('[role="grid"]').get_attribute("aria-colcount") == "8"
    best = cell(card, grid.key(1, 0.5))
    expect(best).to_have_class(re.compile("lora_train_matrix_best"))
    told = best.get_attribute("aria-label") or ""
    assert told.startswith("Epoch 2, step 20 at weight 0.5, qxz, girl, seed 1") and "Obedience 75" in told


def test_all_as_differences(card: Page, server: Previewing) -> None:
    """Each picture with the one of the same prompt and seed without the LoRA over it, and what is equal is black."""
    [grid] = server.grids
    bar = card.locator('[data-action="all-differences"]')
    apart, of = re.compile("lora_train_matrix_apart"), cell(card, grid.key(1, 0.5, 1, 2))
    expect(bar).to_have_attribute("aria-pressed", "false")
    expect(of.locator("img")).to_have_count(1)
    bar.click()
    expect(bar).to_have_attribute("aria-pressed", "true")
    expect(of).to_have_class(apart)
    address = of.locator("img").nth(1).get_attribute("src") or ""
    assert f"/{grid.key(-1, 0, 1, 2)}/" in address
    expect(cell(card, grid.key(-1, 0, 1, 2)).first).not_to_have_class(apart)
    of.click()
    card.keyboard.press("x")
    expect(of).not_to_have_class(apart)
    expect(of.locator("img")).to_have_count(1)
    expect(bar).to_have_attribute("aria-pressed", "false")
    card.keyboard.press("Enter")
    expect(card.locator("dialog[open]")).to_be_visible()
    card.keyboard.press("x")
    card.keyboard.press("Escape")
    expect(bar).to_have_attribute("aria-pressed", "false")  # what cannot be seen has not changed


def test_axes_are_swapped_and_arranged(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    card.locator('[data-action="swap-axes"]').click()
    places = [(-1, 0), *((column, weight) for column in range(3) for weight in (0.5, 1))]
    wait_for(lambda: heads(card, "above", "prompt"), lambda found: found == list(grid.prompts))
    assert keys_by_place(card)[(5, 3)] == grid.key(*places[5], 1, 2)
    card.locator('[data-action="swap-axes"]').click()
    card.locator('[name="arrangement"]').select_option("weights")
    wait_for(lambda: heads(card, "above", "weight"), lambda found: found == ["0", "0.5", "1"])
    found = keys_by_place(card)
    assert found[(2, 2)] == grid.key(2, 1, 0, 1)  # prompt, seed and file down
    assert found[(0, 0)] == found[(1, 0)] == grid.key(-1, 0)  # the same without the LoRA, in each row
    card.locator(CELL).first.click()
    card.keyboard.press("ArrowDown")
    assert chosen(card) == grid.key(-1, 0)
    expect(card.locator(".lora_train_focused")).to_have_attribute("data-row", "1")  # it goes on all the same
    card.keyboard.press("ArrowRight")
    assert chosen(card) == grid.key(1, 0.5)


def test_several_checkpoints_are_sections(browser: Browser) -> None:
    grid = Matrix(columns=1, bases=("one", HOSTILE), seeds=(1,))
    page = new_page(browser)
    open_previews(page, Previewing([grid]))
    expect(page.locator(".lora_train_matrix_section")).to_have_text(["one", HOSTILE])
    assert keys_by_place(page)[(3, 1)] == grid.key(0, 0.5, 1, 1, base=1)
    page.locator('.lora_train_matrix_filter[data-axis="base"] summary').click()
    page.locator('.lora_train_matrix_filter[data-axis="base"] [data-action="filter-only"]').nth(1).click()
    assert keys_by_place(page)[(0, 0)] == grid.key(-1, 0, 0, 1, base=1)
    assert page.evaluate("window.harmed") is None
    page.context.close()


def test_keys(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    press = card.keyboard.press
    outside: list[Any] = []
    card.expose_function("heard", lambda key: outside.append(key))
    card.evaluate("document.addEventListener('keydown', (event) => window.heard(event.key))")
    cell(card, grid.key(0, 0.5)).click()
    press("ArrowRight")
    press("ArrowDown")
    assert chosen(card) == grid.key(0, 1, 0, 2)
    press("End")
    assert chosen(card) == grid.key(2, 1, 0, 2)
    press("Home")
    press("ArrowLeft")  # it ends there
    assert chosen(card) == grid.key(-1, 0, 0, 2)
    press("ArrowRight")
    press("4")
    expect(cell(card, grid.key(0, 0.5, 0, 2)).locator(".lora_train_matrix_stars")).to_have_text("★4")
    press("5")
    press("0")
    expect(cell(card, grid.key(0, 0.5, 0, 2)).locator(".lora_train_matrix_stars")).to_have_text("")
    card.evaluate("loraTrain.previews.stars")
    assert [body["stars"] for body in server.bodies("grids/g01/stars")] == [4, 5, 0]  # in their order
    size = card.locator(CELL).first.evaluate("(one) => one.offsetWidth")
    press("+")
    assert card.locator(CELL).first.evaluate("(one) => one.offsetWidth") > size
    press("-")
    assert card.locator(CELL).first.evaluate("(one) => one.offsetWidth") == size
    for key in ("Control+Enter", "Escape", "Alt+Enter"):  # by which the WebUI draws and interrupts
        press(key)
    assert outside == []


def test_full_screen(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    press = card.keyboard.press
    cell(card, grid.key(1, 0.5)).click()
    press("Enter")
    dialog = card.locator("dialog[open]")
    image = dialog.locator(".lora_train_matrix_image")
    expect(image).to_have_attribute("src", re.compile(f"cells/{grid.key(1, 0.5)}$"))
    press("ArrowRight")
    press("ArrowDown")
    expect(image).to_have_attribute("src", re.compile(f"cells/{grid.key(1, 1, 0, 2)}$"))
    press("d")
    expect(image).to_have_attribute("src", re.compile(f"difference/{grid.key(1, 1, 0, 2)}$"))
    press("ArrowLeft")  # it stays so
    expect(image).to_have_attribute("src", re.compile(f"difference/{grid.key(1, 0.5, 0, 2)}$"))
    press("f")
    second = dialog.locator(".lora_train_matrix_second")
    expect(second).to_have_attribute("src", re.compile(f"cells/{grid.key(-1, 0, 0, 2)}$"))
    press("m")
    press("ArrowRight")
    expect(image).to_have_attribute("src", re.compile(f"cells/{grid.key(1, 1, 0, 2)}$"))
    expect(second).to_have_attribute("src", re.compile(f"cells/{grid.key(1, 0.5, 0, 2)}$"))
    expect(dialog.locator(".lora_train_matrix_shown")).to_have_text("In turn with Epoch 2, step 20 at weight 0.5")
    press("f")
    expect(second).to_be_hidden()
    press("3")
    expect(dialog.locator(".lora_train_matrix_given")).to_have_count(3)
    dialog.locator('[data-action="cell-up"]').click()
    expect(image).to_have_attribute("src", re.compile(f"cells/{grid.key(1, 1, 0, 1)}$"))
    press("Escape")
    expect(card.locator("dialog")).to_have_count(0)
    expect(card.locator('[role="grid"]')).to_be_focused()
    assert chosen(card) == grid.key(1, 1, 0, 1)


def test_what_the_pointer_is_over_is_told(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    cell(card, grid.key(2, 1, 1, 2)).hover()
    tip = card.locator(".lora_train_matrix_tip")
    expect(tip).to_contain_text("Epoch 3, step 30 at weight 1")
    expect(tip).to_contain_text("qxz, portrait, smile")
    expect(tip).to_contain_text("seed 2")
    expect(tip.locator('[data-score="obedience"]')).to_contain_text("75")
    card.mouse.move(5, 5)
    expect(tip).to_be_hidden()


def test_filters(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    summary = card.locator('.lora_train_matrix_filter[data-axis="prompt"] summary')
    summary.click()
    card.locator('[name="see-prompt"]').nth(1).uncheck()
    expect(summary).to_have_text("Prompts: 1 of 2")
    wait_for(lambda: len(keys_by_place(card)), lambda count: count == 14)
    assert {grid.key(*place) for place in ((-1, 0), (2, 1))} <= set(keys_by_place(card).values())
    card.locator('.lora_train_matrix_filter[data-axis="weight"] summary').click()
    expect(card.locator('[name="see-prompt"]').first).to_be_hidden()  # only one is unfolded
    card.locator('.lora_train_matrix_filter[data-axis="weight"] [data-action="filter-only"]').nth(2).click()
    assert keys_by_place(card) == {(s - 1, c): grid.key(c, 1, 0, s) for s in (1, 2) for c in range(3)}
    card.keyboard.press("Escape")
    expect(card.locator('[name="see-weight"]').first).to_be_hidden()
    card.locator('[data-action="show-recommended"]').click()  # what is filtered out is shown again
    assert chosen(card) == grid.key(1, 0.5)
    expect(card.locator('[data-action="show-all-cells"]')).to_be_hidden()
    assert len(keys_by_place(card)) == 28


def test_drawn_again_before_anybody_looked(card: Page) -> None:
    told = card.evaluate("""() => {
        const cell = {key: "a", base: 0, column: 0, weight: 1, prompt: 0, seed: 1, made: true};
        const before = new loraTrain.PreviewCells([{...cell}]);
        before.gone(["a", "gone"]);
        return new loraTrain.PreviewCells([{...cell}], before).turns.get("a");
    }""")
    assert told == 1


def test_several_are_drawn_again(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    cell(card, grid.key(0, 0.5)).click()
    cell(card, grid.key(1, 0.5, 0, 2)).click(modifiers=["Shift"])
    expect(card.locator(".lora_train_matrix_selected")).to_have_count(6)
    cell(card, grid.key(2, 1, 1, 2)).click(modifiers=["Control"])
    cell(card, grid.key(0, 0.5)).click(modifiers=["Control"])
    expect(card.locator(".lora_train_matrix_selection")).to_contain_text("6 pictures chosen")
    card.locator('[data-action="redraw-cells"]').click()
    expect(card.locator('[data-state="waiting"]' + CELL)).to_have_count(6)
    assert len(server.bodies("grids/g01/redraw")[0]["cells"]) == 6
    before = cell(card, grid.key(0, 1)).locator("img").get_attribute("src")
    assert before is None
    grid.made.add(grid.key(0, 1))  # one has come
    picture = cell(card, grid.key(0, 1)).locator("img")
    expect(picture).to_have_attribute("src", re.compile(r"v=1$"))  # not the one that the browser has kept
    expect(card.locator('[data-state="waiting"]' + CELL)).to_have_count(5)
    grid.made = {place["key"] for place in grid.places()}
    grid.job = None
    expect(card.locator('[data-state="waiting"]' + CELL)).to_have_count(0)
    expect(card.locator('[data-note="grid-state"]')).to_contain_text("28 pictures")


def test_progress_stop_and_continue(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    all_keys = [place["key"] for place in grid.places()]
    grid.made, grid.job, grid.recommended = set(all_keys[:5]), job(5, 28), None
    card.evaluate("loraTrain.previews.look()")
    state = card.locator('[data-note="grid-state"]')
    expect(state).to_have_text("drawing – 5 of 28 – 1 min 1 s left")
    expect(card.locator(".lora_train_matrix_status [role=progressbar]")).to_have_attribute("aria-valuenow", "17.9")
    expect(card.locator(f'{CELL}[data-state="made"]')).to_have_count(5)
    expect(card.locator(".lora_train_matrix_advice")).to_be_hidden()
    asked = len([one for one in server.asked if one[1] == "grids/g01" and one[2] == ""])
    grid.made.add(all_keys[9])
    expect(card.locator(f'{CELL}[data-state="made"]')).to_have_count(6)
    assert len([one for one in server.asked if one[1] == "grids/g01" and one[2] == ""]) == asked  # without all cells
    card.locator('[data-action="stop-grid"]').click()
    expect(state).to_have_text("Stopped: 6 of 28 pictures are drawn.")
    expect(card.locator(f'{CELL}[data-state="missing"]')).to_have_count(22)
    card.locator('[data-action="continue-grid"]').click()
    expect(card.locator('[data-action="stop-grid"]')).to_be_visible()
    problem = {"code": "x", "where": "", "sentence": f"{HOSTILE} is gone.", "remedy": "Put it back."}
    grid.job, grid.last = None, {"state": "failed", "error": problem, "notes": ["A note."], "ended": 1.7e9}
    alert = card.locator(".lora_train_matrix_status [role=alert]")
    expect(alert).to_have_text(f"{HOSTILE} is gone. Put it back.")
    expect(card.locator(".lora_train_matrix_status li")).to_have_text(["A note."])
    card.wait_for_timeout(500)  # it is read once more, as a whole
    asked = len(server.asked)
    card.wait_for_timeout(1500)
    assert len(server.asked) == asked  # nothing is drawn, so nobody asks
    assert card.evaluate("window.harmed") is None


def test_grids_are_chosen_deleted_and_brought_back(card: Page, server: Previewing) -> None:
    server.grids.insert(0, Matrix("g02", columns=1))
    card.evaluate("loraTrain.previews.look()")  # a new one comes by itself
    choice = card.locator('select[data-action="grid"]')
    expect(choice).to_have_value("g02")
    expect(card.locator(CELL)).to_have_count(12)
    choice.select_option("g01")
    expect(card.locator(CELL)).to_have_count(28)
    card.evaluate("loraTrain.previews.look()")
    expect(choice).to_have_value("g01")  # what was chosen stays
    expect(choice.locator("option").first).to_contain_text("<b>g02")
    card.locator('[data-action="delete-grid"]').click()
    expect(choice).to_have_value("g02")
    card.locator('[data-action="grid-trash"]').click()
    card.locator('[data-action="restore-grid"]').click()
    expect(choice).to_have_value("g01")
    expect(card.locator("dialog")).to_have_count(0)


def test_what_is_refused_does_not_stay_on_the_screen(card: Page, server: Previewing) -> None:
    [grid] = server.grids
    server.failing.add("grids/g01/stars")
    cell(card, grid.key(0, 1)).click()
    card.keyboard.press("5")
    expect(cell(card, grid.key(0, 1)).locator(".lora_train_matrix_stars")).to_have_text("")


@pytest.mark.parametrize("size", [48, 128, 512])
def test_of_thousands_only_those_in_sight_are_in_the_page(browser: Browser, size: int) -> None:
    grid = Matrix(columns=100, weights=(0, 0.2, 0.4, 0.6, 0.8, 1), seeds=tuple(range(1, 11)), recommended=(99, 1))
    page, server = new_page(browser), Previewing([grid])
    page.evaluate("(size) => localStorage.setItem('lora_train_previews_size', size)", str(size))
    open_previews(page, server)
    page.wait_for_function("loraTrain.previews.cells.size === 10020")
    scroller = page.locator('[role="grid"]')
    seen: list[str] = []
    last = lambda: page.locator(CELL).last.get_attribute("data-key")  # noqa: E731
    for part in (0, 0.2, 0.5, 0.9, 1):
        scroller.evaluate("(one, part) => one.scrollTo(part * one.scrollWidth, part * one.scrollHeight)", part)
        seen.append(wait_for(last, lambda key: key not in seen))
        assert 4 < page.locator(CELL).count() <= 500
        assert page.locator(".lora_train_matrix_head").count() < 200
    assert len([one for one in server.asked if one[1].endswith("/thumbnail")]) < 3000
    page.locator('[data-action="show-recommended"]').click()
    expect(cell(page, grid.key(99, 1))).to_be_visible()
    expect(page.locator(f"#{scroller.get_attribute('aria-activedescendant')}")).to_have_attribute(
        "data-key", grid.key(99, 1)
    )
    inside = "(one) => { const a = one.getBoundingClientRect(), b = one.closest('[role=grid]').getBoundingClientRect();" \
        " return a.left >= b.left && a.right <= b.right + 1 && a.bottom <= b.bottom + 1; }"  # fmt: skip
    assert cell(page, grid.key(99, 1)).evaluate(inside)
    page.context.close()


def test_the_wheel_enlarges_what_is_under_the_pointer(browser: Browser) -> None:
    grid = Matrix(columns=40, seeds=tuple(range(1, 21)))
    page = new_page(browser)
    open_previews(page, Previewing([grid]))
    page.locator('[role="grid"]').evaluate("(one) => one.scrollTo(1500, 900)")
    at = "document.elementFromPoint(600, 500).closest('.lora_train_matrix_cell')?.dataset.key"
    before = wait_for(lambda: page.evaluate(at), bool)
    page.mouse.move(600, 500)
    page.keyboard.down("Control")
    for _ in range(3):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(100)
    page.keyboard.up("Control")
    wait_for(lambda: page.evaluate(at), lambda key: key is not None)
    assert page.evaluate("window.visualViewport.scale") == 1
    assert cell(page, before).evaluate("(one) => one.offsetWidth") > 128
    assert page.evaluate(at) == before
    page.context.close()


def test_it_is_opened_again_as_it_was(browser: Browser) -> None:
    server = Previewing([Matrix("g02", columns=1), Matrix("g01")])
    page = new_page(browser)
    open_previews(page, server)
    page.locator('select[data-action="grid"]').select_option("g01")
    key = server.grids[1].key(2, 0.5, 1, 2)
    cell(page, key).click()
    page.locator('.lora_train_matrix_filter[data-axis="seed"] summary').click()
    page.locator('[name="see-seed"]').first.uncheck()
    page.keyboard.press("Escape")
    page.locator('[data-action="swap-axes"]').click()
    kept = page.evaluate("Object.entries(localStorage)")
    again = new_page(browser)
    again.evaluate("(kept) => { for (const [name, value] of kept) localStorage.setItem(name, value); }", kept)
    open_previews(again, server)
    expect(again.locator('select[data-action="grid"]')).to_have_value("g01")
    wait_for(lambda: len(keys_by_place(again)), lambda count: count == 14)
    assert chosen(again) == key
    assert heads(again, "above", "prompt") == list(server.grids[1].prompts)
    page.context.close()
    again.context.close()


def test_nothing_yet(card: Page, server: Previewing) -> None:
    server.grids.clear()
    card.evaluate("loraTrain.previews.look()")
    expect(card.locator(".lora_train_welcome")).to_contain_text("Train first")
    expect(card.locator(".lora_train_matrix_work")).to_be_hidden()
    card.evaluate("""() => {
        loraTrain.state.runs = [{id: "r01", state: "done", step: 5}];
        loraTrain.emit("runs", loraTrain.state.runs);
    }""")
    expect(card.locator(".lora_train_welcome")).to_contain_text("There is no grid yet.")
    card.evaluate("""() => {
        loraTrain.state.project = null;
        loraTrain.emit("project", null);
    }""")
    expect(card.locator(".lora_train_welcome")).to_contain_text("Name your project")


def test_what_is_chosen_is_shown_whatever_comes_between(card: Page, server: Previewing) -> None:
    """An answer that is slow is neither lost nor shown too late."""
    server.grids.append(Matrix("g00", columns=1, job=job(0, 9)))
    server.grids[0].job = job(1, 28)
    card.evaluate("loraTrain.previews.look()")
    card.evaluate("""() => {
        const real = window.fetch;
        window.fetch = async (address, given) => {
            if (/grids(\\/g00)?$/.test(address)) await new Promise((done) => setTimeout(done, 1500));
            return real(address, given);
        };
        window.shown = loraTrain.previews.show("g00");
    }""")
    card.wait_for_timeout(300)
    card.evaluate("loraTrain.previews.giveStars([...loraTrain.previews.cells.keys()][3], 4)")
    card.evaluate("window.shown")
    expect(card.locator('select[data-action="grid"]')).to_have_value("g00")
    assert card.evaluate("loraTrain.previews.grid.id") == "g00"
    assert list(server.grids[0].stars.values()) == [4]
