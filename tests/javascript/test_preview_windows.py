"""The windows for making grids, for scores, the curve and sweeps: late and bad answers, and what is drawn of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from lib_lora_train.preview.scores import ALL, score_names
from lib_lora_train.previews.asking import grid_settings
from lib_lora_train.settings.fields import shown_setting

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

PREFIX = "/sub/lora-train/v1/"
HOSTILE = "<img src=x onerror=window.harmed=1>"
COLUMNS = [
    {"label": f"a-{number}", "epoch": number, "step": number * 10, "run": "r01", "file": f"a-{number}", "there": True}
    for number in range(1, 5)
]
PLAN: dict[str, Any] = {
    "size": 12, "new": 12, "kept": 0, "seconds": 90, "columns": COLUMNS[:2], "weights": [0, 1], "seeds": [1, 2],
    "bases": ["demo"], "settings": {"sampler": "DDIM", "steps": 20, "width": 512, "height": 768}, "grid": "",
    "prompts": [{"text": HOSTILE, "kind": "own", "label": "", "asks": []}], "notes": ["Mind this."],
}  # fmt: skip
OVERVIEW: dict[str, Any] = {
    "grids": [], "schema": [shown_setting(item) for item in grid_settings()], "samplers": ["DDIM", "Euler a"],
    "trash": [], "picks": [], "tools": {"tagger": "wd", "embedding": True},
}  # fmt: skip


def place(column: int, weight: float, total: float, **scores: Any) -> dict[str, Any]:
    known = dict.fromkeys(("likeness", "obedience", "diversity", "leak", "copying", "collapse", "loss"))
    return {"base": 0, "column": column, "weight": weight, **known, **scores, "total": total, "sign": "grey"}


PLACES = [
    place(-1, 0, 0.5, likeness=0.0),
    place(0, 1, 0.6, likeness=0.2, collapse=0.1),
    place(1, 1, 0.9, likeness=0.7, collapse=0.0),
    place(2, 1, 0.8, likeness=0.9, collapse=0.1),
    place(3, 1, 0.7, likeness=1.0, collapse=0.6),
]
POINTS = [{**column, "column": number, **PLACES[number + 1]} for number, column in enumerate(COLUMNS)]
RANKING = [{"base": 0, "column": each, "weight": 1, "stars": None, "total": 0.5} for each in (1, 2, 3, 0)]
GRID: dict[str, Any] = {
    "id": "g01", "columns": COLUMNS, "weights": [0, 1], "bases": ["demo"], "prompts": [{"text": "a"}], "seeds": [5],
    "state": "done", "job": None, "asked": {"runs": ["r01"], "files": ["gone"], "bases": []},
    "settings": {"weights": "0, 1", "prompts": "a", "width": 512, "height": 768},
    "scores": {
        "names": score_names(ALL, "en"), "places": PLACES, "whole": True,
        "curve": [{"run": "r01", "base": 0, "points": POINTS, "learnt": 1, "over": 3, "notes": ["Learnt.", "Over."]}],
    },
    "recommendation": {**RANKING[0], "cell": "k1", "ranking": RANKING, "label": "a-2"},
}  # fmt: skip
RUN = {
    "id": "r01", "title": "P r01", "state": "done", "lora": "a.safetensors", "created": 1.0, "started": 100.0,
    "ended": 300.0, "step": 100, "attempt": 1, "checkpoint": "demo",
}  # fmt: skip
# The windows are opened with a project and, where there is one, a grid; `window.model` is the grids.
OPEN = """([overview, grid, run]) => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.classList.add("lora_train_panel");
    window.harmed = undefined;
    loraTrain.state.session = {language: "en", texts: {}};
    loraTrain.state.project = {id: "p", title: "P"};
    loraTrain.state.runs = [run];
    loraTrain.state.checkpoints = [{name: "demo", family: "sd1", current: true}];
    place.append(loraTrain.messages);
    window.model = loraTrain.previews;
    window.acted = [];
    loraTrain.on("problem", (error) => { window.problem = error.sentence; });
    Object.assign(model, {project: "p", overview, grid, look: async () => {}, show: async (id) => acted.push(id)});
    model.list = new loraTrain.PreviewCells([["k1", 1], ["k2", 3]].map(([key, column]) =>
        ({key, column, base: 0, weight: 1, prompt: 0, seed: 5, made: true, stars: 0, scores: {}})));
}"""
SHOW = """async ([name, given]) => {
    window.panel = new loraTrain[name](model);
    loraTrain.openSheet(name, {kind: "lora_train_tall", closed: () => panel.closed && panel.closed()}, panel.element);
    if (panel.opened) await panel.opened(given ?? undefined);
}"""
CLOSE = """async () => {
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const name of ["look", "show"]) delete model[name];
    Object.assign(model, {project: "", overview: null});
    model.forget();
    document.querySelector("#lora_train_root").hidden = true;
    loraTrain.messages.replaceChildren();
    document.querySelector("#lora_train_place").replaceChildren();
    Object.assign(loraTrain.state, {project: null, session: null, runs: [], checkpoints: []});
}"""


@dataclass
class Answers:
    """`known` by method and path: JSON, or what makes it of the body. The next of `holding` waits for `release`."""

    known: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    holding: str = ""
    held: list[Callable[[], None]] = field(default_factory=list)

    def bodies(self, what: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == what]

    def __call__(self, route: Route) -> None:
        request = route.request
        what = f"{request.method} {urlsplit(request.url).path.removeprefix(PREFIX).removeprefix('projects/p/')}"
        body = json.loads(request.post_data) if request.post_data else None
        self.asked.append((what, body))
        answer = self.known.get(what, {"error": {"sentence": f"No {what}.", "code": "x"}, "status": 404})
        answer = dict(answer(body) if callable(answer) else answer)
        status = answer.pop("status", 200)

        def reply() -> None:
            route.fulfill(status=status, json=answer)

        if self.holding == what:
            self.holding = ""
            self.held.append(reply)
        else:
            reply()


def refused(where: str, sentence: str) -> dict[str, Any]:
    return {"status": 400, "error": {"code": "x", "where": where, "sentence": sentence, "remedy": "Do otherwise."}}


@pytest.fixture
def answers() -> Answers:
    return Answers({"GET grids/tools": {"files": ["x", "y"]}, "POST grids/plan": PLAN})


@pytest.fixture
def windows(page: Page, answers: Answers) -> Iterator[Callable[..., Page]]:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.route(f"**{PREFIX}**", answers)

    def show(name: str, grid: dict[str, Any] | None = None, given: Any = None) -> Page:
        page.evaluate(OPEN, [OVERVIEW, grid, RUN])
        page.evaluate(SHOW, [name, given])
        return page

    yield show
    assert page.evaluate("window.harmed") is None
    page.evaluate(CLOSE)
    page.unroute(f"**{PREFIX}**", answers)


def fill(page: Page, name: str, value: str) -> Locator:
    control = page.locator(f'dialog [data-field="{name}"]')
    control.fill(value)
    return control


def size(page: Page) -> Locator:
    return page.locator(".lora_train_previews_size")


def press(page: Page, name: str) -> Locator:
    return page.locator(f'dialog [data-action="{name}"]')


def test_a_plan_in_words(windows: Callable[..., Page], answers: Answers) -> None:
    page = windows("PreviewPlan")
    expect(size(page)).to_have_text("12 pictures")
    beside = page.locator(".lora_train_previews_beside")
    for words in ("2 files × 2 weights × 1 prompt × 2 seeds", "It takes about 1 min 30 s.", "Mind this.", HOSTILE):
        expect(beside).to_contain_text(words)
    expect(page.locator('[data-field="width"]')).to_have_attribute("placeholder", "512")
    [question] = answers.bodies("POST grids/plan")
    assert question["runs"] == question["files"] == question["bases"] == []
    assert "width" not in question["settings"] and question["settings"]["weights"] == "0, 0.4, 0.6, 0.8, 1"

    page.locator('[data-names="files"]').get_by_label("y").check()
    fill(page, "seeds", "7")
    page.wait_for_function("panel.planned === null")
    expect(press(page, "make-grid")).to_be_enabled()
    last = answers.bodies("POST grids/plan")[-1]
    assert last["files"] == ["y"] and last["settings"]["seeds"] == "7"
    answers.known["POST grids"] = {"grid": "g07"}
    press(page, "make-grid").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert answers.bodies("POST grids") == [{**last, "grid": ""}] and page.evaluate("acted") == ["g07"]


def test_what_is_shown_is_of_the_newest_question(windows: Callable[..., Page], answers: Answers) -> None:
    """An answer that comes late is not taken for one to what was typed since."""
    answers.known["POST grids/plan"] = lambda body: {**PLAN, "size": 100 + len(body["settings"]["seeds"])}
    page = windows("PreviewPlan")
    expect(size(page)).to_have_text("104 pictures")
    answers.holding = "POST grids/plan"
    with page.expect_request("**/grids/plan"):
        fill(page, "seeds", "1")
    fill(page, "seeds", "1, 2, 3")
    expect(size(page)).to_have_text("107 pictures")
    answers.held.pop()()
    page.wait_for_timeout(150)
    expect(size(page)).to_have_text("107 pictures")


def test_a_refusal_stands_at_its_field(windows: Callable[..., Page], answers: Answers) -> None:
    page = windows("PreviewPlan")
    expect(size(page)).to_be_visible()
    answers.known["POST grids/plan"] = refused("cfg_scale", "Not that.")
    fill(page, "weights", "3")
    control = page.locator('[data-field="cfg_scale"]')
    expect(control).to_be_visible()  # unfolded
    expect(control).to_have_attribute("aria-invalid", "true")
    expect(press(page, "make-grid")).to_be_disabled()
    answers.known["POST grids/plan"] = refused("grid", "Too large.")
    fill(page, "weights", "4")
    expect(page.locator("dialog [role=alert]:visible")).to_have_text("Too large. Do otherwise.")
    answers.known["POST grids/plan"] = PLAN
    fill(page, "weights", "5")
    expect(page.locator("dialog [role=alert]:visible")).to_have_count(0)


def test_a_change_begins_with_what_was_asked(windows: Callable[..., Page], answers: Answers) -> None:
    answers.known["POST grids/plan"] = {**PLAN, "grid": "g01", "new": 0, "kept": 12}
    page = windows("PreviewPlan", GRID, {"grid": {"id": "g01"}})
    expect(page.locator("dialog")).to_contain_text("Nothing has to be drawn.")
    expect(press(page, "make-grid")).to_have_text("Change g01")
    expect(page.locator('[data-field="prompts"]')).to_have_value("a")
    expect(page.locator('[data-field="captions"]')).to_be_hidden()
    expect(page.locator('[data-names="files"]').get_by_label("gone")).to_be_checked()  # though nobody knows it now
    assert answers.bodies("POST grids/plan")[-1]["runs"] == ["r01"]
    page.locator("dialog .lora_train_choice", has_text="A new grid").click()
    expect(press(page, "make-grid")).to_have_text("Show g01")
    press(page, "make-grid").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("acted") == ["g01"] and not answers.bodies("POST grids")


def test_what_was_typed_is_there_when_it_is_opened_again(windows: Callable[..., Page], answers: Answers) -> None:
    page = windows("PreviewPlan", GRID)
    fill(page, "prompts", "mine")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.evaluate("""async () => {
        loraTrain.openSheet("again", {}, panel.element);
        await panel.opened({grid: null});
    }""")
    expect(page.locator('[data-field="prompts"]')).to_have_value("mine")


def test_scores_in_a_table(windows: Callable[..., Page], answers: Answers) -> None:
    page = windows("PreviewScores", GRID)
    rows = page.locator("dialog tbody tr")
    columns = "(all) => all.map((one) => Number(one.dataset.place.split(' ')[1]))"
    assert rows.evaluate_all(columns) == [1, 2, 3, 0, -1]  # as ranked
    expect(rows.first).to_contain_text("recommended")
    page.locator('[data-sort="likeness"]').click()
    assert rows.evaluate_all(columns) == [3, 2, 1, 0, -1]
    page.locator('[data-sort="likeness"]').click()
    assert rows.evaluate_all(columns) == [0, 1, 2, 3, -1]
    expect(page.locator("dialog .lora_train_previews_sign")).to_have_text("grey")  # of the one where it is clear
    answers.known["PUT grids/g01/scores"] = refused("on", "No.")
    page.locator('[data-score="leak"]').uncheck(force=True)
    page.wait_for_function("window.problem === 'No.'")
    expect(page.locator('[data-score="leak"]')).to_be_checked()
    [body] = answers.bodies("PUT grids/g01/scores")
    assert set(body["on"]) == ALL - {"leak"}
    rows.filter(has_text="a-4").locator("button").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert page.evaluate("model.chosen") == "k2"


def test_the_curve(windows: Callable[..., Page]) -> None:
    page = windows("PreviewScores", GRID)
    page.keyboard.press("Escape")
    page.evaluate("""() => {
        window.curve = new loraTrain.PreviewCurve(model);
        document.querySelector("#lora_train_place").append(curve.element);
        curve.show();
    }""")
    areas = page.locator(".lora_train_previews_parts rect")
    expect(areas).to_have_count(2)
    under, over = (float(area.get_attribute("width") or 0) for area in areas.all())
    assert under == pytest.approx(over)  # one file of four each
    expect(page.locator(".lora_train_previews_plot path")).to_have_count(
        2
    )  # of likeness and collapse: others are unknown
    expect(page.locator(".lora_train_previews_best_file text")).to_have_text("★")
    figure = page.locator(".lora_train_previews_figure")
    figure.focus()
    page.keyboard.press("ArrowLeft")
    expect(figure).to_have_attribute("aria-label", "a-4; epoch 4, step 40; Likeness 100%; Collapse 60%")
    page.keyboard.press("Enter")
    assert page.evaluate("model.chosen") == "k2"
    page.locator('[data-line="likeness"]').click()
    expect(page.locator(".lora_train_previews_plot path")).to_have_count(1)
    page.locator('[data-line="likeness"]').click()


def test_a_sweep_asks_with_the_values_as_they_are(windows: Callable[..., Page], answers: Answers) -> None:
    def described(name: str, kind: str, default: Any, **more: Any) -> dict[str, Any]:
        return {"name": name, "label": name, "help": "", "type": kind, "default": default, "minimum": None, "unit": "",
                "maximum": None, "choices": [], "kohya": name, "managed": False, **more}  # fmt: skip

    groups = [
        {"name": "model", "settings": [described("checkpoint", "str", "")]},
        {"name": "run", "settings": [
            described("rank", "int", 4, minimum=3), described("rate", "float", 0.001), described("flip", "bool", False),
            described("words", "str", "a, b"), described("folder", "str", "", managed=True),
        ]},
    ]  # fmt: skip
    planned = {"model": {"checkpoint": "demo"}, "run": {"rank": 4, "rate": 0.001, "flip": False, "words": "a, b"}}
    runs = [{"label": "rank 4", "steps": 100, "problem": None}, {"label": HOSTILE, "steps": 50, "problem": None}]
    answers.known |= {
        "GET schema": {"groups": groups}, "GET settings": {"model": {"checkpoint": ""}},
        "POST plan": {"settings": planned}, "POST grids/sweep": {"runs": runs}, "GET runs": {"runs": [RUN]},
        "GET live": {"running": None, "queue": [], "last": None, "time": 1.0},
    }  # fmt: skip
    page = windows("PreviewSweep")
    add = page.locator('[data-action="add-axis"]')
    assert "run.folder" not in add.locator("option").evaluate_all("(all) => all.map((one) => one.value)")
    expect(press(page, "start-sweep")).to_be_disabled()
    for name in ("rank", "rate", "flip", "words"):
        add.select_option(f"run.{name}")
    rank, rate = (page.locator(f'[data-axis="run.{name}"]') for name in ("rank", "rate"))
    rank.locator('[data-action="around"]').click()
    rate.locator('[data-action="around"]').click()
    page.locator('[data-axis="run.flip"] input').first.check()
    page.locator('[data-axis="run.words"] textarea').fill("a, b\n\nc")
    page.wait_for_function("panel.planned && panel.planned.question.values['run.words'].length === 2")
    expect(size(page)).to_have_text("2 runs")
    expect(page.locator("dialog")).to_contain_text("150 steps altogether. They take about 5 min 0 s.")
    asked = answers.bodies("POST grids/sweep")[-1]
    assert asked == {
        "values": {"run.rank": ["3", "4", "8"], "run.rate": ["5e-4", "1e-3", "2e-3"], "run.flip": [True, False], "run.words": ["a, b", "c"]},
        "settings": {**planned, "run": {**planned["run"], "grid_after_training": True}},
    }  # fmt: skip
    runs[1] = {"label": "rank 8", "steps": 0, "problem": {"sentence": "Too much.", "remedy": ""}}
    rank.locator("textarea").fill("4 8")
    expect(page.locator(".lora_train_previews_runs")).to_contain_text("Too much.")
    expect(press(page, "start-sweep")).to_be_disabled()
    answers.known["POST grids/sweep"] = refused("rate", "No rate.")
    rate.locator("textarea").fill("x")
    expect(rate.locator("[role=alert]")).to_have_text("No rate. Do otherwise.")
    answers.known["POST grids/sweep"] = {"runs": [{**runs[0], "problem": None}] * 2}
    rate.locator("textarea").fill("0.5")
    press(page, "start-sweep").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert answers.bodies("POST grids/sweep")[-1]["start"] is True
