"""The page from its token to its panels, against answers of the test's own: session, errors, words, a lost connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.javascript.conftest import ADDRESS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ROOT = Path(__file__).parents[2]
# As gradio draws it: the button fills the textbox a moment later.
HTML = """<!doctype html><meta charset="utf-8"><body><div id="lora_train_root" data-seen>
<div id="lora_train_header"></div>
<div id="lora_train_tabs"><div class="tab-nav"><button>Dataset</button><button>Tags</button><button>Train</button></div>
<div id="lora_train_dataset"></div><div hidden><div id="lora_train_tags"></div><div id="lora_train_previews"></div></div>
<div id="lora_train_tab_train"><div id="lora_train_live"></div><span id="label">Rank</span><textarea id="words"></textarea>
</div><div id="lora_train_runs"></div></div>
<div class="lora_train_hidden"><button id="lora_train_session_button"></button>
<div id="lora_train_token"><textarea></textarea></div>
<div id="lora_train_project_id"><textarea></textarea></div><button id="lora_train_project_button"></button>
<div id="lora_train_press"><textarea></textarea></div><div id="lora_train_answered"><textarea></textarea></div>
<button id="lora_train_draft_button"></button></div></div>
<script>
let given = 0;
window.presses = [];
lora_train_session_button.onclick = () => setTimeout(() => {
    given += 1;
    document.querySelector("#lora_train_token textarea").value = "token" + given;
}, 30);
lora_train_project_button.onclick = () => {
    presses.push(document.querySelector("#lora_train_project_id textarea").value);
    const [name, answered] = document.querySelectorAll("#lora_train_press textarea, #lora_train_answered textarea");
    answered.value = name.value;
};
lora_train_draft_button.onclick = () => presses.push("draft");
</script>"""
PROJECT = {"id": "p1", "title": "Rank", "kind": "style", "trigger_word": "w", "created": 1.0, "runs": 0}
SESSION = {
    "language": "en", "texts": {}, "user": "", "may_use_paths": False, "may_write": True, "subjects": ["style"],
    "choices": ["quick", "balanced"], "limits": {"files": 9, "file_bytes": 9, "total_bytes": 9}, "version": "1",
}  # fmt: skip


UNTOUCHED = {"state": "never", "time": None}
PREPARATION = {
    "settings": {"check": {}, "crop": {"crop": "none"}, "matte": {"background": "none"}, "tag": {"taggers": []}},
    "sources": 0, "planned": {"settings": {}, "reasons": []}, "job": None, "last": None, "undo": None,
    "steps": dict.fromkeys(("check", "crop", "matte", "tag"), UNTOUCHED),
    "changes": {"pictures": 0, "added": 0, "removed": 0, "captions": 0, "masks": 0},
    "tools": {"faces": [], "upscalers": [], "captioners": [], "taggers": [], "mattes": [], "may_download": True,
              "models_folder": ""},
}  # fmt: skip


class Answers:
    """What the page is answered, by path below the prefix; `asked` is what it asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []  # method, path, token
        self.known = {"token1", "token2"}
        self.down = False
        self.bodies: dict[str, Any] = {
            "session": dict(SESSION),
            "checkpoints": {"checkpoints": [{"name": "demo", "family": "sd1", "current": True}]},
            "projects": {"projects": [PROJECT], "problems": [], "trash": []},
            "projects/p1": {**PROJECT, "concepts": []},
            "projects/p1/pictures": {"total": 0, "pictures": []},
            "projects/p1/trash": {"trash": []},
            "projects/p1/prepare": PREPARATION,
            "projects/p1/prepare/schema": {"groups": []},
            "projects/p1/runs": {"runs": []},
            "live": {"running": None, "queue": [], "last": None, "time": 1.0},
        }

    def __call__(self, route: Route) -> None:
        request = route.request
        path = urlsplit(request.url).path.removeprefix("/sub/lora-train/v1/")
        token = request.headers.get("x-lora-train", "")
        self.asked.append((request.method, path, token))
        if self.down:
            route.abort("connectionrefused")
        elif token not in self.known:
            route.fulfill(status=401, json={"error": {"sentence": "No session.", "remedy": "Open the page again."}})
        elif path in self.bodies:
            route.fulfill(json=self.bodies[path])
        else:
            route.fulfill(status=404, json={"error": {"sentence": f"No {path}.", "remedy": "", "code": "api.no_route"}})


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def open_page(browser: Browser, answers: Answers) -> Iterator[Callable[..., Page]]:
    contexts, problems = [], []

    def open_one(html: str = HTML) -> Page:
        contexts.append(browser.new_context(locale="en-US"))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.route("**/lora-train/v1/**", answers)
        page.route(ADDRESS, lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(ADDRESS)
        for path in sorted((ROOT / "javascript").glob("*.js")):
            page.add_script_tag(path=path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


def project_select(page: Page) -> Any:
    return page.locator('select[data-action="project"]')


def test_token_session_project(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page()
    expect(project_select(page)).to_have_value("p1")
    expect(page.locator(".lora_train_empty").first).to_contain_text("No pictures yet")
    page.wait_for_function("presses.includes('p1')")  # the form has heard of it
    assert answers.asked[0] == ("POST", "session", "token1")
    assert {token for _, _, token in answers.asked} == {"token1"}
    assert ("GET", "live", "token1") in answers.asked


def test_nothing_happens_before_the_tab_is_seen(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page(HTML.replace("data-seen", "hidden"))
    page.wait_for_timeout(800)
    assert answers.asked == []
    assert page.evaluate("given") == 0
    page.evaluate("document.querySelector('#lora_train_root').hidden = false")
    expect(project_select(page)).to_have_value("p1")


def test_a_forgotten_token_is_renewed_once(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page()
    expect(project_select(page)).to_have_value("p1")
    answers.known = {"token2"}
    with page.expect_request(lambda request: request.headers.get("x-lora-train") == "token2"):
        page.evaluate("loraTrain.lookNow()")
    expect(page.locator("#lora_train_header .lora_train_message")).to_have_count(0)
    answers.known = set()
    page.evaluate("loraTrain.lookNow()")
    expect(page.locator(".lora_train_message[data-kind=error]").first).to_contain_text("Reload the page.")


def test_a_page_without_a_token_says_so(open_page: Callable[..., Page], answers: Answers) -> None:
    answers.known = set()
    page = open_page()
    expect(page.locator("#lora_train_header .lora_train_message")).to_contain_text("Reload the page.")


def test_lost_connection_and_back(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page()
    expect(project_select(page)).to_have_value("p1")
    lost = page.locator("#lora_train_live .lora_train_message", has_text="Connection lost, trying again")
    expect(lost).to_be_hidden()
    before = -1
    while (now := sum(path != "live" for _, path, _ in answers.asked)) != before:  # what is asked for at the start
        before = now
        page.wait_for_timeout(300)
    answers.down = True
    expect(lost).to_be_visible()
    answers.down = False
    expect(lost).to_be_hidden()
    expect(page.locator("#lora_train_header .lora_train_message")).to_have_count(0)


def test_of_two_readings_of_the_projects_the_newest_is_taken(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page()
    expect(project_select(page)).to_have_value("p1")
    page.evaluate("""async () => {
        const {api} = loraTrain;
        const real = api.get;
        const old = await api.get(["projects"]);
        api.get = () => {
            api.get = real;
            return new Promise((answer) => { window.answerLate = () => answer(old); });
        };
        loraTrain.loadProjects();
    }""")
    new = {**PROJECT, "id": "p2", "title": "New"}
    answers.bodies["projects"] = {"projects": [PROJECT, new], "problems": [], "trash": []}
    for path in [path for path in answers.bodies if path.startswith("projects/p1")]:
        answers.bodies[path.replace("p1", "p2")] = answers.bodies[path]
    page.evaluate("loraTrain.loadProjects('p2')")
    expect(project_select(page)).to_have_value("p2")
    page.evaluate("() => window.answerLate()")
    page.wait_for_timeout(100)
    assert project_select(page).input_value() == "p2"
    assert page.evaluate("loraTrain.state.project.id") == "p2"


def test_what_is_typed_for_a_new_project_stays_when_another_is_opened(
    open_page: Callable[..., Page], answers: Answers
) -> None:
    page = open_page()
    name = page.locator('[data-form="project"] [name="title"]')
    expect(project_select(page)).to_have_value("p1")
    page.locator('[data-action="new-project"]').click()
    name.fill("Mine")
    other = {**PROJECT, "id": "p2", "title": "Other"}
    answers.bodies["projects"] = {"projects": [other], "problems": [], "trash": []}
    page.evaluate("() => loraTrain.loadProjects()")
    expect(project_select(page)).to_have_value("p2")
    expect(name).to_have_value("Mine")
    page.locator('[data-action="rename-project"]').click()
    expect(name).to_have_value("Other")
    answers.bodies["projects"] = {"projects": [PROJECT], "problems": [], "trash": []}
    page.evaluate("() => loraTrain.loadProjects()")
    expect(name).to_have_count(0)  # it is not open any more


def test_of_two_readings_of_the_concepts_the_newest_is_taken(open_page: Callable[..., Page], answers: Answers) -> None:
    concept = {"id": "c", "name": "old", "repeats": 1, "regularization": False, "pictures": 0}
    answers.bodies["projects/p1"] = {**PROJECT, "concepts": [concept]}
    page = open_page()
    chips = page.locator(".lora_train_chip")
    expect(chips.filter(has_text="old")).to_have_count(1)
    page.evaluate("""async () => {
        const {api} = loraTrain;
        const real = api.get;
        const old = await api.get(["projects", "p1"]);
        api.get = (parts, ...more) => {
            if (parts.join("/") !== "projects/p1") return real.call(api, parts, ...more);
            api.get = real;
            return new Promise((answer) => { window.answerLate = () => answer(old); });
        };
        window.refreshed = loraTrain.dataset.refresh();
    }""")
    page.wait_for_function("() => window.answerLate")
    answers.bodies["projects/p1"] = {**PROJECT, "concepts": [{**concept, "name": "new"}]}
    page.evaluate("async () => { await loraTrain.dataset.refresh(); answerLate(); await window.refreshed; }")
    expect(chips.filter(has_text="new")).to_have_count(1)
    expect(chips.filter(has_text="old")).to_have_count(0)


def test_an_error_of_the_server_is_shown(open_page: Callable[..., Page], answers: Answers) -> None:
    page = open_page()
    expect(project_select(page)).to_have_value("p1")
    page.locator('[data-action="new-project"]').click()
    page.locator('[name="title"]').fill("<b>x")
    answers.bodies.pop("projects")
    page.keyboard.press("Enter")
    message = page.locator("#lora_train_header .lora_train_message[role=alert]")
    expect(message).to_contain_text("No projects.")
    message.locator('[data-action="dismiss"]').click()
    expect(message).to_have_count(0)
    assert page.locator('[name="title"]').input_value() == "<b>x"  # what was typed is still there


def test_words_of_gradio_in_chinese(open_page: Callable[..., Page], answers: Answers) -> None:
    texts = {"Dataset": "数据集", "Rank": "秩", "Delete": "删除", "Later <b>": "以后"}
    answers.bodies["session"] = {**SESSION, "language": "zh-CN", "texts": texts}
    page = open_page()
    expect(page.locator(".tab-nav button").first).to_have_text("数据集")
    expect(page.locator("#label")).to_have_text("秩")
    expect(page.locator('[data-action="delete-project"]')).to_have_text("删除")
    assert project_select(page).locator("option").inner_text() == "Rank"  # a title is nobody's to translate
    page.evaluate("""() => {
        document.querySelector("#label").firstChild.data = "  Rank ";
        document.querySelector("#words").placeholder = "Rank";
        document.querySelector("#words").textContent = "Rank";
        const late = document.createElement("p");
        late.textContent = "Later <b>";
        document.querySelector("#lora_train_tab_train").append(late);
    }""")
    expect(page.locator("#lora_train_tab_train > p")).to_have_text("以后")
    assert page.evaluate("document.querySelector('#label').textContent") == "  秩 "
    assert page.locator("#words").get_attribute("placeholder") == "秩"
    assert page.locator("#words").evaluate("one => one.textContent") == "Rank"


def test_a_draft_is_saved_after_the_last_change(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.wait_for_function("presses.includes('p1')")
    page.locator("#words").click()
    page.keyboard.type("abc", delay=100)
    page.wait_for_function("presses.includes('draft')")
    assert json.loads(page.evaluate("JSON.stringify(presses)")) == ["p1", "draft"]
    page.evaluate("document.querySelector('#words').dispatchEvent(new Event('input', {bubbles: true}))")
    page.wait_for_timeout(1300)  # a script's own events are no changes by a person
    assert page.evaluate("presses.length") == 2


def test_a_run_that_is_somebody_elses(open_page: Callable[..., Page], answers: Answers) -> None:
    hidden = {
        "id": "", "project": "", "title": "", "state": "running", "place": 0, "created": 1.0, "started": 1.0,
        "ended": None, "step": 3, "total_steps": 9, "epoch": 1, "total_epochs": 1, "loss": None, "error": None,
        "attempt": 1, "can_resume": False, "lora": "", "job": "", "checkpoint": "", "paused": False, "stopping": False,
        "stage": "", "stage_done": 0, "stage_total": 0, "loss_smoothed": None, "rates": {}, "steps_per_second": 1.0,
        "memory": 1, "elapsed": 3.0, "remaining": 6.0, "mine": False, "samples": [],
    }  # fmt: skip
    waiting = {"job": "", "project": "", "run": "", "title": "", "place": 1, "mine": False}
    answers.bodies["live"] = {"running": hidden, "queue": [waiting], "last": None, "time": 1.0}
    page = open_page()
    expect(page.locator("#lora_train_live .lora_train_run_title")).to_have_text("Somebody else’s training")
    expect(page.locator(".lora_train_strip_text")).to_contain_text("step 3 of 9")
    for name in ("pause", "save", "sample", "stop-and-save", "stop"):
        expect(page.locator(f'[data-action="{name}"]')).to_be_disabled()
    expect(page.locator('.lora_train_queue [data-action="cancel-job"]')).to_be_disabled()
    page.wait_for_timeout(1500)
    assert [path for _, path, _ in answers.asked if path.startswith("projects//")] == []
    expect(page.locator("#lora_train_header .lora_train_message")).to_have_count(0)
