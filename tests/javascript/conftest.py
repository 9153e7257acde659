"""A browser with the page's scripts in an otherwise empty page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.browsers import chromium, new_context

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
ADDRESS = "http://lora-train.test/sub/"  # nothing is there: every call is answered by the test
PAGE = """<!doctype html><meta charset="utf-8"><body>
<div id="lora_train_root" hidden>
  <div id="lora_train_header"></div><div id="lora_train_place" style="width: 900px"></div>
</div>"""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed after these tests, as its event loop is in the way of others."""
    yield from chromium()


@pytest.fixture(scope="package")
def shared_page(browser: Browser) -> Page:
    """The scripts are loaded once."""
    return new_page(browser)


def new_page(browser: Browser) -> Page:
    """A page of its own. The tab is hidden, so that nothing starts by itself."""
    page = new_context(browser, locale="en-US").new_page()
    page.route("**/*", lambda route: route.fulfill(status=404, json={}))
    page.route(ADDRESS, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.goto(ADDRESS)
    page.add_style_tag(path=ROOT / "style.css")
    for path in sorted((ROOT / "javascript").glob("*.js")):
        page.add_script_tag(path=path)
    return page


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    """Errors of the page's scripts are errors of the test."""
    problems: list[str] = []
    note = lambda error: problems.append(str(error))  # noqa: E731 - the same object is taken off again
    shared_page.on("pageerror", note)
    yield shared_page
    shared_page.remove_listener("pageerror", note)
    assert problems == []
