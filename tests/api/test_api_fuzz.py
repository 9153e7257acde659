"""Every operation of the application's own OpenAPI document, asked with what nobody would send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_lora_train.access import Exposure
from lib_lora_train.api import PREFIX
from tests.helpers.pictures import encoded, gradient
from tests.helpers.rest import SMALL, SMALL_GRID, Server

CASES = 200
MOSTLY = 0.85
TEXT = st.text(max_size=40)
ANY_TEXT = st.text(st.characters(), max_size=40)  # half characters as well
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "integer": st.integers(),
    "boolean": st.booleans(),
    "array": st.lists(TEXT, max_size=3),
}
FILES = st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), encoded(gradient(16, 16), "PNG"), encoded(gradient(17, 16), "JPEG"), b"GIF89a", b"zuna, girl", b"\xff\xfe\x00", b'{"x": {"tags": "zuna, hat"}}'])  # fmt: skip
NAMES = st.sampled_from(
    ["x.png", "y.JPG", "x.txt", "z.caption", "all.zip", "a.tar.gz", "noend", ".png", "x.png.zip", "m.json"]
)
GROUPS = (
    "session",
    "projects",
    "concepts",
    "pictures",
    "trash",
    "files",
    "runs",
    "run",
    "jobs",
    "presets",
    "captions",
    "prepare",
    "sources",
    "models",
    "tags",
    "batches",
    "grids",
)

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Server]:
    """One with a project, a run and a grid that are done; no other begins."""
    server = Server(tmp_path_factory.mktemp("fuzz"), Exposure(), tiny_checkpoint.parent, assets=Path(__file__).parents[2])  # fmt: skip
    project = server.filled(2)
    server.wait(server.start(project)["job"], "done")
    server.draw(project, SMALL_GRID)
    server.studio.close()
    yield server


@pytest.fixture
def known(server: Server) -> dict[str, Any]:
    """What there is, by the name of the parameter or field that asks for it."""
    project = server.data("GET", "/projects")["projects"][-1]
    home = f"/projects/{project['id']}"
    [picture, *_] = server.data("GET", f"{home}/pictures")["pictures"]
    source = server.data("GET", f"{home}/prepare/sources")["sources"][0]
    [run] = server.data("GET", f"{home}/runs")["runs"]
    server.data("PUT", "/presets/mine", json={"settings": SMALL})
    [grid] = server.data("GET", f"{home}/grids")["grids"]
    cell = server.data("GET", f"{home}/grids/{grid['id']}")["cells"][-1]["key"]
    return {
        "project_id": project["id"], "picture_id": picture["id"], "concept_id": picture["concept"],
        "concept": picture["concept"], "run_id": run["id"], "job_id": run["job"], "version": picture["version"],
        "kind": "style", "choice": "quick", "medium": "drawn", "checkpoint": "tiny", "form": "toml", "v": picture["stamp"],
        "settings": SMALL, "file": run["lora"], "source_id": source["id"], "source": source["id"], "crops": source["crops"],
        "steps": ["check"], "fix": "trim", "finding": "borders", "picture": picture["id"], "filter": "tag:girl", "tag": "girl",
        "how": "exclude", "order": "changed", "number": 1, "to": 0, "edit": {"kind": "add", "tags": ["hat"]}, "as": "lines",
        "choices": {"girl": "bind"}, "word": "zuna", "text": "hat", "token": "0" * 32, "digest": "",
        "grid_id": grid["id"], "grid": grid["id"], "key": cell, "cell": cell, "cells": [cell], "stars": 3, "on": ["collapse"],
        "runs": [run["id"]], "files": [run["lora"]], "bases": ["tiny"], "others": "keep", "weight": 0.5, "weights": [1.0],
        "tool": "resize", "rank": 1, "keep": 0.9, "precision": "fp16", "values": {"network_dim": [2, 4]}, "pick": "",
        "part": "card",
    }  # fmt: skip


def known_name(template: str, known: dict[str, Any]) -> str:
    """Of what the last part of an address names."""
    kind = template.split("/")[-2]
    if template.startswith("/models/"):
        return "yunet"
    return {"samples": "00000002-00.png", "files": known["file"], "presets": "mine", "assets": "style.css"}.get(
        kind, "x"
    )


def operations(server: Server, group: str) -> list[Operation]:
    """Method, path and description; no operation is in two groups, and none in none."""
    found = []
    for path, methods in server.app.openapi()["paths"].items():
        if path.startswith(PREFIX) and group_of(path.removeprefix(PREFIX)) == group:
            found += [(method.upper(), path.removeprefix(PREFIX), told) for method, told in methods.items()]
    return found


def group_of(path: str) -> str:
    parts = path.split("/")[1:]
    if parts[0] != "projects":
        kinds = {"jobs": "jobs", "live": "jobs", "presets": "presets", "captions": "captions", "models": "models"}
        return kinds.get(parts[0], "session")
    if len(parts) <= 2:
        return "projects"
    kind = parts[2]
    if kind == "prepare":
        return "sources" if parts[3:4] in (["sources"], ["crops"]) else "prepare"
    if kind == "tags":
        return "tags" if parts[3:4] in ([], ["find"], ["filter"], ["pictures"], ["caption"], ["log"]) else "batches"
    if kind == "grids":
        return "grids"
    if kind == "runs":
        return "run" if len(parts) > 4 else "runs"
    return {"concepts": "concepts", "pictures": "pictures", "trash": "trash"}.get(kind, "files")


def body_fields(server: Server, told: dict[str, Any]) -> dict[str, str]:
    """The fields of a body with their types, as the document tells them; pydantic's versions differ in how."""
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref", "")
    fields = server.app.openapi()["components"]["schemas"].get(reference.rpartition("/")[2], {}).get("properties", {})
    return {name: field.get("type", field.get("anyOf", [{}])[0].get("type", "")) for name, field in fields.items()}


def test_every_operation_is_in_a_group(server: Server) -> None:
    paths = [path for path in server.app.openapi()["paths"] if path.startswith(PREFIX)]
    assert {group_of(path.removeprefix(PREFIX)) for path in paths} == set(GROUPS)
    assert sum(len(operations(server, group)) for group in GROUPS) == 127


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_breaks(server: Server, known: dict[str, str], group: str) -> None:
    choices, here = operations(server, group), known
    if group == "grids":
        here = {**known, "as": "csv", "settings": SMALL_GRID["settings"]}

    @settings(max_examples=CASES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        # What is sent at all is left to chance, since hypothesis prefers to leave out; what stands in it is not.
        chance = data.draw(st.randoms(use_true_random=True))

        def mostly() -> bool:
            return chance.random() < MOSTLY

        method, template, told = chance.choice(choices)
        known = {**here, "name": known_name(template, here)}
        path, query = template, {}
        for parameter in told.get("parameters", []):
            name = parameter["name"]
            # What is there is not deleted, so that there is something to ask for to the end.
            use_known = name in known and method != "DELETE" and mostly()
            number = parameter["schema"].get("type") == "integer" and mostly()
            value = known[name] if use_known else data.draw(st.integers(0, 2000).map(str) if number else TEXT)
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(value, safe="").replace(".", "%2E") or "%20")
            elif mostly():
                query[name] = data.draw(NAMES) if name == "name" and mostly() else value
        headers, content = {}, None
        if template.endswith(("/files", "/from-picture", "/tags/import")) or (method, template[-6:]) == (
            "PUT",
            "/matte",
        ):
            headers, content = {"content-type": "application/octet-stream"}, data.draw(FILES | st.binary(max_size=200))
        elif method in ("POST", "PUT", "PATCH"):
            body: Any = {}
            for name, kind in body_fields(server, told).items():
                if mostly():
                    fitting = st.just(known[name]) if name in known and mostly() else BY_TYPE.get(kind, ANY_JSON)
                    body[name] = data.draw(fitting if mostly() else ANY_TEXT | ANY_JSON)
            body = body if mostly() else data.draw(ANY_JSON)
            headers, content = {"content-type": "application/json"}, json.dumps(body).encode()
        answer = server.client.request(method, PREFIX + path, params=query, headers=headers, content=content)
        assert answer.status_code < 500, (method, path, query, content, answer.text)
        told_back = answer.content.decode("utf-8", "replace")
        assert str(server.root) not in told_back and "Traceback" not in told_back
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"code", "where", "sentence", "remedy"}

    ask()
    assert server.data("GET", f"/projects/{here['project_id']}")["id"] == here["project_id"]
