"""The preparation over REST, as a page uses it, from pictures to an applied set and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_lora_train.access import Exposure
from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.project import Project
from tests.helpers.preparing import photo_project, png_bytes, tools
from tests.helpers.rest import PNG, Server, error_code

SETTINGS = {"check": {"size": 128}, "crop": {"width": 128, "height": 128}, "tag": {"taggers": []}}


@pytest.fixture
def server(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Server]:
    tools(tmp_path / "models")
    made = Server(tmp_path, Exposure(), tiny_checkpoint.parent)
    made.studio.workshop.store.offline = True
    yield made
    assert made.studio.close(60)


@pytest.fixture
def project(server: Server) -> Project:
    return photo_project(server.studio.root, 3)


def path(project: Project, *parts: str) -> str:
    return "/".join([f"/projects/{project.id}/prepare", *parts])


def finished(server: Server, project: Project) -> dict[str, Any]:
    until = time.monotonic() + 60
    while (shown := server.data("GET", path(project)))["job"] is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
    return shown


def prepared(server: Server, project: Project, *steps: str, apply: bool = False) -> dict[str, Any]:
    server.data("PUT", path(project, "settings"), json={"settings": SETTINGS})
    server.data("POST", path(project, "start"), json={"steps": list(steps), "apply": apply})
    return finished(server, project)


def sizes(project: Project) -> set[tuple[int, int]]:
    return {(picture.width, picture.height) for picture in list_pictures(project)}


def test_from_nothing_to_applied_and_back(server: Server, project: Project) -> None:
    shown = server.data("GET", path(project))
    assert [step["state"] for step in shown["steps"].values()] == ["never"] * 4
    assert shown["sources"] == 3 and not any(shown["changes"].values()) and shown["planned"]["reasons"]
    shown = prepared(server, project, "check", "crop", "matte", "tag")
    assert shown["last"]["state"] == "done" and shown["last"]["error"] is None
    assert [step["state"] for step in shown["steps"].values()] == ["done"] * 4
    assert shown["steps"]["crop"]["cropped"] == 3 and shown["changes"]["pictures"] == 3
    assert sizes(project) == {(320, 320)}
    server.data("POST", path(project, "apply"))
    shown = finished(server, project)
    assert sizes(project) == {(320, 240)} and not any(shown["changes"].values())
    server.data("POST", path(project, "undo"), json={"id": shown["undo"]["id"]})
    assert sizes(project) == {(320, 320)}
    answer = server.call("POST", path(project, "undo"), json={"id": shown["undo"]["id"]})
    assert (answer.status_code, error_code(answer)) == (409, "prepare.no_undo")


def test_report_and_its_buttons(server: Server, project: Project) -> None:
    from tests.helpers.preparing import add, barred, photo

    add(project, "again.png", barred(photo(0)).resize((300, 300)))
    prepared(server, project, "check")
    report = server.data("GET", path(project, "report"))
    assert 0 < report["score"] < 100 and report["checked"] == 4 and report["reasons"]
    twins = next(each for each in report["findings"] if each["code"].startswith("duplicate"))
    assert {picture["name"] for picture in twins["pictures"]} == {"0.png", "again.png"} and twins["sentence"]
    done = server.data("POST", path(project, "fix"), json={"finding": twins["id"], "fix": "keep_best", "sources": []})
    assert len(list_pictures(project)) == 3 and done["trash_id"]
    server.data("POST", f"/projects/{project.id}/trash/restore", json={"trash_id": done["trash_id"]})
    assert len(list_pictures(project)) == 4
    borders = next(each for each in report["findings"] if each["code"] == "borders")
    server.data("POST", path(project, "fix"), json={"finding": borders["id"], "fix": "trim", "sources": []})
    finished(server, project)
    after = {each["code"] for each in server.data("GET", path(project, "report"))["findings"]}
    assert "borders" not in after
    for body in ({"finding": "nothing", "fix": "trim"}, {"finding": twins["id"], "fix": "explode"}):
        answer = server.call("POST", path(project, "fix"), json=body)
        assert answer.status_code in (400, 404), answer.text


def test_crops_by_hand_are_what_is_written(server: Server, project: Project) -> None:
    prepared(server, project, "crop")
    first = server.data("GET", path(project, "sources"))["sources"][0]
    assert first["proposal"] == first["crops"] and (first["width"], first["height"]) == (320, 320)
    crop = {"left": 10.0, "top": 60.0, "right": 138.0, "bottom": 188.0, "width": 128, "height": 128, "mirror": False}
    changed = server.data("PUT", path(project, "sources", first["id"], "crops"), json={"crops": [crop]})
    assert changed["by_hand"] and changed["crops"][0]["right"] == 138.0
    again = server.data("GET", path(project, "sources", first["id"]))  # survives a reload
    assert again["crops"] == changed["crops"] and again["changed"]
    shown = server.call("GET", path(project, "sources", first["id"], "preview"))
    assert Image.open(BytesIO(shown.content)).size == (128, 128) and shown.headers["content-type"] == "image/jpeg"
    server.data("POST", path(project, "apply"))
    finished(server, project)
    picture = next(each for each in list_pictures(project) if each.name == "0.png")
    written = np.asarray(Image.open(picture.path))
    original = np.asarray(Image.open(project.path("images") / "0.png"))[60:188, 10:138]
    assert np.array_equal(written, original)
    server.data("POST", path(project, "crops", "all"), json={"source": first["id"]})
    others = server.data("GET", path(project, "sources"))["sources"][1:]
    assert all(other["crops"][0]["left"] == 10.0 and other["by_hand"] for other in others)
    reset = server.data("POST", path(project, "sources", first["id"], "crops", "reset"))
    assert not reset["by_hand"] and reset["crops"] == first["crops"]


@pytest.mark.parametrize(
    "crops",
    [
        [], [{}], ["x"], [None], [{"left": 0, "top": 0, "right": 10}] , [{"left": "a", "top": 0, "right": 9, "bottom": 9, "width": 9, "height": 9}],
        [{"left": 0, "top": 0, "right": 1e308, "bottom": 1e308, "width": 10**9, "height": 16}],
        [{"left": 5, "top": 5, "right": 5, "bottom": 5, "width": 64, "height": 64}],
        [{"left": 0, "top": 0, "right": 64, "bottom": 64, "width": 64, "height": 64, "evil": 1}],
        [{"left": 0, "top": 0, "right": 64, "bottom": 64, "width": 64, "height": 64}] * 40,
    ],
)  # fmt: skip
def test_hostile_crops_are_refused(server: Server, project: Project, crops: list[object]) -> None:
    source = server.data("GET", path(project, "sources"))["sources"][0]
    answer = server.call("PUT", path(project, "sources", source["id"], "crops"), json={"crops": crops})
    assert 400 <= answer.status_code < 500, answer.text
    assert not server.data("GET", path(project, "sources", source["id"]))["by_hand"]


def test_masks_by_hand(server: Server, project: Project) -> None:
    values = {**SETTINGS, "matte": {"background": "white", "matte": "grabcut"}}
    server.data("PUT", path(project, "settings"), json={"settings": values})
    server.data("POST", path(project, "start"), json={"steps": ["matte"]})
    finished(server, project)
    source = server.data("GET", path(project, "sources"))["sources"][0]
    place = path(project, "sources", source["id"], "matte")
    assert source["matte"]["state"] == "model"
    mask = np.zeros((320, 320), np.uint8)
    mask[:, 160:] = 255
    body = png_bytes(Image.fromarray(mask))
    changed = server.data("PUT", place, content=body, headers=PNG)
    assert changed["matte"]["state"] == "hand" and changed["matte"]["stamp"] != source["matte"]["stamp"]
    kept = np.asarray(Image.open(BytesIO(server.call("GET", place).content)))
    assert np.array_equal(kept, mask)
    shown = server.call("GET", path(project, "sources", source["id"], "preview"))
    pixels = np.asarray(Image.open(BytesIO(shown.content)))
    assert (pixels[:, :140] > 250).all() and (pixels[:, 170:] < 250).any()
    assert server.data("DELETE", place)["matte"]["state"] == "model"
    for bad in (b"", b"<svg>", body[: len(body) // 2], png_bytes(Image.new("L", (2, 2)))):
        answer = server.call("PUT", place, content=bad, headers=PNG)
        assert 400 <= answer.status_code < 500, bad[:10]


def test_thresholds_are_tried_at_once(server: Server, tmp_path: Path) -> None:
    from tests.helpers.preparing import add, drawings

    project = photo_project(server.studio.root, 0, "character")
    for number, image in enumerate(drawings(3)):
        add(project, f"{number}.png", image)
    server.data("PUT", path(project, "settings"), json={"settings": {"tag": {"taggers": ["demo-tagger"]}}})
    server.data("POST", path(project, "start"), json={"steps": ["tag"]})
    assert finished(server, project)["last"]["error"] is None
    shown = {}
    for threshold in (0.01, 0.5, 0.99):
        body = {"settings": {"threshold": threshold}, "offset": 0, "limit": 10}
        shown[threshold] = server.data("POST", path(project, "tags", "preview"), json=body)
    lengths = [len(each["captions"][0]["after"]) for each in shown.values()]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[2]
    assert shown[0.5]["total"] == 3 and shown[0.5]["counts"][0]["count"] == 3
    assert [picture.caption for picture in list_pictures(project)] == ["", "", ""]


def test_buckets(server: Server, project: Project) -> None:
    prepared(server, project, "crop")
    shown = server.data("GET", path(project, "buckets"))
    assert sum(len(bucket["pictures"]) for bucket in shown["buckets"]) == 3
    bucket = shown["buckets"][0]
    assert shown["resolution"] == [128, 128] and (bucket["width"], bucket["height"]) == (128, 128)
    assert bucket["lost"] == pytest.approx(0.25, abs=0.01) and bucket["enlarged"] == 0  # of 320 x 240


def test_settings_are_checked(server: Server, project: Project) -> None:
    for values in ({"crop": {"crop": "spiral"}}, {"nothing": {}}, {"crop": {"width": 1}}, {"matte": {"colour": "red"}},
                   {"tag": {"threshold": "0.5"}}, {"tag": {"exclude": ["x" * 1000]}}, 5, None):  # fmt: skip
        answer = server.call("PUT", path(project, "settings"), json={"settings": values})
        assert 400 <= answer.status_code < 500, values
    groups = server.data("GET", path(project, "schema"))["groups"]
    assert [group["name"] for group in groups] == ["check", "crop", "matte", "tag"]


def test_wrong_calls(server: Server, project: Project) -> None:
    answer = server.call("POST", path(project, "start"), json={"steps": ["dance"]})
    assert error_code(answer) == "prepare.step"
    for place in ("view", "thumbnail", "preview", "matte"):
        assert server.call("GET", path(project, "sources", "0" * 16, place)).status_code == 404
    empty = server.data("POST", "/projects", status=201, json={"title": "empty"})
    answer = server.call("POST", f"/projects/{empty['id']}/prepare/start", json={"steps": ["check"]})
    assert error_code(answer) == "prepare.no_pictures"


def test_train_now_goes_through_it(server: Server, project: Project) -> None:
    server.data("PUT", path(project, "settings"), json={"settings": SETTINGS})
    names = [each["name"] for each in server.data("GET", "/checkpoints")["checkpoints"]]
    wishes = {"kind": "object", "choice": "quick", "checkpoint": names[0]}
    body = {"steps": ["check", "crop", "matte", "tag"], "apply": True, "train": wishes}
    server.data("POST", path(project, "start"), json=body)
    shown = finished(server, project)
    assert shown["last"]["error"] is None, shown["last"]
    assert sizes(project) == {(320, 240)}
    runs = server.data("GET", f"/projects/{project.id}/runs")["runs"]
    assert len(runs) == 1
    answer = server.call("POST", path(project, "undo"), json={"id": shown["undo"]["id"]})
    assert (answer.status_code, error_code(answer)) == (409, "prepare.training")
    server.data("POST", f"/jobs/{runs[0]['job']}/stop")


def test_models_are_listed_and_not_fetched_where_offline(server: Server) -> None:
    shown = server.data("GET", "/models")
    names = {model["name"] for model in shown["models"]}
    assert {"wd-vit-tagger-v3", "isnet-anime", "birefnet-lite", "yunet"} <= names and shown["offline"]
    assert all(model["licence"] and model["state"] == "missing" for model in shown["models"])
    assert error_code(server.call("POST", "/models/no-such/fetch")) == "models.unknown"


def test_strangers_cannot_download(tmp_path: Path) -> None:
    server = Server(tmp_path, Exposure(local=False, open_rest=True))
    assert error_code(server.call("POST", "/models/yunet/fetch")) == "prepare.no_downloads"
    assert server.data("GET", "/models")["folder"] == ""
