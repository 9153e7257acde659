"""A server of the preparation, as far as the page's windows need it: pictures in plain colours, and what was asked."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREFIX = "/sub/lora-train/v1/projects/p/prepare"
HOSTILE = "<img src=x onerror=window.harmed=1>.png"
SETTINGS: dict[str, Any] = {
    "check": {"size": 512, "medium": "auto"},
    "crop": {"crop": "face", "width": 512, "height": 512, "max_upscale": 1.0},
    "matte": {"background": "transparent", "colour": "#808080"},
    "tag": {"taggers": ["wd"], "threshold": 0.35, "existing": "keep", "exclude": [], "captioner": "none"},
}
# The tab is shown, with a project open; what waits for the server's first answer is not started.
OPEN = """async (overview) => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.classList.add("lora_train_panel");
    loraTrain.state.session = {language: "en", texts: {}, choices: ["balanced"], subjects: ["character"]};
    loraTrain.state.project = {id: "p", title: "P", kind: "character"};
    window.harmed = undefined;
    const preparation = loraTrain.preparation = window.preparation = new loraTrain.Preparation();
    preparation.panel = place;
    await preparation.look();
}"""
CLOSE = """async () => {
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    document.querySelector("#lora_train_root").hidden = true;
    document.querySelector("#lora_train_place").replaceChildren();
    loraTrain.messages.replaceChildren();
    loraTrain.preparation.overview = null;
    loraTrain.state.project = loraTrain.state.session = null;
}"""


def png(width: int, height: int, grey: int) -> bytes:
    """A plain picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([grey]) * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def crop(
    left: float, top: float, right: float, bottom: float, width: int, height: int, by: str = "face"
) -> dict[str, Any]:
    box = {"left": left, "top": top, "right": right, "bottom": bottom}
    words = {"by": by, "label": by, "notes": []}
    return {**box, "width": width, "height": height, "mirror": False, **words, "scale": width / (right - left)}


@dataclass
class Preparing:
    """Answers by path; `asked` is what was asked: method, path, body."""

    total: int = 3
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    crops: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    masks: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    overview: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        done = {"state": "done", "time": 1.7e9}
        self.overview = {
            "settings": SETTINGS, "sources": self.total, "planned": {"settings": {}, "reasons": []}, "job": None,
            "last": None, "undo": None,
            "steps": {
                "check": {**done, "score": 87, "findings": 3}, "crop": {**done, "cropped": 2, "crops": self.total},
                "matte": {**done, "mattes": 1, "used": ""}, "tag": {**done, "tagged": 2, "used": ["wd"]},
            },
            "changes": {"pictures": 0, "added": 0, "removed": 0, "captions": 0, "masks": 0},
            "tools": {"faces": [], "upscalers": [], "captioners": [], "mattes": [], "may_download": True,
                      "taggers": [{"name": "wd", "label": "WD", "state": "ready", "megabytes": 379,
                                   "licence": "Apache-2.0", "commercial": True}], "models_folder": ""},
        }  # fmt: skip

    def source(self, name: str) -> dict[str, Any]:
        """800 x 600 px, with a face; the crop of a face is 200 px wide."""
        proposal = [crop(300, 200, 500, 400, 100, 100)]
        return {
            "id": name, "name": HOSTILE if name == "s0" else f"{name}.png", "concept": "c", "width": 800, "height": 600,
            "stamp": "1", "problem": None, "faces": [[350, 250, 450, 350]], "proposal": proposal,
            "crops": self.crops.get(name, proposal), "by_hand": name in self.crops, "outputs": [], "previews": ["1"],
            "matte": {"state": "hand" if name in self.masks else "model", "stamp": str(len(self.masks.get(name, b"")))},
            "changed": False, "caption": {"before": "", "after": ""},
        }  # fmt: skip

    def puts(self, ending: str) -> list[Any]:
        return [body for method, path, body in self.asked if method == "PUT" and path.endswith(ending)]

    def posts(self, path: str) -> list[Any]:
        return [body for method, asked, body in self.asked if method == "POST" and asked == path]

    def __call__(self, route: Route) -> None:
        request = route.request
        split = urlsplit(request.url)
        path, data = split.path.removeprefix(PREFIX).strip("/"), request.post_data_buffer
        body = json.loads(data) if data and data[:1] == b"{" else data
        self.asked.append((request.method, path, body))
        if path in self.failing:
            problem = {"code": "prepare.crops", "sentence": "That cannot be.", "remedy": "Do it otherwise."}
            route.fulfill(status=422, json={"error": problem})
        elif path in self.answers:
            route.fulfill(json=self.answers[path])
        elif path == "sources":
            query = dict(parse_qsl(split.query))
            places = range(int(query["offset"]), min(self.total, int(query["offset"]) + int(query["limit"])))
            route.fulfill(json={"total": self.total, "sources": [self.source(f"s{place}") for place in places]})
        elif path.startswith("sources/"):
            self.answer_source(route, request.method, *path.removeprefix("sources/").split("/", 1), body)
        elif path == "schema":
            route.fulfill(json={"groups": []})
        else:
            if path == "settings":
                self.overview = {**self.overview, "settings": body["settings"]}
            route.fulfill(json=self.overview)

    def answer_source(self, route: Route, method: str, name: str, what: str, body: Any) -> None:
        if what in ("thumbnail", "view", "preview"):
            route.fulfill(body=png(80, 60, 128), content_type="image/png")
        elif what == "matte" and method == "GET":
            route.fulfill(body=self.masks.get(name) or png(800, 600, 255), content_type="image/png")
        else:
            if what == "crops":
                self.crops[name] = [
                    {**one, "by": "user", "label": "by hand", "notes": [], "scale": 1.0} for one in body["crops"]
                ]
            elif what == "crops/reset":
                self.crops.pop(name, None)
            elif method == "PUT":
                self.masks[name] = body
            else:
                self.masks.pop(name, None)
            route.fulfill(json=self.source(name))


def open_preparation(page: Page, server: Preparing) -> None:
    page.route(f"**{PREFIX}**", server)
    page.evaluate(OPEN)


def close_preparation(page: Page, server: Preparing) -> None:
    page.evaluate(CLOSE)
    page.unroute(f"**{PREFIX}**", server)
