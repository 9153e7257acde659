"""The window of picking, with a server of the test's own: what is said while it waits, is refused, is cancelled, or ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.javascript.conftest import new_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

NASTY = "<img src=x onerror=window.harmed=1>"
GRIDS = "/sub/lora-train/v1/projects/p/grids"
TOLD = {
    "name": "Zuna", "trigger": f"zuna {NASTY}", "negative_prompt": "bad", "others": 3, "usable": "Zuna", "paste": "x",
    "prompt": "p", "lora": "Zuna-r01-000002", "infotext": "x", "checkpoint": "demo",
}  # fmt: skip
BUSY = {"code": "previews.model_busy", "where": "", "sentence": "The model trains.", "remedy": "Wait."}
TAKEN = {"code": "picking.taken", "where": "name", "sentence": "It is in use.", "remedy": 'Take "Zuna 2".'}
RESULT: dict[str, Any] = {
    "pick": "0123456789abcdef", "name": "Zuna", "file": "Zuna.safetensors", "matched": 4, "total": 5,
    "unmatched": ["lora_unet_nowhere"], "difference": 9, "moved": 3, "weight": 0.5, "infotext": "x",
    "notes": ["Only 4 of 5 parts fit.", f"It differs by 9. {NASTY}"],
    "card": {"activation text": NASTY, "preferred weight": 0.5, "negative text": "", "notes": "", "sd version": "SD1"},
}  # fmt: skip
OPEN = """async () => {
    loraTrain.root().hidden = false;
    document.querySelector("#lora_train_place").append(loraTrain.messages);
    loraTrain.state.session = {language: "en", texts: {}};
    loraTrain.on("problem", (error) => loraTrain.say({sentence: error.sentence, kind: "error"}));
    const cell = {key: "k", base: 0, column: 0, weight: 0.5, prompt: 0, seed: 7, made: true};
    window.model = {
        project: "p", looks: 0,
        grid: {id: "g01", columns: [{label: "one", file: "one.safetensors", there: true}], prompts: [{text: "a cat"}]},
        root: (...more) => ["projects", "p", "grids", ...more],
        address: () => "data:,", look: async () => { model.looks += 1; },
        act: async (work) => { const done = await work(); await model.look(); return done; },
    };
    await loraTrain.attempt(() => loraTrain.openPick(model, cell));
}"""


def picking(state: str, **more: Any) -> dict[str, Any]:
    given = {"stage": "", "stopping": False, "mine": True, "result": None, "error": None}
    return {"id": "j1", "grid": "g01", "cell": "k", "name": "Zuna", "state": state, **given, **more}


class Picks:
    """Answers in the order in which they are wanted; the last of the states stays. `before` is told at first."""

    def __init__(self) -> None:
        self.before: dict[str, Any] | None = None
        self.answers: list[tuple[int, Any]] = []  # to a pick
        self.states: list[dict[str, Any] | None] = []  # None: nobody answers
        self.bodies: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def show(self, route: Route) -> None:
        path = urlsplit(route.request.url).path.removeprefix(GRIDS)
        self.asked.append(f"{route.request.method} {path}")
        status, answer = 200, {}
        if path == "/g01/cells/k/text":
            answer = TOLD
        elif path == "/g01/pick":
            self.bodies.append(json.loads(route.request.post_data or ""))
            status, answer = self.answers.pop(0)
        elif path == "":
            if self.asked.count("GET ") == 1:  # as the window opens
                state = self.before
            elif (state := self.states.pop(0) if len(self.states) > 1 else self.states[0]) is None:
                route.abort()
                return
            answer = {"picking": state}
        route.fulfill(status=status, json=answer)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert problems == [] and page.evaluate("() => window.harmed") is None
    page.context.close()


@pytest.fixture
def picks(page: Page) -> Picks:
    picks = Picks()
    page.route("**/lora-train/v1/**", picks.show)
    return picks


def opened(page: Page) -> Locator:
    page.evaluate(OPEN)
    return page.locator("dialog")


def use(dialog: Locator) -> None:
    dialog.locator('[data-action="pick"]').click()


def test_what_is_asked_is_what_is_sent_and_what_came_of_it_is_said(page: Page, picks: Picks) -> None:
    picks.answers = [(200, {"picking": picking("queued")})]
    picks.states = [picking("running", stage="drawing"), None, picking("done", result=RESULT)]
    dialog = opened(page)
    expect(dialog.locator('[name="trigger"]')).to_have_value(TOLD["trigger"])
    dialog.locator('[name="weight"]').fill("0.8")
    dialog.locator('[name="notes"]').fill(" mine ")
    dialog.locator("label", has_text="Move them to the run").click()
    expect(dialog.locator(".lora_train_previews_pick_others")).to_contain_text("They leave the list")
    use(dialog)
    expect(dialog.get_by_role("status").last).to_have_text("“Zuna” waits for the model…")
    expect(dialog.get_by_role("status").last).to_have_text("“Zuna”: drawing…")
    expect(dialog.locator("h4")).to_have_text("“Zuna” is among your LoRAs now.")
    assert picks.bodies == [{
        "cell": "k", "name": "Zuna", "weight": 0.8, "trigger": TOLD["trigger"], "negative": "bad", "notes": "mine",
        "scrub": False, "compare": True, "others": "move", "wait": False,
    }]  # fmt: skip
    lines = [(line.get_attribute("data-good"), line.inner_text()) for line in dialog.locator("li").all()]
    assert lines == [
        ("false", "Loaded again: 4 of 5 parts fit the checkpoint."),
        ("true", "3 other files are out of the list of LoRAs."),
        ("false", f"It differs by 9. {NASTY}"),
        (None, "Parts that do not fit"),
    ]
    assert page.evaluate("() => model.looks") == 1


def test_a_name_that_is_taken_is_asked_about(page: Page, picks: Picks) -> None:
    picks.answers = [(409, {"error": TAKEN, "free": "Zuna 2"}), (200, {"picking": picking("done", result=RESULT)})]
    dialog = opened(page)
    use(dialog)
    expect(dialog.get_by_role("alert")).to_contain_text('It is in use. Take "Zuna 2".')
    expect(dialog.locator('[data-action="use-free"]')).to_be_focused()
    dialog.locator('[data-action="use-free"]').click()
    expect(dialog.locator("h4")).to_be_visible()
    assert [body["name"] for body in picks.bodies] == ["Zuna", "Zuna 2"]


def test_a_busy_model_is_said_and_the_form_stays(page: Page, picks: Picks) -> None:
    picks.answers = [(409, {"error": BUSY})] * 2
    dialog = opened(page)
    dialog.locator('[name="notes"]').fill("mine")
    for _ in range(2):
        use(dialog)
        expect(dialog.locator('[data-action="pick"]')).not_to_have_attribute("aria-busy", "true")  # it was answered
        expect(dialog.get_by_role("alert")).to_have_text("The model trains. Wait.")
    expect(dialog.locator('[name="notes"]')).to_have_value("mine")
    dialog.locator('[name="name"]').fill("Other")
    expect(dialog.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (picking("failed", error=BUSY), "The model trains. Wait."),
        (picking("stopped"), "It was cancelled; nothing has changed."),
    ],
)
def test_what_fails_on_its_way_comes_back_to_the_form(page: Page, picks: Picks, end: dict[str, Any], said: str) -> None:
    picks.answers = [(200, {"picking": picking("running", stage="writing")})]
    picks.states = [picking("running", stage="writing")] * 2 + [end]
    dialog = opened(page)
    dialog.locator('[name="notes"]').fill("mine")
    use(dialog)
    dialog.locator('[data-action="cancel-pick"]').click()
    expect(dialog.get_by_role("alert")).to_contain_text(said)
    expect(dialog.locator('[name="notes"]')).to_have_value("mine")
    assert "POST /cancel-pick" in picks.asked


def test_a_window_that_was_closed_is_told_of(page: Page, picks: Picks) -> None:
    picks.answers = [(200, {"picking": picking("running")})]
    picks.states = [picking("running"), picking("done", result=RESULT)]
    dialog = opened(page)
    use(dialog)
    dialog.locator('[data-action="close"]').click()
    message = page.locator(".lora_train_message")
    expect(message).to_contain_text("“Zuna” is among your LoRAs now.")
    message.locator('[data-action="message-action"]').click()
    expect(message).to_contain_text("is no LoRA any more")
    assert picks.asked[-1] == "POST /unpick"


def test_one_that_is_under_way_is_shown_first(page: Page, picks: Picks) -> None:
    """As after a reload of the page; it is another cell's, so that the form comes then."""
    picks.before = picking("running", cell="other", stage="writing")
    picks.states = [picking("running", cell="other", stage="writing"), picking("done", cell="other", result=RESULT)]
    page.evaluate(f"() => {{ window.opening = ({OPEN})(); }}")
    dialog = page.locator("dialog")
    expect(dialog.get_by_role("status").last).to_have_text("“Zuna”: writing…")
    expect(dialog.locator('[data-action="pick"]')).to_be_visible()
    expect(dialog.locator(".lora_train_note")).to_contain_text("“Zuna” is among your LoRAs now.")
