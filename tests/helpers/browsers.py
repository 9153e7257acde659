"""Chromium for tests that look at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIDY = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # as a container needs it
QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
# Frames and answers come up to so many ms late, each by its own lot, as on a machine with too much to do.
_LATE = """(() => {
    const late = () => new Promise((resolve) => window.setTimeout(resolve, Math.random() * MOST));
    const {requestAnimationFrame: frame, fetch: ask} = window;
    window.requestAnimationFrame = (draw) => { late().then(() => frame.call(window, draw)); return 0; };
    window.fetch = async (...asked) => { const answer = await ask.apply(window, asked); await late(); return answer; };
})();"""


def chromium() -> Iterator[Browser]:
    """A browser, closed at the end. Where there is none the test is skipped, or fails if one is required."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    required = "browser" in os.environ.get("LORA_TRAIN_REQUIRE", "").split(",")
    if path is None:
        (pytest.fail if required else pytest.skip)("needs Chromium: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*TIDY, *QUIET, "--disable-sync"])
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A window of its own. `LORA_TRAIN_LATE_PAGE=300` makes it a slow one, to look for what is done too early."""
    context = browser.new_context(**options)
    if most := int(os.environ.get("LORA_TRAIN_LATE_PAGE") or 0):
        context.add_init_script(_LATE.replace("MOST", str(most)))
        network = {"offline": False, "latency": most / 2, "downloadThroughput": -1, "uploadThroughput": -1}
        context.on("page", lambda page: context.new_cdp_session(page).send("Network.emulateNetworkConditions", network))
    return context
