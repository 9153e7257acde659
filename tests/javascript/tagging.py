"""A server of the tag editor, as far as the page needs it: captions in memory, a filter of one word, undo and redo."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.javascript.preparing import png

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREFIX = "/sub/lora-train/v1/projects/p/"
LIMIT = 75
# The tab is shown, with a project open; what waits for the server's first answer is not started.
OPEN = """async () => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.style.width = "1240px";
    place.classList.add("lora_train_panel");
    loraTrain.state.session = {language: "en", texts: {}, choices: ["balanced"], subjects: ["character"]};
    loraTrain.state.project = {id: "p", title: "P", kind: "character", trigger_word: "qxz"};
    window.harmed = undefined;
    window.card = new loraTrain.TagsCard(place, loraTrain.tags);
    loraTrain.emit("project", loraTrain.state.project);
    await loraTrain.tags.look();
}"""


@dataclass
class Tagging:
    """`captions` by id; what was asked is in `asked`: method, path, body. `failing` holds paths that are refused."""

    captions: dict[str, str]
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    done: list[tuple[str, str, str]] = field(default_factory=list)
    undone: list[tuple[str, str, str]] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    more: dict[str, Any] = field(default_factory=dict)  # of the overview
    failing: set[str] = field(default_factory=set)
    turns: int = 0

    def bodies(self, path: str) -> list[Any]:
        return [body for _, asked, body in self.asked if asked == path]

    def write(self, name: str, text: str) -> None:
        """As another program does it."""
        self.captions[name] = text
        self.versions[name] += 1
        self.turns += 1

    def __call__(self, route: Route) -> None:
        request = route.request
        path, data = urlsplit(request.url).path.removeprefix(PREFIX), request.post_data_buffer
        body = json.loads(data) if data else None
        self.asked.append((request.method, path, body))
        if path.endswith(("/thumbnail", "/view")):
            route.fulfill(body=png(80, 60, 128), content_type="image/png")
        elif path in self.failing:
            problem = {"code": "tags.test", "sentence": "That cannot be.", "remedy": "Do it otherwise."}
            route.fulfill(status=422, json={"error": problem})
        else:
            status, answer = self.answer(path, body)
            route.fulfill(status=status, json=answer)

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "tags/find":
            return self.find(body)
        if path == "tags/filter":
            term = f"tag:{body['tag']}"
            return 200, {"filter": {"include": term, "exclude": f"-{term}", "without": ""}[body["how"]]}
        if path == "tags/pictures":
            assert len(body["pictures"]) <= 200
            return 200, {"pictures": [self.picture(one) for one in body["pictures"] if one in self.captions]}
        if path == "tags/caption":
            return self.save(body)
        if path in ("tags/undo", "tags/redo"):
            self.step(path.endswith("undo"), body["number"])
        return 200, self.overview()

    def overview(self) -> dict[str, Any]:
        def step(entries: list[tuple[str, str, str]], number: int) -> dict[str, Any] | None:
            title = f"Changed {entries[-1][0]}" if entries else ""
            return {"number": number, "title": title, "time": 1.7e9, "count": 1} if entries else None

        texts = list(self.captions.values())
        return {
            "revision": str(self.turns), "form": "tags", "total": len(texts), "captioned": sum(map(bool, texts)),
            "concepts": [], "trigger": {"word": "", "notes": [], "everywhere": 0},
            "undo": step(self.done, len(self.done)), "redo": step(self.undone, len(self.done) + 1), "sitting": None,
            "writing": None, "left": None, "vocabulary": {"source": "", "count": 0},
            "tokens": {"available": True, "name": "demo", "limit": LIMIT, "trouble": ""},
            "translation": {"language": "en", "count": 0}, **self.more,
        }  # fmt: skip

    def find(self, body: Any) -> tuple[int, Any]:
        wanted = body["filter"]
        if wanted.endswith("("):
            problem = {"code": "filter.end", "where": "filter", "sentence": "It ends too early.", "remedy": "Close it."}
            return 400, {"error": problem, "mark": {"position": len(wanted) - 1, "length": 1}}
        found = [one for one, text in self.captions.items() if matches(wanted, tags_of(text))]
        here, everywhere = (Counter(tag for one in ids for tag in tags_of(self.captions[one])) for ids in
                            (found, self.captions))  # fmt: skip
        tags = [
            {"tag": tag, "count": n, "all": everywhere[tag], "translation": ""} for tag, n in here.most_common(3000)
        ]
        return 200, {"revision": str(self.turns), "total": len(found), "captioned": 0, "pictures": found, "tags": tags}

    def picture(self, name: str) -> dict[str, Any]:
        text = self.captions[name]
        tags = tags_of(text)
        return {
            "id": name, "name": f"<b>{name}.png", "concept": "c", "width": 80, "height": 60, "stamp": "1", "text": text,
            "version": f"v{self.versions[name]}", "tags": tags, "translations": [""] * len(tags), "prose": text.endswith("."),
            "tokens": 2 * len(tags), "cut": LIMIT // 2 if 2 * len(tags) > LIMIT else -1, "cut_at": -1, "problem": None,
        }  # fmt: skip

    def save(self, body: Any) -> tuple[int, Any]:
        name = body["picture"]
        if body["version"] != f"v{self.versions[name]}":
            problem = {"code": "collection.caption_changed", "sentence": "It was changed.", "remedy": "Choose."}
            theirs = {"text": self.captions[name], "version": f"v{self.versions[name]}"}
            return 409, {"error": problem, "theirs": theirs}
        text = body["text"] if body.get("text") is not None else ", ".join(body["tags"])
        if text != self.captions[name]:
            self.done.append((name, self.captions[name], text))
            self.undone.clear()
            self.write(name, text)
        return 200, {"picture": self.picture(name), "overview": self.overview()}

    def step(self, back: bool, number: int) -> None:
        assert number == (len(self.done) if back else len(self.done) + 1)
        name, before, after = (self.done if back else self.undone).pop()
        (self.undone if back else self.done).append((name, before, after))
        self.write(name, before if back else after)


def tags_of(text: str) -> list[str]:
    return [tag for one in text.split("\n")[0].split(",") if (tag := one.strip())]


def matches(wanted: str, tags: list[str]) -> bool:
    """tag:x, -tag:x, or letters."""
    if wanted.startswith(("tag:", "-tag:")):
        return (wanted.split(":", 1)[1].strip('"') in tags) is not wanted.startswith("-")
    return wanted in ", ".join(tags)


def open_tags(page: Page, server: Tagging) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.route(f"**{PREFIX}**", server)
    page.evaluate(OPEN)
    page.locator(".lora_train_tagging_gallery img[src]").first.wait_for()
