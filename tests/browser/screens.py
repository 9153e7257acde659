"""Pictures of every sub-tab, light and dark, wide and narrow, empty and full, to be looked at by people.

    LORA_TRAIN_SCREENSHOTS=shots python -m tests.browser.screens

Nothing is checked here. The run that is seen on the way is a short one on the demo checkpoint.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from demo.character import TRIGGER, training_set
from tests.helpers.serving import Rest, Server, wait_for
from tests.helpers.tab import TABS, Tab, new_tab

WIDTHS, THEMES = (1600, 900), ("light", "dark")


def main() -> int:
    folder = os.environ.get("LORA_TRAIN_SCREENSHOTS", "")
    if not folder:
        print("LORA_TRAIN_SCREENSHOTS names no folder", file=sys.stderr)
        return 2
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        server = Server(Path(data) / "data").start()
        shoot_all(browser, server, out)
        server.stop()
        browser.close()
    return 0


def shoot_all(browser: Browser, server: Server, out: Path) -> None:
    rest = server.rest()
    for width in WIDTHS:
        for theme in THEMES:
            shoot_tabs(browser, server, out, "empty", width, theme)
    project = fill(rest)
    for width in WIDTHS:
        for theme in THEMES:
            shoot_tabs(browser, server, out, "full", width, theme)
            shoot_details(browser, server, out, width, theme)
    wishes = {"kind": "character", "choice": "thorough", "checkpoint": "demo"}
    for _ in range(3):
        rest.post(f"projects/{project}/runs", {"wishes": wishes})
    wait_for(lambda: rest.get("live")["running"], lambda run: run and run["step"] > 25, 300)
    for width in WIDTHS:
        for theme in THEMES:
            shoot_tabs(browser, server, out, "running", width, theme, ("dataset", "train", "runs"))
    shoot_tabs(browser, server, out, "chinese", 1600, "light", locale="zh-CN")
    live = rest.get("live")
    for waiting in live["queue"]:
        rest.post(f"jobs/{waiting['job']}/cancel", {})
    rest.post(f"jobs/{live['running']['job']}/stop", {"save": False})


def fill(rest: Rest) -> str:
    """A project with pictures in two concepts and two runs."""
    project = rest.new_project("Quillon", TRIGGER)
    pictures = training_set(n=30)
    rest.add_pictures(project, pictures[:24])
    concept = rest.post(f"projects/{project}/concepts", {"name": "with a hat", "repeats": 4})
    rest.add_pictures(project, [(image, "") for image, _ in pictures[24:]], concept["id"])
    wishes = {"kind": "character", "choice": "quick", "checkpoint": "demo"}
    planned = rest.post(f"projects/{project}/plan", wishes)["settings"]
    for seed in (1, 2):
        settings = {
            **planned,
            "run": {
                **planned["run"],
                "seed": seed,
                "max_train_epochs": 2,
                "sample_steps": 12,
                "grid_after_training": False,
            },
        }
        rest.wait_for_end(project, rest.start(project, settings), seconds=600)
    return project


def shoot_tabs(
    browser: Browser, server: Server, out: Path, name: str, width: int, theme: str, tabs: tuple[str, ...] = TABS,
    locale: str = "en-US",
) -> None:  # fmt: skip
    tab = opened(browser, server, width, theme, locale)
    for one in tabs:
        tab.tab(one)
        shoot(tab, out / f"{name}-{one}-{width}-{theme}.png")
    tab.close()


def shoot_details(browser: Browser, server: Server, out: Path, width: int, theme: str) -> None:
    """What opens on a press: forms, a picture, chosen pictures, the folded settings, a run, two runs, a message."""
    tab = opened(browser, server, width, theme)
    page = tab.page
    tab.tab("dataset")
    tab.press("new-project")
    shoot(tab, out / f"open-project-{width}-{theme}.png")
    tab.press("cancel")
    tab.press("add-concept")
    page.locator(".lora_train_tile_mark").first.click()
    page.locator(".lora_train_tile").nth(1).click()
    shoot(tab, out / f"open-concept-{width}-{theme}.png")
    tab.press("delete-pictures")
    shoot(tab, out / f"open-undo-{width}-{theme}.png")
    tab.press("message-action")
    page.wait_for_timeout(500)
    page.locator(".lora_train_tile").first.click()
    page.locator("dialog img").wait_for()
    shoot(tab, out / f"open-picture-{width}-{theme}.png", whole=False)
    page.keyboard.press("Escape")
    tab.tab("train")
    for accordion in page.locator("[id^=lora_train_group_]").all():
        accordion.locator("> button, > .label-wrap").first.click()
    shoot(tab, out / f"open-settings-{width}-{theme}.png")
    page.locator("#lora_train_setting_network_dim input").first.fill("-3")
    page.locator("button#lora_train_train_button").click()
    page.locator("#lora_train_message .lora_train_error").wait_for()
    shoot(tab, out / f"open-error-{width}-{theme}.png", whole=False)
    tab.tab("runs")
    page.locator("tr[data-run] .lora_train_link").first.click()
    page.locator("[data-details]").wait_for()
    shoot(tab, out / f"open-run-{width}-{theme}.png")
    for mark in page.locator("[data-compare]").all()[:2]:
        mark.check()
    tab.press("compare")
    page.locator("[data-comparison]").wait_for()
    shoot(tab, out / f"open-compare-{width}-{theme}.png")
    tab.close()


def opened(browser: Browser, server: Server, width: int, theme: str, locale: str = "en-US") -> Tab:
    tab = new_tab(browser, server.address, locale, viewport={"width": width, "height": 1000})
    return tab.open(f"?__theme={theme}")


def shoot(tab: Tab, path: Path, whole: bool = True) -> None:
    tab.page.wait_for_timeout(700)  # plans and pictures come a moment later
    tab.page.screenshot(path=path, full_page=whole)


if __name__ == "__main__":
    sys.exit(main())
