"""The WebUI's own progress bar in the Train sub-tab, with a stand-in for what the WebUI brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.javascript.conftest import ADDRESS, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# What the other scripts bring, as far as this one reads it: it starts at once, and `live` is the bar's panel.
BASE = """
window.calls = [];
const heard = [];
window.loraTrain = {
    state: {live: null, offline: false}, onStart: (start) => start(), on: (name, listener) => heard.push(listener),
    live: {bar: document.querySelector("#bar")},
};
window.say = (running) => { loraTrain.state.live = {running}; heard.forEach((listener) => listener()); };
window.webui = () => {
    window.opts = {show_progressbar: true};
    window.requestProgress = (task, place, gallery, atEnd) => {
        const own = document.createElement("div");
        own.className = "progressDiv";
        own.style.display = opts.show_progressbar ? "block" : "none";
        place.parentNode.insertBefore(own, place);
        calls.push({task, gallery, end: () => { own.remove(); atEnd(); }});
    };
};
"""
PAGE = """<!doctype html><meta charset="utf-8"><body><div id="lora_train_root"><section>
<div id="bar" class="lora_train_bar" role="progressbar">bar</div></section></div>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/*", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.goto(ADDRESS)
    page.add_style_tag(path=ROOT / "style.css")
    page.add_script_tag(content=BASE)
    page.add_script_tag(path=ROOT / "javascript" / "lora_train_webui.js")
    yield page
    context.close()


def tasks(page: Page) -> list[str]:
    return page.evaluate("calls.map((call) => call.task)")


def test_without_a_webui_the_bar_is_ours(page: Page) -> None:
    page.evaluate("say({paused: false})")
    assert tasks(page) == []
    assert page.locator("#bar").bounding_box()["height"] == 6


def test_the_bar_is_the_webuis_while_something_runs(page: Page) -> None:
    page.evaluate("webui(); say(null)")
    assert tasks(page) == []
    page.evaluate("say({paused: false}); say({paused: false})")
    assert tasks(page) == ["task(lora-train)"]  # once, however often one hears
    assert page.evaluate("calls[0].gallery") is None
    assert page.locator("#bar").bounding_box()["height"] == 1  # there for those who listen to the page


def test_after_a_pause_it_is_asked_for_again(page: Page) -> None:
    page.evaluate("webui(); say({paused: false}); calls[0].end(); say({paused: true})")
    assert len(tasks(page)) == 1
    assert page.locator("#bar").bounding_box()["height"] == 6
    page.evaluate("say({paused: false})")
    assert len(tasks(page)) == 2


def test_it_waits_for_the_webuis_options(page: Page) -> None:
    """Before they are read its bar would stay hidden."""
    page.evaluate("webui(); window.opts = {}; say({paused: false})")
    assert tasks(page) == []
    page.evaluate("window.opts = {show_progressbar: true}; say({paused: false})")
    assert len(tasks(page)) == 1


def test_who_does_not_want_the_webuis_bar_keeps_ours(page: Page) -> None:
    page.evaluate("webui(); opts.show_progressbar = false; say({paused: false})")
    assert len(tasks(page)) == 1  # for the title, which the WebUI writes all the same
    assert page.locator("#bar").bounding_box()["height"] == 6
