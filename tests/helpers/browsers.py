"""Chromium for tests that look at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIDY = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # as a container needs it
QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


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
