"""The card of the preparation: what it says of each step, its buttons, a job that is followed, and what would change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.javascript.conftest import new_page
from tests.javascript.preparing import SETTINGS, Preparing, open_preparation

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ALL = ["check", "crop", "matte", "tag"]
JOB = {
    "id": "j", "state": "running", "stage": "<b>Looking for faces", "done": 3, "total": 12, "remaining": 65,
    "stopping": False, "mine": True,
}  # fmt: skip
OPEN = """() => {
    window.told = [];
    window.opened = "";
    window.card = new loraTrain.PrepareCard(preparation, {changed: async () => { told.push("changed"); }});
    document.querySelector("#lora_train_place").replaceChildren(card.element);
    preparation.panel = card.element;
    card.show();
}"""


def setting(name: str, default: Any, **more: Any) -> dict[str, Any]:
    kind = {bool: "bool", int: "int", float: "float", list: "list"}.get(type(default), "str")
    usual = {"label": name.title(), "help": f"<b>{name}", "minimum": None, "maximum": None, "choices": [], "unit": ""}
    return {"name": name, "type": kind, "default": default, **usual, **more}


@pytest.fixture
def server() -> Preparing:
    server = Preparing(total=20)
    crop = [
        setting("crop", "aspect", choices=["none", "aspect", "face"]),
        setting("width", 512, minimum=64, maximum=4096, unit="px"),
        setting("max_upscale", 1.0, minimum=1, maximum=4),
        setting("trim", True),
    ]
    server.answers["schema"] = {"groups": [{"name": "crop", "settings": crop}]}
    server.overview["settings"] = {**SETTINGS, "crop": {"crop": "face", "width": 512, "max_upscale": 1.0, "trim": True}}
    return server


@pytest.fixture
def card(browser: Browser, server: Preparing) -> Iterator[Page]:
    """In a page of its own: as in the tab, there is one card in it."""
    page, problems = new_page(browser), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    open_preparation(page, server)
    page.evaluate(OPEN)
    yield page
    page.context.close()
    assert problems == []


def step(page: Page, name: str) -> Locator:
    return page.locator(f'[data-step="{name}"]')


def action(page: Page, name: str) -> Locator:
    return page.locator(f'#lora_train_place [data-action="{name}"]')


def tell(page: Page, server: Preparing, **values: Any) -> None:
    server.overview = {**server.overview, **values}
    page.evaluate("preparation.look()")


def test_each_step_in_a_line(card: Page, server: Preparing) -> None:
    lines = card.locator(".lora_train_step_line")
    expect(lines).to_have_text([
        "Score 87 · 3 findings", "2 of 20 cropped", "1 of 20 cut out", "2 of 20 tagged",
    ])  # fmt: skip
    steps = {name: {"state": "never", "time": None} for name in ALL}
    off = {**server.overview["settings"], "matte": {"background": "none"}}
    tell(card, server, steps={**steps, "crop": {"state": "stale", "time": 1, "cropped": 9, "crops": 31}}, settings=off)
    expect(lines).to_have_text([
        "Not done yet", "9 of 20 cropped · 31 crops · out of date", "Off: backgrounds stay", "Not done yet",
    ])  # fmt: skip
    expect(action(card, "show-check")).to_be_disabled()
    expect(action(card, "redo-check")).to_have_text("Do it")


def test_one_step_alone_and_all(card: Page, server: Preparing) -> None:
    action(card, "redo-crop").click()
    action(card, "prepare").click()
    expect(action(card, "prepare")).not_to_have_attribute("aria-busy", "true")
    assert server.posts("start") == [
        {"steps": ["crop"], "apply": False, "train": None}, {"steps": ALL, "apply": False, "train": None},
    ]  # fmt: skip


def test_a_job_is_followed_to_its_end(card: Page, server: Preparing) -> None:
    tell(card, server, job=JOB)
    expect(card.locator(".lora_train_prepare_progress .lora_train_stage")).to_have_text(
        "<b>Looking for faces 3 / 12 · 1 min 5 s left"
    )
    expect(card.locator(".lora_train_prepare [role='progressbar']")).to_have_attribute("aria-valuenow", "25")
    for name in ("prepare", "redo-tag"):
        expect(action(card, name)).to_be_disabled()
    action(card, "stop-prepare").click()
    assert server.posts("stop") == [{}]
    error = {"code": "x", "where": "", "sentence": "It <i>failed.", "remedy": "Try again."}
    server.overview |= {
        "job": None,
        "last": {"state": "failed", "error": error, "notes": ["<u>one left out"], "ended": 1},
    }
    expect(card.locator(".lora_train_prepare_progress")).to_be_hidden()
    expect(card.locator(".lora_train_prepare_outcome")).to_contain_text("It <i>failed. Try again.")
    expect(card.locator(".lora_train_prepare_outcome li")).to_have_text("<u>one left out")
    assert card.evaluate("told") == ["changed"]
    asked = len(server.asked)
    card.wait_for_timeout(1300)
    assert len(server.asked) == asked  # nothing runs, and nothing is asked


LOOK_LATE = """() => {
    const {api} = loraTrain;
    window.ended = 0;
    loraTrain.on("prepared", () => { window.ended += 1; });
    const real = api.get;
    api.get = async (...asked) => {
        api.get = real;
        const answer = await api.get(...asked);
        await new Promise((go) => { window.release = go; });
        return answer;
    };
    window.looking = preparation.look();
}"""


def test_an_answer_that_is_older_than_a_setting_does_not_say_what_is_out_of_date(card: Page, server: Preparing) -> None:
    card.evaluate("preparation.change('tag', {threshold: 0.1})")
    card.evaluate(LOOK_LATE)
    card.wait_for_function("window.release !== undefined")  # answered, but of before the setting was there
    steps = server.overview["steps"]
    server.overview |= {"steps": {**steps, "tag": {**steps["tag"], "state": "stale"}}}
    card.evaluate("""async () => {
        await preparation.saved();
        window.release();
        await window.looking;
    }""")
    assert card.evaluate("preparation.overview.steps.tag.state") == "stale"


def test_an_answer_that_is_older_than_a_start_does_not_end_it(card: Page, server: Preparing) -> None:
    card.evaluate(LOOK_LATE)
    card.wait_for_function("window.release !== undefined")  # answered, but of before the start
    server.overview |= {"job": JOB}
    card.evaluate("""async () => {
        await preparation.start(["crop"]);
        window.release();
        await window.looking;
    }""")
    assert card.evaluate("window.ended") == 0
    assert card.evaluate("preparation.job !== null")


def test_somebody_elses_job(card: Page, server: Preparing) -> None:
    tell(card, server, job={**JOB, "mine": False})
    expect(action(card, "stop-prepare")).to_be_disabled()
    tell(card, server, job=None)


def test_changes_are_applied_and_undone(card: Page, server: Preparing) -> None:
    bar = card.locator(".lora_train_changes")
    expect(bar).to_be_hidden()
    tell(card, server, changes={"pictures": 12, "added": 1, "removed": 0, "captions": 9, "masks": 0})
    expect(bar).to_contain_text("When you apply it: 12 pictures change, 1 is added, 9 captions change.")
    action(card, "discard").click()
    assert server.posts("discard") == []
    action(card, "discard").click()
    expect(action(card, "discard")).not_to_have_attribute("aria-busy", "true")
    assert server.posts("discard") == [{}]
    server.overview |= {"undo": {"id": "u1", "time": 1.7e9, "title": "<b>12 pictures"}}
    action(card, "apply").click()
    line = card.get_by_text("Applied: <b>12 pictures")
    expect(line).to_be_visible()
    assert server.posts("start") == [{"steps": [], "apply": True, "train": None}]
    server.overview |= {"undo": None}
    action(card, "undo-prepare").click()
    expect(line).to_be_hidden()
    assert server.posts("undo") == [{"id": "u1"}]


def test_what_is_applied_is_tagged_as_it_is_now(card: Page, server: Preparing) -> None:
    steps = server.overview["steps"]
    changes = {"pictures": 1, "added": 0, "removed": 0, "captions": 0, "masks": 0}
    tell(card, server, changes=changes, steps={**steps, "tag": {**steps["tag"], "state": "stale"}})
    action(card, "apply").click()
    expect(action(card, "apply")).not_to_have_attribute("aria-busy", "true")
    assert server.posts("start") == [{"steps": ["tag"], "apply": True, "train": None}]


def test_a_step_that_is_off(card: Page, server: Preparing) -> None:
    steps = server.overview["steps"]
    off = {**server.overview["settings"], "matte": {"background": "none"}}
    matte = {"state": "done", "time": 1.7e9, "mattes": 0, "used": ""}
    tell(card, server, settings=off, steps={**steps, "matte": matte})
    expect(step(card, "matte")).to_have_attribute("data-state", "off")
    expect(step(card, "matte")).to_contain_text("Off: backgrounds stay")
    for name in ("show-matte", "redo-matte"):
        expect(action(card, name)).to_be_disabled()
    # Once it has cut something out, to turn it off is a change that has to be made.
    tell(card, server, steps={**steps, "matte": {**matte, "state": "stale", "mattes": 3, "used": "grabcut, hand"}})
    expect(step(card, "matte")).to_contain_text("3 of 20 cut out · GrabCut, by hand · out of date")
    expect(action(card, "redo-matte")).to_be_enabled()


def test_settings_are_made_from_the_schema(card: Page, server: Preparing) -> None:
    action(card, "settings-crop").click()
    expect(action(card, "settings-crop")).to_have_attribute("aria-expanded", "true")
    width = card.locator('[data-setting="crop.width"]')
    expect(width).to_have_value("512")
    expect(card.get_by_text("<b>width")).to_be_visible()
    width.fill("12")
    width.press("Tab")
    card.wait_for_timeout(600)
    assert server.puts("settings") == []  # below the least
    width.fill("768")
    width.press("Tab")
    card.locator('[data-setting="crop.crop"]').select_option("aspect")
    expect(width).to_be_hidden()  # without a meaning now
    card.wait_for_function("() => !preparation.unsaved")
    for _ in range(100):
        if server.puts("settings"):
            break
        card.wait_for_timeout(20)
    (put,) = server.puts("settings")  # both together
    assert (put["settings"]["crop"]["width"], put["settings"]["crop"]["crop"]) == (768, "aspect")
    assert put["settings"]["tag"] == SETTINGS["tag"]


def test_changed_settings_go_ahead_of_a_start(card: Page, server: Preparing) -> None:
    card.evaluate("preparation.change('crop', {width: 640})")
    action(card, "prepare").click()
    expect(action(card, "prepare")).not_to_have_attribute("aria-busy", "true")
    paths = [path for method, path, _ in server.asked if method in ("PUT", "POST")]
    assert paths[0] == "settings" and paths[-1] == "start"
    assert set(paths[:-1]) == {"settings"}  # the change saves itself, too, where the press came late


def test_a_setting_is_saved_though_another_project_was_opened(card: Page, server: Preparing) -> None:
    card.evaluate("""() => {
        window.before = loraTrain.state.project;
        preparation.change("crop", {width: 640});
        loraTrain.state.project = null;
        loraTrain.emit("project", null);
    }""")
    for _ in range(100):
        if server.puts("settings"):
            break
        card.wait_for_timeout(20)
    (put,) = server.puts("settings")
    assert put["settings"]["crop"]["width"] == 640
    card.evaluate("() => { loraTrain.state.project = window.before; }")


def test_planned_settings(card: Page, server: Preparing) -> None:
    planned = {"settings": {"crop": {"crop": "aspect"}}, "reasons": ["<b>because"]}
    tell(card, server, planned=planned)
    expect(card.locator(".lora_train_planned summary")).to_have_text("Other settings are planned for: Character. Why?")
    action(card, "use-planned").click()
    expect(action(card, "use-planned")).to_be_hidden()
    expect(card.locator(".lora_train_planned li")).to_have_text("<b>because")
    assert server.puts("settings")[0]["settings"]["crop"] == {
        "crop": "aspect", "width": 512, "max_upscale": 1.0, "trim": True,
    }  # fmt: skip


def test_the_training_follows(card: Page, server: Preparing) -> None:
    wishes = {"choice": "balanced"}
    server.overview |= {"job": JOB}
    card.evaluate("""async (wishes) => {
        const tabs = document.createElement("button");
        tabs.id = "lora_train_tab_train-button";
        tabs.onclick = () => { window.opened = "train"; };
        document.body.append(tabs);
        await card.startTraining(wishes);
    }""", wishes)  # fmt: skip
    assert server.posts("start") == [{"steps": ALL, "apply": True, "train": wishes}]
    expect(card.locator(".lora_train_prepare_progress .lora_train_stage")).to_contain_text(
        "the training starts afterwards"
    )
    assert card.evaluate("opened") == ""
    server.overview |= {"job": None, "last": {"state": "done", "error": None, "notes": [], "ended": 1}}
    card.wait_for_function("() => window.opened === 'train'")


CLOSED = """() => {
    preparation.settle(() => preparation.start(["tag"])); // as the closed window of the tags does
    return new Promise((begun) => loraTrain.on("preparation", () => { if (preparation.job) begun(); }));
}"""


@pytest.mark.parametrize("end", ["done", "stopped", "failed"])
def test_apply_waits_for_what_a_closed_window_set_going(card: Page, server: Preparing, end: str) -> None:
    """The window of the tags has just been closed, and its job runs: a press is not lost, nor does it outlive a stop."""
    tell(card, server, changes={"pictures": 0, "added": 0, "removed": 0, "captions": 4, "masks": 0})
    server.overview |= {"job": JOB}
    card.evaluate(CLOSED)
    expect(action(card, "discard")).to_be_disabled()
    action(card, "apply").click()
    expect(action(card, "apply")).to_have_attribute("aria-busy", "true")
    assert [one["apply"] for one in server.posts("start")] == [False]
    server.overview |= {"job": None, "last": {"state": end, "error": None, "notes": [], "ended": 1}}
    expect(action(card, "apply")).not_to_have_attribute("aria-busy", "true")
    assert [one["apply"] for one in server.posts("start")] == [False, True][: 2 if end == "done" else 1]


def test_apply_is_of_the_project_in_which_it_was_pressed(card: Page, server: Preparing) -> None:
    tell(card, server, changes={"pictures": 0, "added": 0, "removed": 0, "captions": 4, "masks": 0})
    server.overview |= {"job": JOB}
    card.evaluate(CLOSED)
    action(card, "apply").click()
    expect(action(card, "apply")).to_have_attribute("aria-busy", "true")
    server.overview |= {"job": None}
    card.evaluate("""() => {
        loraTrain.state.project = {id: "q", title: "Q", kind: "character"};
        loraTrain.emit("project", loraTrain.state.project);
    }""")
    card.wait_for_function("() => loraTrain.messages.textContent.includes('Nothing was applied: another project')")
    assert [one["apply"] for one in server.posts("start")] == [False]
