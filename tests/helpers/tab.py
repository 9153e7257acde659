"""The page as a person sees it: sub-tabs by name, parts by their marks, and everything that must not happen in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, expect

from tests.helpers.browsers import new_context

TABS = ("dataset", "tags", "train", "previews", "runs")
VIEW = {"width": 1280, "height": 900}
LONG = 180_000  # ms, for what a run has to do first
# Presses by a hand: a script's own `click()` makes no pointer event.
_COUNT_PRESSES = "addEventListener('pointerdown', (event) => { if (event.isTrusted) countPress(); }, true);"
_TEXTS = """(root) => {
    const found = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const parent = node.parentElement;
        const words = node.data.trim();
        if (!words || parent.closest("script, style") || parent.getClientRects().length === 0) continue;
        if (parent.closest(".sr-only, [hidden]")) continue;
        found.push(words);
    }
    for (const element of root.querySelectorAll("[placeholder], [title], [aria-label]")) {
        if (element.getClientRects().length === 0) continue;
        for (const name of ["placeholder", "title", "aria-label"]) {
            const words = (element.getAttribute(name) || "").trim();
            if (words) found.push(words);
        }
    }
    return found;
}"""


expect.set_options(timeout=20_000)  # generous: how fast a machine is says nothing about the page


class Tab:
    """One open page. `problems` fills with what no visit may bring: errors, dialogs, calls to elsewhere."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context = context
        self.address = address
        self.problems: list[str] = []
        self.presses = 0
        self.allowed: list[str] = []  # regular expressions of problems that the test brings about itself
        context.expose_binding("countPress", lambda source: self._press())
        context.add_init_script(_COUNT_PRESSES)
        context.on("request", self._request)
        self.page: Page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._problem(f"page error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.set_default_timeout(20_000)

    def open(self, query: str = "") -> Tab:
        self.page.goto(f"{self.address}{query}")
        self.ready()
        return self

    def log_in(self, login: str, enters: bool = True) -> None:
        """Through gradio's own page; a login that `enters` ends in ours."""
        self.page.goto(self.address)
        fields = self.page.locator("input:visible, textarea:visible")
        for place, words in enumerate(login.split(":", 1)):
            fields.nth(place).fill(words)
        self.page.locator("button:visible").first.click()
        if enters:
            self.ready()

    def ready(self) -> None:
        """Waits until our scripts have drawn the header, which they do when the session is open."""
        self.page.locator("#lora_train_header .lora_train_head").wait_for(timeout=60_000)

    def reload(self) -> None:
        self.page.reload()
        self.ready()

    def tab(self, name: str) -> None:
        """Presses a sub-tab. gradio 3 gives its tab buttons no ids."""
        by_id = self.page.locator(f"#lora_train_tab_{name}-button")
        by_place = self.page.locator("#lora_train_tabs > .tab-nav > button").nth(TABS.index(name))
        (by_id if by_id.count() else by_place).click()
        expect(self.page.locator(f"#lora_train_tab_{name}")).to_be_visible()

    def action(self, name: str) -> Locator:
        """A button of ours by the name of what it does, of those that can be seen."""
        return self.page.locator(f'[data-action="{name}"]:visible')

    def press(self, name: str) -> None:
        self.action(name).first.click()

    def select_project(self, project: str) -> None:
        self.page.locator('select[data-action="project"]').select_option(project)

    @property
    def shown_run(self) -> Locator:
        """The run at the top of Train."""
        return self.page.locator("#lora_train_live .lora_train_run")

    def expect_run(self, state: str, run: str = "", timeout: float = LONG) -> None:
        if run:  # first: the run before it may have come to the same end
            expect(self.shown_run).to_have_attribute("data-run", run, timeout=timeout)
        expect(self.shown_run).to_have_attribute("data-state", state, timeout=timeout)

    def message(self, text: str | re.Pattern[str]) -> Locator:
        """A line in the header or from gradio's side."""
        places = "#lora_train_header .lora_train_message, #lora_train_message .lora_train_notice"
        return self.page.locator(places).filter(has_text=text)

    def texts(self) -> list[str]:
        """Everything that can be read in the tab now, tooltips and placeholders included."""
        return self.page.locator("#lora_train_root").evaluate(_TEXTS)

    def bad(self) -> Iterator[str]:
        """The problems that the test has not brought about itself."""
        return (problem for problem in self.problems if not any(re.search(one, problem) for one in self.allowed))

    def close(self) -> None:
        self.context.close()

    def _press(self) -> None:
        self.presses += 1

    def _problem(self, text: str) -> None:
        self.problems.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":  # gradio itself has warnings
            self._problem(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _dialog(self, dialog: Dialog) -> None:
        self._problem(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        asked, own = urlsplit(request.url), urlsplit(self.address)
        if asked.scheme not in ("data", "blob") and asked.netloc != own.netloc:
            self._problem(f"request to elsewhere: {request.url}")


def new_tab(browser: Browser, address: str, locale: str = "en-US", **options: Any) -> Tab:
    """A window of its own, as another person's browser would be."""
    return Tab(new_context(browser, **{"locale": locale, "viewport": VIEW, **options}), address)
