"""A server of the tag editor, as far as its panels need it: answers by path, and what was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from lib_lora_train.tags.edits.reading import edit_schema
from tests.javascript.preparing import png

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREFIX = "/sub/lora-train/v1/projects/p"
HOSTILE = "<img src=x onerror=window.harmed=1>"
OVERVIEW: dict[str, Any] = {
    "revision": "r1", "form": "tags", "total": 60, "captioned": 60, "concepts": [],
    "trigger": {"word": "hana1", "notes": [], "everywhere": 0}, "undo": None, "redo": None, "sitting": None,
    "writing": None, "left": None, "tokens": {"available": False, "name": "", "limit": 75, "trouble": ""},
    "vocabulary": {"source": "", "count": 0}, "translation": {"language": "en", "count": 0},
}  # fmt: skip
FOUND: dict[str, Any] = {
    "revision": "r1", "total": 3, "pictures": ["a", "b", "c"], "tags": [], "captioned": 60,
}  # fmt: skip
# The tab is shown with a project open and its tags read; `window.model` is them.
OPEN = """async () => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.classList.add("lora_train_panel");
    loraTrain.state.session = {language: "en", texts: {}, subjects: ["character"]};
    loraTrain.state.project = {id: "p", title: "P", kind: "character", trigger_word: "hana1"};
    window.harmed = undefined;
    place.append(loraTrain.messages);
    window.model = loraTrain.tags;
    model.project = "p";
    model.overview = model.found = null;
    model.selected.clear();
    await model.look();
}"""
SHOW = """async ([name, given]) => {
    window.panel = new loraTrain[name](model);
    loraTrain.openSheet(name, {kind: "lora_train_tall", closed: () => panel.closed && panel.closed()}, panel.element);
    if (panel.opened) await panel.opened(given ?? undefined);
}"""
CLOSE = """async () => {
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    document.querySelector("#lora_train_root").hidden = true;
    loraTrain.messages.replaceChildren();
    document.querySelector("#lora_train_place").replaceChildren();
    model.project = "";
    model.overview = model.found = null;
    loraTrain.state.project = loraTrain.state.session = null;
}"""


def changed_picture(name: str, before: str, after: str) -> dict[str, Any]:
    return {"id": name, "name": f"{name}.png", "stamp": "1", "before": before, "after": after}


def preview(*pictures: dict[str, Any], changes: int | None = None, **more: Any) -> dict[str, Any]:
    count = len(pictures) if changes is None else changes
    empty: dict[str, Any] = {"removed": [], "added": [], "asked": [], "notes": []}
    return {"changes": count, "total": 60, "digest": "d1", "pictures": list(pictures), **empty, **more}


@dataclass
class Tagging:
    """`answers` by method and path: JSON, or what makes it of the query and the body; an `Exception` of a status."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    holding: str = ""  # the next question of this kind is answered by `release` only
    held: list[Callable[[], None]] = field(default_factory=list)
    overview: dict[str, Any] = field(default_factory=lambda: dict(OVERVIEW))

    def bodies(self, what: str) -> list[Any]:
        return [body for method, path, _, body in self.asked if f"{method} {path}" == what]

    def queries(self, what: str) -> list[dict[str, str]]:
        return [query for method, path, query, _ in self.asked if f"{method} {path}" == what]

    def __call__(self, route: Route) -> None:
        request = route.request
        split = urlsplit(request.url)
        path, data = split.path.removeprefix(PREFIX).strip("/"), request.post_data_buffer
        if path.endswith("thumbnail"):
            route.fulfill(body=png(80, 60, 128), content_type="image/png")
            return
        path = path.removeprefix("tags").strip("/")
        body = json.loads(data) if data and data[:1] == b"{" else data
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        self.asked.append((request.method, path, query, body))
        what = f"{request.method} {path}".strip()
        answer = self.answer(what, query, body)
        status = answer.pop("status", 200)
        if self.holding == what:
            self.holding = ""
            self.held.append(lambda: route.fulfill(status=status, json=answer))
        else:
            route.fulfill(status=status, json=answer)

    def wait_held(self, page: Page) -> None:
        """Until a question has come that waits."""
        for _ in range(1000):
            if self.held:
                return
            page.wait_for_timeout(10)
        raise AssertionError(f"{self.holding or 'nothing'} was not asked for")

    def release(self, page: Page) -> None:
        """Answers the oldest of the questions that wait, once there is one."""
        self.wait_held(page)
        self.held.pop(0)()

    def answer(self, what: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if what in self.answers:
            answer = self.answers[what]
            return dict(answer(query, body) if isinstance(answer, Callable) else answer)  # type: ignore[arg-type]
        known = {"POST find": FOUND, "GET schema": {"edits": edit_schema("en")}, "POST preview": preview()}
        return dict(known.get(what, self.overview))


def refused(code: str, where: str, sentence: str, status: int = 400) -> dict[str, Any]:
    problem = {"code": code, "where": where, "sentence": sentence, "remedy": "Do it otherwise."}
    return {"status": status, "error": problem}


def open_tags(page: Page, server: Tagging) -> None:
    page.route(f"**{PREFIX}/**", server)
    page.evaluate(OPEN)


def show_panel(page: Page, name: str, given: Any = None) -> None:
    page.evaluate(SHOW, [name, given])


def close_tags(page: Page, server: Tagging) -> None:
    page.evaluate(CLOSE)
    page.unroute(f"**{PREFIX}/**", server)
