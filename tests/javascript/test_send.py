"""Send to LoRA Train: from a gallery like the WebUI's into a project, with a server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.helpers.pictures import encoded, gradient
from tests.javascript.conftest import ADDRESS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

ROOT = Path(__file__).parents[2]
PICTURE = encoded(gradient(32, 32), "PNG")
NASTY = '<img src=x onerror="window.harmed=1">'
# As gradio 3 draws a gallery of which one picture is shown large; the tab is hidden, as it is when another is open.
HTML = """<!doctype html><meta charset="utf-8"><body><div class="gradio-container"><div id="tabs">
<div class="tab-nav"><button>txt2img</button><button id="ours">LoRA Train</button></div>
<div class="tabitem" id="tab_txt2img"><div id="txt2img_gallery"></div>
<button id="send">send</button></div>
<div class="tabitem" id="tab_lora_train" style="display: none"><div id="lora_train_root">
<div id="lora_train_header"></div><div id="lora_train_dataset"></div><div id="lora_train_live"></div>
<div hidden><div id="lora_train_tags"></div><div id="lora_train_previews"></div></div>
<div id="lora_train_runs"></div>
<div class="lora_train_hidden"><button id="lora_train_session_button"></button>
<div id="lora_train_token"><textarea></textarea></div></div></div></div></div></div>
<script>
window.keys = [];
document.addEventListener("keydown", (event) => keys.push(event.key));
lora_train_session_button.onclick = () => setTimeout(() => {
    window.given = (window.given || 0) + 1;
    document.querySelector("#lora_train_token textarea").value = `token${window.given}`;
}, 30);
ours.onclick = () => { tab_lora_train.style.display = "block"; tab_txt2img.style.display = "none"; };
send.onclick = () => loraTrain.sendPictures("txt2img_gallery", window.information);
function gallery(names, selected, small = true) {
    const make = (kind) => names.map((name, place) => {
        const element = document.createElement("button");
        element.className = `thumbnail-item thumbnail-${kind} ${place === selected ? "selected" : ""}`;
        const image = document.createElement("img");
        image.src = `file=/out/${encodeURIComponent(name)}?1700000000.5`;
        element.append(image);
        return element;
    });
    txt2img_gallery.replaceChildren(...(small ? make("small") : []), ...make("lg"));
}
</script>"""
SESSION = {
    "language": "en", "texts": {}, "user": "", "may_use_paths": False, "may_write": True,
    "subjects": ["style", "character"], "choices": ["quick"],
    "limits": {"files": 9, "file_bytes": 5000, "total_bytes": 9000}, "version": "1",
}  # fmt: skip


def shape(number: int, title: str, trigger: str) -> dict[str, Any]:
    return {"id": f"p{number}", "title": title, "kind": "style", "trigger_word": trigger, "created": 1.0, "runs": 0}


class Server:
    """Answers as ours does, and notes what it was asked. `lost` are pictures that are gone from the disk."""

    def __init__(self) -> None:
        self.projects = [shape(1, NASTY, "zuna"), shape(2, "Two", "")]
        self.calls: list[tuple[str, str]] = []
        self.files: list[tuple[str, str]] = []  # project, name
        self.captions: dict[str, str] = {}  # id of the picture
        self.known = {"token1", "token2"}
        self.answers: dict[str, tuple[int, str]] = {}  # by the end of the path: status and sentence
        self.lost: set[str] = set()
        self.prompt = "masterpiece, red hair"
        self.held: list[Route] | None = None  # uploads that wait

    def show(self, route: Route) -> None:
        if any(name in route.request.url for name in self.lost):
            route.fulfill(status=404)
        else:
            route.fulfill(body=PICTURE, content_type="image/png")

    def __call__(self, route: Route) -> None:
        request = route.request
        address = urlsplit(request.url)
        path = address.path.removeprefix("/sub/lora-train/v1/")
        self.calls.append((request.method, path))
        if request.headers.get("x-lora-train") not in self.known:
            route.fulfill(status=401, json={"error": {"sentence": "No session.", "remedy": "", "code": "api.session"}})
        elif path.split("/")[-1] in self.answers:
            status, sentence = self.answers[path.split("/")[-1]]
            route.fulfill(status=status, json={"error": {"sentence": sentence, "remedy": "Do it.", "code": "x"}})
        elif path.endswith("/files") and self.held is not None:
            self.held.append(route)
        else:
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            route.fulfill(json=self.answer(request.method, path, query, request.post_data_buffer or b""))

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
        if path == "session":
            return SESSION
        if path == "projects" and method == "GET":
            return {"projects": self.projects, "problems": [], "trash": []}
        if path == "projects":
            asked = json.loads(body)
            self.projects.insert(0, shape(len(self.projects) + 1, asked["title"], asked["trigger_word"]))
            return self.projects[0]
        if path.startswith("captions/"):
            asked = query if path.endswith("from-picture") else json.loads(body)
            prompt = asked.get("prompt", self.prompt)
            words = [asked.get("trigger_word", ""), *prompt.split(", ")[1:]]
            return {"prompt": prompt, "caption": ", ".join(filter(None, words))}
        if path.endswith("/files"):
            assert body == PICTURE
            self.files.append((path.split("/")[1], query["name"]))
            return {"pictures": [f"i{len(self.files)}"], "captions": 0, "waiting": 0, "skipped": []}
        if path.endswith("/caption"):
            asked = json.loads(body)
            assert asked["version"] == ""
            self.captions[path.split("/")[3]] = asked["text"]
            return {}
        return {
            "live": {"running": None, "queue": [], "last": None, "time": 1.0}, "checkpoints": {"checkpoints": []},
        }.get(path, {"concepts": [], "total": 0, "pictures": [], "trash": [], "runs": []})  # fmt: skip


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def open_gallery(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    contexts, problems = [], []

    def open_one(names: list[str], selected: int = -1, grids: int = 0, small: bool = True) -> Page:
        contexts.append(browser.new_context(locale="en-US"))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.route("**/lora-train/v1/**", server)
        page.route("**/file=*/**", server.show)
        page.route(ADDRESS, lambda route: route.fulfill(body=HTML, content_type="text/html"))
        page.goto(ADDRESS)
        page.add_style_tag(path=ROOT / "style.css")
        for path in sorted((ROOT / "javascript").glob("*.js")):
            page.add_script_tag(path=path)
        page.evaluate("([names, selected, small]) => gallery(names, selected, small)", [names, selected, small])
        page.evaluate("value => { window.information = value; }", json.dumps({"index_of_first_image": grids}))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


def dialog(page: Page) -> Locator:
    return page.locator("#lora_train_send dialog")


def send(page: Page) -> Locator:
    page.locator("#send").click()
    expect(dialog(page)).to_be_visible()
    return dialog(page)


def captions(shown: Locator) -> list[str]:
    return [field.input_value() for field in shown.locator("textarea").all()]


def test_all_pictures_but_the_grid(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["grid-0.png", "00001.png", "00002.jpg"], selected=0, grids=1)
    shown = send(page)
    expect(shown.locator("textarea")).to_have_count(2)
    expect(shown.locator("textarea").nth(1)).to_have_value("zuna, red hair")
    expect(shown.locator(".lora_train_choice")).to_have_count(0)  # a grid is no picture that could be chosen
    expect(shown.locator('[name="project"]')).to_be_focused()
    shown.locator("textarea").nth(1).fill("mine <b>")
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("2 pictures added · 2 captions")
    assert server.files == [("p1", "00001.png"), ("p1", "00002.jpg")]
    assert server.captions == {"i1": "zuna, red hair", "i2": "mine <b>"}
    expect(shown.locator('[data-action="show-project"]')).to_be_focused()
    assert NASTY in shown.inner_text() and page.evaluate("window.harmed") is None


def test_the_selected_picture(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["grid.png", "1.png", "2 %.png"], selected=2, grids=1)
    shown = send(page)
    expect(shown.locator("textarea")).to_have_count(1)
    shown.locator("textarea").fill("first")
    shown.get_by_text("All 2").click()
    expect(shown.locator("textarea")).to_have_count(2)
    expect(shown.locator("textarea").first).to_have_value("zuna, red hair")
    shown.get_by_text("The selected one").click()
    assert captions(shown) == ["first"]
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("1 picture added · 1 caption")
    assert (server.files, server.captions) == ([("p1", "2 %.png")], {"i1": "first"})


def test_a_gallery_of_small_pictures(open_gallery: Callable[..., Page]) -> None:
    """Nothing is shown large, and nothing is told about the pictures."""
    page = open_gallery(["1.png", "2.png"], small=False)
    page.evaluate("window.information = undefined")
    expect(send(page).locator("textarea")).to_have_count(2)


def test_another_project_another_trigger_word(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png", "2.png"])
    shown = send(page)
    expect(shown.locator("textarea").nth(1)).to_have_value("zuna, red hair")
    shown.locator("textarea").nth(1).fill("mine")
    shown.locator('[name="project"]').select_option("Two")
    expect(shown.locator("textarea").first).to_have_value("red hair")
    assert captions(shown) == ["red hair", "mine"]  # what somebody wrote stays
    shown.locator('[name="project"]').select_option("New project")
    shown.locator('[name="trigger_word"]').fill("hana")
    shown.locator('[name="title"]').fill(NASTY)
    expect(shown.locator("textarea").first).to_have_value("hana, red hair")
    shown.locator('[name="title"]').press("Enter")
    expect(shown).to_contain_text("2 pictures added")
    assert server.projects[0]["title"] == NASTY and {project for project, _ in server.files} == {"p3"}
    assert page.evaluate("window.harmed") is None


def test_the_first_project(open_gallery: Callable[..., Page], server: Server) -> None:
    server.projects.clear()
    page = open_gallery(["1.png"])
    shown = send(page)
    expect(shown.locator('[name="title"]')).to_be_focused()
    shown.locator('[data-action="send"]').click()  # the browser itself asks for the title
    assert ("POST", "projects") not in server.calls
    page.keyboard.type("Zuna")
    page.keyboard.press("Enter")
    expect(shown).to_contain_text("1 picture added")


def test_then_the_tab_shows_the_project(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png"])
    shown = send(page)
    shown.locator('[name="project"]').select_option("Two")
    shown.locator('[data-action="send"]').click()
    shown.locator('[data-action="show-project"]').click()
    expect(page.locator('select[data-action="project"]')).to_have_value("p2")
    expect(dialog(page)).to_have_count(0)
    assert server.calls.count(("POST", "session")) == 1  # one session, whoever asked first
    # Read again and unchanged, it is the same object, or what the tab reads of it meanwhile would be thrown away.
    page.evaluate("window.one = loraTrain.state.project")
    page.evaluate("loraTrain.loadProjects()")
    assert page.evaluate("window.one === loraTrain.state.project")
    page.evaluate("() => { tab_lora_train.style.display = 'none'; tab_txt2img.style.display = 'block'; }")
    shown = send(page)  # now with the tab drawn
    expect(shown.locator('[name="project"]')).to_have_value("p2")
    shown.locator('[name="project"]').select_option("New project")
    shown.locator('[name="title"]').fill("Third")
    shown.locator('[data-action="send"]').click()
    shown.locator('[data-action="show-project"]').click()
    expect(page.locator('select[data-action="project"]')).to_have_value("p3")


@pytest.mark.parametrize("way", ["Escape", "cancel", "close"])
def test_closing(open_gallery: Callable[..., Page], server: Server, way: str) -> None:
    page = open_gallery(["1.png"])
    shown = send(page)
    page.mouse.click(5, 5)  # beside it: what was written is not lost by that
    expect(shown).to_be_visible()
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        shown.locator(f'[data-action="{way}"]').click()
    expect(dialog(page)).to_have_count(0)
    assert page.locator("#lora_train_send").count() == 0 and server.files == []
    expect(page.locator("#send")).to_be_focused()
    assert "Escape" not in page.evaluate("keys")  # by which the WebUI would interrupt what it draws
    expect(send(page).locator("textarea")).to_have_count(1)


def test_the_keyboard_stays_inside(open_gallery: Callable[..., Page]) -> None:
    page = open_gallery(["1.png"])
    shown = send(page)
    inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(inside)
    expect(shown).to_be_visible()


def test_a_second_press_does_nothing(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png", "2.png"])
    page.evaluate("() => { send.click(); send.click(); send.click(); }")
    expect(dialog(page)).to_have_count(1)
    shown = dialog(page)
    server.held = []
    press = shown.locator('[data-action="send"]')
    press.click()
    expect(shown).to_contain_text("Adding 0 of 2")
    press.click()
    page.evaluate("() => send.click()")
    page.wait_for_timeout(300)
    assert len(server.held) == 1 and dialog(page).count() == 1
    waiting, server.held = server.held, None
    server(waiting[0])
    expect(shown).to_contain_text("2 pictures added")
    assert [name for _, name in server.files] == ["1.png", "2.png"]


def test_closing_ends_the_upload(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png", "2.png"])
    shown = send(page)
    server.held = []
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("Adding 0 of 2")
    with page.expect_event("requestfailed"):
        page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    page.wait_for_timeout(300)
    assert len(server.held) == 1  # the second was never sent


def test_closing_between_two_uploads(open_gallery: Callable[..., Page], server: Server) -> None:
    """While a caption is on its way, which nothing calls back."""
    page = open_gallery(["1.png", "2.png"])
    waiting: list[Route] = []
    page.route("**/caption", lambda route: waiting.append(route))
    shown = send(page)
    with page.expect_request("**/caption"):
        shown.locator('[data-action="send"]').click()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    with page.expect_response("**/caption"):
        server(waiting[0])
    page.wait_for_timeout(300)
    assert [name for _, name in server.files] == ["1.png"]


def test_pictures_without_a_prompt(open_gallery: Callable[..., Page], server: Server) -> None:
    server.prompt = ""
    page = open_gallery(["1.png"])
    shown = send(page)
    expect(shown).to_contain_text("No prompt stands in this picture.")
    shown.locator("textarea").fill("  ")
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("1 picture added")
    assert server.captions == {}


def test_what_cannot_be_read_is_left_out(open_gallery: Callable[..., Page], server: Server) -> None:
    server.lost = {"2.png"}
    page = open_gallery(["1.png", "2.png", "3.png"])
    shown = send(page)
    expect(shown.locator(".lora_train_send_item").nth(1)).to_contain_text("“2.png” cannot be read")
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("2 pictures added")
    expect(shown.locator(".lora_train_problems li")).to_have_count(1)


def test_too_large_for_the_server(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png"])
    page.route("**/file=*/**", lambda route: route.fulfill(body=b"x" * 5001, content_type="image/png"))
    shown = send(page)
    expect(shown).to_contain_text("1.png is larger than")
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("0 pictures added")
    assert not [call for call in server.calls if call[1].endswith(("files", "from-picture"))]


@pytest.mark.parametrize(("status", "stays"), [(400, False), (413, False), (403, True), (500, True)])
def test_what_the_server_refuses(open_gallery: Callable[..., Page], server: Server, status: int, stays: bool) -> None:
    """Of one file: it is left out. Of everything: nothing is lost, and it can be tried again."""
    page = open_gallery(["1.png", "2.png"])
    shown = send(page)
    server.answers["files"] = (status, NASTY)
    shown.locator('[data-action="send"]').click()
    said = shown.get_by_role("alert") if stays else shown.locator(".lora_train_problems")
    expect(said).to_contain_text(f"{NASTY} Do it.")
    expect(shown.locator('[data-action="send"]')).to_have_count(1 if stays else 0)
    if stays:
        server.answers.clear()
        expect(shown.locator('[data-action="send"]')).to_be_focused()
        page.keyboard.press("Enter")
        expect(shown).to_contain_text("2 pictures added · 2 captions")
    assert page.evaluate("window.harmed") is None


def test_the_focus_after_an_error(open_gallery: Callable[..., Page], server: Server) -> None:
    server.projects.clear()
    page = open_gallery(["1.png"])
    shown = send(page)
    server.answers["files"] = (500, "Broken.")
    shown.locator('[name="title"]').fill("Zuna")
    shown.locator('[name="title"]').press("Enter")
    expect(shown.get_by_role("alert")).to_contain_text("Broken.")
    expect(shown.locator('[data-action="send"]')).to_be_focused()
    server.answers.clear()
    page.keyboard.press("Enter")
    expect(shown).to_contain_text("1 picture added")
    assert len(server.projects) == 1  # not made a second time


def test_a_forgotten_session_is_renewed(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery(["1.png"])
    shown = send(page)
    expect(shown.locator("textarea")).to_have_value("zuna, red hair")
    server.known = {"token2"}
    shown.locator('[data-action="send"]').click()
    expect(shown).to_contain_text("1 picture added · 1 caption")


def test_nothing_to_send(open_gallery: Callable[..., Page], server: Server) -> None:
    page = open_gallery([])
    shown = send(page)
    expect(shown.get_by_role("alert")).to_have_text("There are no pictures here yet.")
    page.keyboard.press("Enter")  # the one button there is
    expect(dialog(page)).to_have_count(0)
    server.answers["projects"] = (500, NASTY)
    page.evaluate("gallery(['1.png'], 0)")
    expect(send(page).get_by_role("alert")).to_have_text(f"{NASTY} Do it.")


def test_a_hidden_tab(open_gallery: Callable[..., Page]) -> None:
    page = open_gallery(["1.png"])
    page.evaluate("tab_lora_train.remove()")
    expect(send(page).get_by_role("alert")).to_contain_text("The LoRA Train tab is not on this page.")
