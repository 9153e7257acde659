"""Making grids in the page of a real server: what is planned is what is made; scores, the curve, and sweeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.character import training_set
from tests.browser.preparing import own_tagger
from tests.helpers.serving import Rest, Server, short_settings, wait_for
from tests.helpers.tab import LONG, Tab

HOSTILE = '<img src=x onerror=alert(1)> & "quoted": <lora:x:1>, 头像 👩‍👧'
SMALL = {"width": 64, "height": 64, "steps": 2, "seeds": "1", "prompts": "quillon, 1girl, smile\n1girl, blue sky"}
ENGLISH = re.compile(r"[A-Za-z][A-Za-z']{2,}")
# Written so in Chinese as well, and what this test has named itself.
NAMES = re.compile(
    r"LoRA|DDIM|CFG|CLIP|WebUI|quillon|1girl|girl|smile|blue sky|demo|sd1|Making|Sweeping|safetensors|step\d+|network_dim|kohya"
    r"|\br\d\d\b|AM|PM|Rank|U-Net|AdamW\w*|Lion|Adafactor|Prodigy|DAdapt\w+|RAdam\w+"
)  # fmt: skip


def settings(**run: Any) -> dict[str, Any]:
    """Of a run with two files that makes no grid by itself."""
    return short_settings(**{"max_train_epochs": 0, "max_train_steps": 4, "save_every_n_steps": 2, "sample_at_first": False,
                             "grid_after_training": False, **run})  # fmt: skip


def trained(server: Server, title: str) -> str:
    """A project with a run of two files; its id."""
    rest = server.rest()
    project = rest.new_project(title)
    rest.add_pictures(project, training_set(n=4))
    rest.wait_for_end(project, rest.start(project, settings()))
    return project


@pytest.fixture(scope="module")
def project(served: Server) -> str:
    own_tagger(served)
    return trained(served, "Making")


def grids(rest: Rest, project: str) -> list[dict[str, Any]]:
    return rest.get(f"projects/{project}/grids")["grids"]


def drawn(rest: Rest, project: str, grid: str) -> dict[str, Any]:
    """The grid, when nothing of it is under way."""
    path = f"projects/{project}/grids/{grid}"
    wait_for(lambda: rest.get(f"{path}?cells=false"), lambda shown: shown["job"] is None, 180)
    return rest.get(path)


def without_grids(rest: Rest, project: str) -> None:
    """The project as if no grid had been made in it."""
    for grid in grids(rest, project):
        rest.delete(f"projects/{project}/grids/{grid['id']}")


def made(rest: Rest, project: str, **values: Any) -> dict[str, Any]:
    """A small grid of the newest run, as if it had been there before."""
    asked = {"settings": {**SMALL, "weights": "0, 0.5, 1", **values}}
    return drawn(rest, project, rest.post(f"projects/{project}/grids", asked)["grid"])


def opened(tab: Tab, project: str, action: str = "") -> Page:
    tab.select_project(project)
    tab.tab("previews")
    if action:
        tab.action(action).first.wait_for()
        tab.press(action)
        expect(window(tab.page)).to_be_visible()
    return tab.page


def window(page: Page) -> Locator:
    return page.locator("dialog[open]")


def fill(page: Page, **values: Any) -> None:
    for name, value in values.items():
        field = window(page).locator(f'[data-field="{name}"]')
        if not field.is_visible():
            window(page).locator(".lora_train_previews_form summary").click()
        field.fill(str(value))


def size(page: Page) -> Locator:
    """How many pictures, or runs, there would be."""
    return window(page).locator(".lora_train_previews_size")


def test_what_is_planned_is_made_and_can_be_changed(served: Server, open_tab: Callable[..., Tab], project: str) -> None:
    rest, tab = served.rest(), open_tab(served)
    tab.allowed.append(r"status of 400")
    without_grids(rest, project)
    page = opened(tab, project)
    tab.action("new-grid").or_(tab.action("make-first-grid")).first.click()
    expect(size(page)).to_have_text(re.compile(r"^\d+ pictures$"))
    kinds = page.locator(".lora_train_previews_prompts li")
    assert {"caption", "template", "leak"} <= set(kinds.evaluate_all("(all) => all.map((one) => one.dataset.kind)"))
    before = kinds.count()
    tab.press("own-prompts")
    prompts = page.locator('[data-field="prompts"]')
    expect(prompts).to_have_value(re.compile("quillon"))
    assert len(prompts.input_value().splitlines()) == before
    expect(page.locator('[data-field="templates"]')).to_be_hidden()

    fill(page, weights="0, x")
    problem = window(page).locator(".lora_train_field_problem:visible")
    expect(problem).to_contain_text('"x" in the weights')
    expect(tab.action("make-grid")).to_be_disabled()
    fill(page, weights="0, 1", **SMALL)
    fill(page, prompts=f"quillon, smile\n{HOSTILE}")
    expect(size(page)).to_have_text("6 pictures")  # two files at weight 1, and none; by two prompts
    expect(page.locator(".lora_train_previews_prompts [data-kind=leak]")).to_contain_text(HOSTILE)
    expect(problem).to_have_count(0)
    assert window(page).locator(".lora_train_previews_prompts img").count() == 0

    tab.press("make-grid")
    expect(window(page)).to_have_count(0)
    [line] = grids(rest, project)
    shown = drawn(rest, project, line["id"])
    assert (shown["weights"], shown["seeds"], shown["size"]) == ([0, 1], [1], 6)
    assert [prompt["text"] for prompt in shown["prompts"]] == ["quillon, smile", HOSTILE]
    assert shown["settings"]["width"] == 64 and shown["state"] == "done"
    first = {cell["key"] for cell in shown["cells"]}

    # The same again is there already; a change keeps what is drawn.
    expect(tab.action("change-grid")).to_be_visible(timeout=LONG)
    tab.press("change-grid")
    expect(page.locator('[data-field="weights"]')).to_have_value("0, 1")
    expect(prompts).to_have_value(f"quillon, smile\n{HOSTILE}")
    expect(window(page)).to_contain_text("Nothing has to be drawn.")
    page.locator("dialog .lora_train_choice", has_text="A new grid").click()
    expect(tab.action("make-grid")).to_have_text(f"Show {line['id']}")
    page.locator("dialog .lora_train_choice", has_text="Change").click()
    fill(page, weights="0, 0.5, 1")
    expect(window(page)).to_contain_text("4 to draw, 6 are there already.")
    expect(window(page)).to_contain_text("It takes about")
    tab.press("make-grid")
    expect(window(page)).to_have_count(0)
    assert [one["id"] for one in grids(rest, project)] == [line["id"]]
    changed = drawn(rest, project, line["id"])
    assert changed["weights"] == [0, 0.5, 1] and first < {cell["key"] for cell in changed["cells"]}
    assert changed["cost"]["drawn"] == 10  # none was drawn twice
    rest.delete(f"projects/{project}/grids/{line['id']}")


def test_files_are_found_by_typing(served: Server, open_tab: Callable[..., Tab], project: str) -> None:
    """Where there are many, those that are chosen stay in sight."""
    rest, tab = served.rest(), open_tab(served)
    without_grids(rest, project)
    [folder] = {path.parent for path in served.data.rglob("Making-r01-*.safetensors")}
    [name] = [path.stem for path in folder.glob("*-step00000002.safetensors")]
    for number in range(12):
        (folder.parent / f"other {number:02d}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    try:
        page = opened(tab, project)
        tab.action("new-grid").or_(tab.action("make-first-grid")).first.click()
        files = window(page).locator('[data-names="files"]')
        files.get_by_label("other 03").check()
        files.locator("input[type=search]").fill("other 07")
        expect(files.locator(".lora_train_check")).to_have_text(["other 03", "other 07"])
        expect(files.locator("legend")).to_have_text("Files of the LoRA folder (1)")
        fill(page, weights="1", **SMALL)
        expect(size(page)).to_have_text("4 pictures")
        expect(window(page).locator(".lora_train_previews_columns")).to_contain_text("other 03")
        assert rest.get(f"projects/{project}/grids")["grids"] == []  # nothing is kept of a plan
    finally:
        for path in folder.parent.glob("other *.safetensors"):
            path.unlink()


def test_scores_are_told_switched_and_sorted(served: Server, open_tab: Callable[..., Tab], project: str) -> None:
    rest, tab = served.rest(), open_tab(served)
    grid = made(rest, project)
    path = f"projects/{project}/grids/{grid['id']}"
    assert grid["scores"]["places"]
    page = opened(tab, project, "grid-scores")
    for score in grid["scores"]["names"]:
        expect(window(page)).to_contain_text(score["help"])
    rows = page.locator(".lora_train_previews_table tbody tr")
    expect(rows).to_have_count(5)  # two files at two weights, and no LoRA
    expect(rows.last).to_contain_text("without LoRA")
    expect(page.locator(".lora_train_previews_best")).to_have_count(1)
    heads = page.locator(".lora_train_previews_table thead th")
    known = heads.count()

    box = page.locator('[data-score="obedience"]')
    box.uncheck()
    expect(heads).to_have_count(known - 1)
    assert {one["name"]: one["on"] for one in rest.get(path)["scores"]["names"]}["obedience"] is False
    page.locator('[data-score="obedience"]').check()
    expect(heads).to_have_count(known)
    expect(page.locator('[data-score="obedience"]')).to_be_focused()

    totals = {(place["column"], place["weight"]): place["total"] for place in grid["scores"]["places"]}
    press = page.locator('[data-sort="total"]')
    press.click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Total ↓")
    places = [
        tuple(map(float, one.split()[1:])) for one in rows.evaluate_all("(all) => all.map((one) => one.dataset.place)")
    ]
    values = [totals[int(column), weight] for column, weight in places if column >= 0]
    assert values == sorted(values, reverse=True) and places[-1] == (-1, 0)

    rows.first.locator(".lora_train_link").click()
    expect(window(page)).to_have_count(0)
    chosen = page.evaluate("loraTrain.previews.chosenCell")
    assert (chosen["column"], chosen["weight"]) == (int(places[0][0]), places[0][1])

    # The curve over the files: read with the keyboard, and a way to the cells.
    curve = page.locator(".lora_train_previews_curve")
    expect(curve).to_be_visible()
    figure = page.locator(".lora_train_previews_figure")
    expect(curve.locator("svg path").first).to_be_visible()
    for note in grid["scores"]["curve"][0]["notes"]:
        expect(curve).to_contain_text(note)
    figure.focus()
    page.keyboard.press("ArrowRight")
    expect(figure).to_have_attribute("aria-label", re.compile(r"step00000002.*Likeness \d+%", re.DOTALL))
    page.keyboard.press("ArrowRight")
    expect(figure).to_have_attribute("aria-label", re.compile("Likeness"))
    page.keyboard.press("Enter")
    chosen = page.evaluate("loraTrain.previews.chosenCell")
    assert (chosen["column"], chosen["weight"]) == (1, 1)
    line = curve.locator('[data-line="likeness"]')
    drawn_lines = curve.locator("svg path")
    lines = drawn_lines.count()
    line.click()
    expect(line).to_have_attribute("aria-pressed", "false")
    expect(drawn_lines).to_have_count(lines - 1)
    line.click()
    expect(drawn_lines).to_have_count(lines)


def test_a_sweep_is_shown_started_and_stands_in_one_grid(served: Server, open_tab: Callable[..., Tab]) -> None:
    project = trained(served, "Sweeping")
    rest, tab = served.rest(), open_tab(served)
    tab.allowed.append(r"status of 400")
    page = opened(tab, project, "sweep")
    page.locator('[data-action="sweep-base"]').select_option("r01")
    add = page.locator('[data-action="add-axis"]')
    add.select_option("network.network_dim")
    values = page.locator('[data-values="network.network_dim"]')
    expect(values).to_have_value("4")
    values.fill("2, many")
    expect(page.locator(".lora_train_previews_axis .lora_train_field_problem:visible")).to_have_count(1)
    expect(tab.action("start-sweep")).to_be_disabled()
    values.fill("2, 8")
    expect(size(page)).to_have_text("2 runs")
    add.select_option("dataset.flip_aug")
    page.locator('[data-axis="dataset.flip_aug"] input').first.check()
    expect(size(page)).to_have_text("4 runs")
    expect(window(page)).to_contain_text("16 steps altogether. They take about")
    page.locator('[data-axis="dataset.flip_aug"] [data-action="remove-axis"]').click()
    expect(size(page)).to_have_text("2 runs")
    labels = page.locator(".lora_train_previews_runs li > :first-child")
    expect(labels).to_have_text(["network_dim 2", "network_dim 8"])
    tab.press("start-sweep")
    expect(window(page)).to_have_count(0)
    expect(tab.message("2 runs are in line")).to_be_visible()

    def ended() -> list[Any]:
        return [run for run in rest.get(f"projects/{project}/runs")["runs"] if run["state"] == "done"]

    wait_for(lambda: len(ended()), lambda count: count == 3, 180)
    details = [rest.run(project, run) for run in ("r02", "r03")]
    assert [one["settings"]["network"]["network_dim"] for one in details] == [2, 8]
    assert all(one["settings"]["run"]["max_train_steps"] == 4 for one in details)  # the rest is that of r01
    [grid] = wait_for(lambda: grids(rest, project), len)  # by itself, though r01 was to have none
    assert grid["runs"] == ["r02", "r03"] and grid["columns"] >= 2  # as many files as are drawn in time
    expect(page.locator('select[data-action="grid"] option')).to_have_count(1, timeout=LONG)
    rest.post(f"projects/{project}/grids/{grid['id']}/stop", {})
    drawn(rest, project, grid["id"])

    tab.action("new-grid").or_(tab.action("make-first-grid")).first.click()
    runs = window(page).locator('[data-names="runs"]')
    for run in ("r02", "r03"):
        runs.get_by_label(f"Sweeping {run}").check()
    fill(page, weights="1", **SMALL)
    expect(window(page)).to_contain_text("4 files × 2 weights × 2 prompts × 1 seed")
    page.locator(".lora_train_previews_plan_result summary").click()
    files = page.locator(".lora_train_previews_columns li")
    expect(files.first).to_contain_text("(network_dim 2)")
    expect(files.last).to_contain_text("(network_dim 8)")


def test_in_chinese(served: Server, open_tab: Callable[..., Tab], project: str) -> None:
    rest, tab = served.rest(), open_tab(served, locale="zh-CN")
    if not grids(rest, project):
        made(rest, project)
    page = opened(tab, project)
    seen: set[str] = set()
    for action, ready in (
        ("new-grid", ".lora_train_previews_size"),
        ("grid-scores", "tbody tr"),
        ("sweep", "optgroup"),
    ):
        tab.action(action).first.wait_for()
        tab.press(action)
        window(page).locator(ready).first.wait_for(state="attached")
        if action == "new-grid":
            window(page).locator(".lora_train_previews_form summary").click()
        if action == "sweep":
            page.locator('[data-action="add-axis"]').select_option("network.network_dim")
            expect(size(page)).to_be_visible()
        seen.update(window(page).evaluate(TEXTS))
        page.keyboard.press("Escape")
        expect(window(page)).to_have_count(0)
    seen.update(page.locator(".lora_train_previews_curve").evaluate(TEXTS))
    english = sorted(words for words in seen if ENGLISH.search(NAMES.sub("", words)))
    assert english == []


TEXTS = """(root) => [...root.querySelectorAll("*")].filter((one) => one.getClientRects().length
    && !one.matches("option, [translate=no], [translate=no] *"))
    .flatMap((one) => [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim())
        .concat(["placeholder", "title", "aria-label"].map((name) => one.getAttribute(name) || "")))
    .filter(Boolean)"""
