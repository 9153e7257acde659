"""A server of grids, as far as the page needs it: one project, grids of any size in memory, pictures of one colour."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PREFIX = "/sub/lora-train/v1/projects/p/"
NAMES = ("likeness", "obedience", "collapse")
# The tab is shown, with a project open; what waits for the server's first answer is not started.
OPEN = """async (width) => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    place.style.width = `${width}px`;
    place.classList.add("lora_train_panel");
    loraTrain.state.session = {language: "en", texts: {}, choices: ["balanced"], subjects: ["character"]};
    loraTrain.state.project = {id: "p", title: "P", kind: "character", trigger_word: "qxz"};
    window.harmed = undefined;
    window.card = new loraTrain.PreviewsCard(place, loraTrain.previews);
    loraTrain.emit("project", loraTrain.state.project);
    await loraTrain.previews.look();
}"""


@dataclass
class Matrix:
    """A grid; `made` are the keys of its drawn cells, all of them to begin with."""

    id: str = "g01"
    columns: int = 3
    weights: Sequence[float] = (0, 0.5, 1)
    prompts: Sequence[str] = ("qxz, girl", "qxz, portrait, smile")
    seeds: Sequence[int] = (1, 2)
    bases: Sequence[str] = ("demo",)
    made: set[str] = field(default_factory=set)
    stars: dict[str, int] = field(default_factory=dict)
    job: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    recommended: tuple[int, float] | None = (1, 0.5)
    whole: bool = True
    runs: Sequence[str] = ("r01",)

    def __post_init__(self) -> None:
        self.made = {cell["key"] for cell in self.places()}

    def places(self) -> Iterator[dict[str, Any]]:
        for base in range(len(self.bases)):
            files = [(-1, 0), *((c, w) for c in range(self.columns) for w in self.weights if w)]
            for column, weight in files:
                for prompt in range(len(self.prompts)):
                    for seed in self.seeds:
                        yield {
                            "base": base, "column": column, "weight": weight, "prompt": prompt, "seed": seed,
                            "key": self.key(column, weight, prompt, seed, base),
                        }  # fmt: skip

    def key(self, column: int, weight: float, prompt: int = 0, seed: int = 1, base: int = 0) -> str:
        said = f"{base} {column if weight else -1} {float(weight)} {self.prompts[prompt]} {seed}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]

    def line(self) -> dict[str, Any]:
        size = len(list(self.places()))
        return {
            "id": self.id, "title": f"<b>{self.id}", "runs": list(self.runs), "columns": self.columns,
            "weights": list(self.weights), "prompts": len(self.prompts), "seeds": list(self.seeds), "cells": size,
            "made": len(self.made), "state": self.state, "job": self.job, "created": 1.7e9, "recommended": None,
        }  # fmt: skip

    @property
    def state(self) -> str:
        if self.job:
            return str(self.job["state"])
        return str(self.last["state"]) if self.last else "done"

    def shown(self, cells: bool) -> dict[str, Any]:
        places = list(self.places())
        drawn: list[list[int]] = []
        for at, place in enumerate(places):
            if place["key"] in self.made:
                if drawn and drawn[-1][1] == at:
                    drawn[-1][1] = at + 1
                else:
                    drawn.append([at, at + 1])
        names = [
            {"name": name, "label": name.title(), "help": f"<i>{name}", "better": "low" if name == "collapse" else "high",
             "on": True} for name in NAMES
        ]  # fmt: skip
        answer = {
            "id": self.id, "title": f"<b>{self.id}", "created": 1.7e9, "state": self.state, "job": self.job,
            "last": self.last, "size": len(places), "made": len(self.made), "drawn": drawn,
            "columns": [
                {"label": f"P-r01-{n + 1:06d}", "epoch": n + 1, "step": 10 * (n + 1), "run": self.runs[n % len(self.runs)],
                 "file": f"P-r01-{n + 1:06d}.safetensors", "there": True} for n in range(self.columns)
            ],
            "weights": list(self.weights), "bases": list(self.bases), "seeds": list(self.seeds),
            "prompts": [{"text": text, "kind": "own", "label": "", "asks": []} for text in self.prompts],
            "settings": {"width": 64, "height": 64, "steps": 3},
            "asked": {"runs": list(self.runs), "files": [], "bases": []},
            "scores": {"names": names, "places": [], "curve": [], "whole": self.whole},
            "recommendation": self.recommendation(), "cost": {"seconds": 9.0, "drawn": 9, "switches": 3},
        }  # fmt: skip
        if cells:
            answer["cells"] = [
                {**place, "made": place["key"] in self.made, "stars": self.stars.get(place["key"], 0),
                 "scores": {"likeness": 0.5, "obedience": 0.75, "collapse": 0.1}} for place in places
            ]  # fmt: skip
        return answer

    def recommendation(self) -> dict[str, Any] | None:
        if self.recommended is None:
            return None
        column, weight = self.recommended
        return {
            "base": 0, "column": column, "weight": weight, "cell": self.key(column, weight), "label": f"file {column}",
            "reason": "nearly as alike, <i>but</i> obeys.", "starred": False, "ranking": [], "file": "x.safetensors",
        }  # fmt: skip


@dataclass
class Previewing:
    """`grids` newest first; what was asked is in `asked`: method, path, query, body. `failing` are paths refused."""

    grids: list[Matrix] = field(default_factory=lambda: [Matrix()])
    trash: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def bodies(self, path: str) -> list[Any]:
        return [body for _, asked, _, body in self.asked if asked == path]

    def __call__(self, route: Route) -> None:
        request = route.request
        address, data = urlsplit(request.url), request.post_data_buffer
        path = address.path.removeprefix(PREFIX)
        body = json.loads(data) if data else None
        self.asked.append((request.method, path, address.query, body))
        if ("/cells/" in path and not path.endswith("/text")) or "/difference/" in path:
            route.fulfill(body=colour(path), content_type="image/png")
        elif path in self.failing:
            problem = {"code": "previews.test", "sentence": "That cannot be.", "remedy": "Do it otherwise."}
            route.fulfill(status=422, json={"error": problem})
        else:
            status, answer = self.answer(request.method, path, parse_qs(address.query), body)
            route.fulfill(status=status, json=answer)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path == "grids":
            return 200, {
                "grids": [one.line() for one in self.grids], "schema": [], "samplers": ["DDIM"], "trash": self.trash,
                "picks": [], "tools": {"tagger": "", "embedding": False},
            }  # fmt: skip
        if path == "grids/restore":
            [one] = [each for each in self.trash if each["trash_id"] == body["trash_id"]]
            self.trash.remove(one)
            self.grids.insert(0, Matrix(one["trash_id"].partition("-")[0]))
            return 200, {"grid": self.grids[0].id}
        [grid] = [each for each in self.grids if each.id == path.split("/")[1]] or [None]
        if grid is None:
            return 404, {"error": {"code": "previews.no_grid", "sentence": "No grid.", "remedy": ""}}
        action = "/".join(path.split("/")[2:])
        if method == "DELETE":
            self.grids.remove(grid)
            self.trash.append({"trash_id": f"{grid.id}-00000000", "title": grid.id, "deleted": 1.7e9})
            return 200, {"trash_id": f"{grid.id}-00000000"}
        if action == "stars":
            grid.stars[body["cell"]] = body["stars"]
        elif action == "redraw":
            grid.made -= set(body["cells"])
            grid.job = job(0, len(body["cells"]))
        elif action == "stop":
            grid.job, grid.last = None, {"state": "stopped", "error": None, "notes": [], "ended": 1.7e9}
        elif action == "continue":
            grid.job, grid.last = job(0, 1), None
        elif action.endswith("/text"):
            return 200, {"prompt": "qxz <lora:x:1>", "infotext": "qxz\nSteps: 3", "lora": "x", "name": "x", "paste": ""}
        return 200, grid.shown(cells=method == "GET" and query.get("cells") != ["false"])


def job(done: int, total: int, state: str = "running") -> dict[str, Any]:
    return {
        "id": "j1", "state": state, "stage": "drawing", "done": done, "total": total, "remaining": 61.0,
        "stopping": False, "mine": True,
    }  # fmt: skip


def colour(path: str) -> bytes:
    """A picture of a colour that only this cell has."""
    digest = hashlib.sha256(path.removesuffix("/thumbnail").encode()).digest()
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), tuple(digest[:3])).save(buffer, "PNG")
    return buffer.getvalue()


def open_previews(page: Page, server: Previewing, width: int = 1600) -> None:
    page.route("**/lora-train/v1/**", server)
    page.set_viewport_size({"width": width + 40, "height": 900})
    page.evaluate(OPEN, width)
    page.evaluate("() => { loraTrain.previews.watch(); }")
