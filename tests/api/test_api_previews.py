"""Grids over the routes, drawn with a real model: from a trained run to a picked file, and everything on the way."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from lib_lora_train.access import Exposure
from tests.helpers.rest import LONG, SMALL_GRID, Server, error_code

FILE = "Zuna-r01-step00000002"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A server's folder with a project, a run of two files and a drawn grid; to be copied, not written into."""
    folder = tmp_path_factory.mktemp("previews")
    server = Server(folder, Exposure(), tiny_checkpoint.parent)
    project = server.filled()
    server.wait(server.start(project)["job"], "done")
    server.draw(project)
    assert server.studio.close(timeout=60)
    return folder


@pytest.fixture
def server(trained: Path, tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Server]:
    root = tmp_path / "server"
    shutil.copytree(trained, root)
    server = Server(root, Exposure(), tiny_checkpoint.parent)
    yield server
    assert server.studio.close(timeout=60)


def home(server: Server) -> str:
    return f"/projects/{server.data('GET', '/projects')['projects'][0]['id']}"


def project_id(server: Server) -> str:
    return home(server).rpartition("/")[2]


def changed(**settings: Any) -> dict[str, Any]:
    return {"settings": {**SMALL_GRID["settings"], **settings}}


def cells(server: Server, grid: dict[str, Any]) -> dict[str, bytes]:
    place = f"{home(server)}/grids/{grid['id']}/cells"
    return {each["key"]: server.call("GET", f"{place}/{each['key']}").content for each in grid["cells"]}


def with_lora(grid: dict[str, Any], weight: float = 0.5) -> str:
    """The key of a cell of the first file."""
    return next(each["key"] for each in grid["cells"] if each["column"] == 0 and each["weight"] == weight)


def test_the_way_from_a_run_to_a_grid(server: Server) -> None:
    grids = f"{home(server)}/grids"
    plan = server.data("POST", f"{grids}/plan", json=changed(seeds="1, 2, 3"))
    assert (plan["size"], plan["new"], plan["kept"], plan["grid"]) == (15, 5, 10, "")
    assert [each["label"] for each in plan["columns"]] == [FILE, FILE.replace("2", "3")]
    assert [(each["epoch"], each["step"], each["run"], each["there"]) for each in plan["columns"]] == [(0, 2, "r01", True), (0, 3, "r01", True)]  # fmt: skip
    assert plan["bases"] == ["tiny"] and plan["weights"] == [0, 0.5, 1] and plan["seeds"] == [1, 2, 3]
    assert plan["prompts"] == [{"text": "zuna, girl", "kind": "own", "label": "", "asks": ["girl"]}]
    assert 0 < plan["seconds"] < 600 and plan["settings"]["sampler"] == "DDIM"

    listed = server.data("GET", grids)
    assert set(listed) == {"grids", "schema", "samplers", "trash", "picks", "picking", "tools"}
    assert [each["name"] for each in listed["schema"]][:3] == ["weights", "seeds", "prompts"]
    assert listed["samplers"] == ["DDIM", "Euler"]
    [line] = listed["grids"]
    assert (line["id"], line["title"], line["runs"], line["state"], line["job"]) == ("g01", "r01", ["r01"], "done", None)  # fmt: skip
    assert (line["cells"], line["made"], line["columns"], line["prompts"]) == (10, 10, 2, 1)
    assert line["recommended"]["weight"] in (0.5, 1)

    shown = server.data("GET", f"{grids}/g01")
    assert len(shown["cells"]) == 10 and all(each["made"] and not each["stars"] for each in shown["cells"])
    assert {each["column"] for each in shown["cells"]} == {-1, 0, 1}
    assert shown["cost"]["drawn"] == 10 and shown["cost"]["switches"] == 4 and shown["cost"]["seconds"] > 0
    assert {each["name"] for each in shown["scores"]["names"]} >= {"likeness", "obedience", "collapse", "copying"}
    assert len(shown["scores"]["places"]) == 5 and shown["scores"]["whole"]
    [curve] = shown["scores"]["curve"]
    assert curve["run"] == "r01" and [point["step"] for point in curve["points"]] == [2, 3]
    assert shown["recommendation"]["cell"] in {each["key"] for each in shown["cells"]}
    assert shown["recommendation"]["reason"] and shown["recommendation"]["file"].endswith(".safetensors")
    assert "cells" not in server.data("GET", f"{grids}/g01?cells=false")


def test_the_same_question_goes_on_and_another_axis_draws_only_what_is_new(server: Server) -> None:
    project = project_id(server)
    assert server.draw(project) == "g01"
    more = server.draw(project, changed(weights="0, 0.5, 0.7, 1"))
    shown = server.data("GET", f"{home(server)}/grids/{more}")
    assert more == "g02" and shown["size"] == 14 and shown["cost"]["drawn"] == 4
    again = server.draw(project, {**changed(weights="0, 1"), "grid": "g01"})
    assert again == "g01" and server.data("GET", f"{home(server)}/grids/g01")["size"] == 6


def test_pictures_of_a_cell(server: Server) -> None:
    place = f"{home(server)}/grids/g01"
    shown = server.data("GET", place)
    key = with_lora(shown)
    answer = server.call("GET", f"{place}/cells/{key}")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (64, 64) and f"<lora:{FILE}:0.5>" in picture.text["parameters"]
    small = server.call("GET", f"{place}/cells/{key}/thumbnail")
    assert small.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(small.content)).size == (64, 64)
    path = server.root / "projects" / project_id(server) / "grids" / "cells" / f"{key}.png"
    Image.new("RGB", (32, 32)).save(path)  # drawn again while the small one was made of the old one: it looks older
    os.utime(path, (1_000, 1_000))
    other = server.call("GET", f"{place}/cells/{key}/thumbnail")
    assert Image.open(io.BytesIO(other.content)).size == (32, 32)
    path.write_bytes(answer.content)
    text = server.data("GET", f"{place}/cells/{key}/text")
    assert text["prompt"] == f"zuna, girl <lora:{FILE}:0.5>" and text["infotext"] == picture.text["parameters"]
    assert (text["lora"], text["weight"], text["seed"], text["name"]) == (FILE, 0.5, 1, "Zuna 2")
    assert (text["trigger"], text["others"]) == ("zuna", 1)

    plain = next(each["key"] for each in shown["cells"] if each["column"] < 0 and each["seed"] == 1)
    other = Image.open(io.BytesIO(server.call("GET", f"{place}/cells/{plain}").content)).convert("RGB")
    apart = ImageChops.difference(picture.convert("RGB"), other)
    most = max(high for _, high in apart.getextrema())
    seen = Image.open(io.BytesIO(server.call("GET", f"{place}/difference/{key}").content))
    assert max(high for _, high in seen.getextrema()) == (255 if most else 0)
    nothing = Image.open(io.BytesIO(server.call("GET", f"{place}/difference/{plain}").content))
    assert nothing.getextrema() == ((0, 0),) * 3
    told = server.data("GET", f"{place}/cells/{plain}/text")
    assert (told["prompt"], told["lora"], told["weight"], told["name"]) == ("zuna, girl", "", 0.0, "")


@pytest.mark.parametrize("key", ["0" * 32, "x", "..%2Fgrid.json", "%2e%2e", "A" * 32, "%00"])
def test_no_other_file_is_a_cell(server: Server, key: str) -> None:
    place = f"{home(server)}/grids/g01"
    foreign = server.root / "projects" / project_id(server) / "grids" / "cells" / f"{'0' * 32}.png"
    Image.new("RGB", (8, 8)).save(foreign)  # a picture of the project, and of no grid
    for address in (f"cells/{key}", f"cells/{key}/thumbnail", f"cells/{key}/text", f"difference/{key}"):
        answer = server.call("GET", f"{place}/{address}")
        assert answer.status_code == 404 and error_code(answer) in ("preview.no_cell", "api.no_route")
    assert error_code(server.call("GET", f"{home(server)}/grids/g99")) == "previews.no_grid"
    assert error_code(server.call("GET", f"{home(server)}/grids/cells")) == "previews.no_grid"


def test_exports(server: Server) -> None:
    place = f"{home(server)}/grids/g01/export"
    sheet = server.call("GET", f"{place}?as=png")
    assert sheet.headers["content-disposition"].startswith('attachment; filename="Zuna g01.png"')
    assert Image.open(io.BytesIO(sheet.content)).width > 4 * 64
    table = list(csv.DictReader(io.StringIO(server.call("GET", f"{place}?as=csv").content.decode("utf-8-sig"))))
    assert len(table) == 10 and {row["seed"] for row in table} == {"1", "2"}
    packed = zipfile.ZipFile(io.BytesIO(server.call("GET", f"{place}?as=zip").content))
    assert packed.testzip() is None
    names = packed.namelist()
    assert {"grid.png", "scores.csv", "plot.txt", "recommendation.json"} <= set(names)
    pictures = [name for name in names if name.startswith("cells/")]
    assert len(pictures) == len(set(pictures)) == 10 and f"cells/{FILE}-f01-w0.5-p01-s1.png" in pictures
    assert json.loads(packed.read("recommendation.json"))["recommendation"]["cell"]
    plot = server.call("GET", f"{place}?as=plot").text
    assert "Script: X/Y/Z plot" in plot and FILE in plot
    wrong = server.call("GET", f"{place}?as=exe")
    assert (wrong.status_code, error_code(wrong)) == (400, "previews.export_kind")
    cache = server.root / "projects" / project_id(server) / ".cache" / "grids"
    assert [path.name for path in cache.iterdir() if path.name.startswith("export")] == []


def test_stopped_and_gone_on_with_it_is_the_same_grid(server: Server) -> None:
    project = project_id(server)
    place = f"{home(server)}/grids"
    body = changed(steps=8, seeds="1, 2, 3, 4", weights="0, 0.3, 0.6", height=72)
    grid = server.data("POST", place, 201, json=body)["grid"]
    while not server.data("GET", f"{place}/{grid}?cells=false")["made"]:
        time.sleep(0.01)
    server.data("POST", f"{place}/{grid}/stop")
    shown = server.drawn(project, grid, "stopped")
    assert 0 < shown["made"] < shown["size"] == 20 and shown["cost"]["drawn"] == shown["made"]
    assert server.data("POST", f"{place}/{grid}/continue")["state"] in ("running", "queued", "done")
    shown = server.drawn(project, grid)
    assert shown["made"] == 20 == shown["cost"]["drawn"]
    first = cells(server, shown)
    folder = server.root / "projects" / project / "grids" / "cells"
    (folder / f"{with_lora(shown, 0.3)}.png").unlink()
    (folder / f"{with_lora(shown, 0.6)}.png").write_bytes(b"\x89PNG, and then the power went")
    server.data("POST", f"{place}/{grid}/continue")
    shown = server.drawn(project, grid)
    assert shown["made"] == 20 and cells(server, shown) == first
    server.data("POST", f"{place}/{grid}/redraw", json={"cells": list(first)})
    shown = server.drawn(project, grid)
    assert cells(server, shown) == first and shown["cost"]["drawn"] == 20 + 2 + 20


def test_a_picture_that_is_drawn_again_stays_until_the_new_one_is_there(server: Server) -> None:
    place, project = f"{home(server)}/grids", project_id(server)
    grid = server.data("POST", place, 201, json=changed(steps=60, seeds="11, 12"))["grid"]
    shown = server.drawn(project, grid)
    before = cells(server, shown)
    folder = server.root / "projects" / project / "grids" / "cells"
    written = {key: (folder / f"{key}.png").stat().st_mtime_ns for key in before}
    began = server.data("POST", f"{place}/{grid}/redraw", json={"cells": list(before)})
    assert began["state"] == "running" and began["made"] < began["size"] and began["drawn"] != shown["drawn"]
    while (now := server.data("GET", f"{place}/{grid}?cells=false"))["job"] and not now["made"]:
        assert cells(server, shown) == before
    server.data("POST", f"{place}/{grid}/stop")
    shown = server.drawn(project, grid, "done")  # nothing is missing
    assert cells(server, shown) == before and shown["made"] == shown["size"]
    again = [key for key in before if (folder / f"{key}.png").stat().st_mtime_ns != written[key]]
    assert 0 < len(again) < len(before)


def test_a_grid_whose_process_died_goes_on(server: Server) -> None:
    folder = server.root / "projects" / project_id(server) / "grids"
    record = json.loads((folder / "g01" / "job" / "job.json").read_text(encoding="utf-8"))
    (folder / "g01" / "job" / "job.json").write_text(json.dumps({**record, "state": "running", "ended": None}))
    for path in sorted((folder / "cells").iterdir())[:3]:
        path.unlink()
    place = f"{home(server)}/grids/g01"
    shown = server.data("GET", place)
    assert (shown["state"], shown["job"], shown["made"]) == ("interrupted", None, 7)
    server.data("POST", f"{place}/continue")
    assert server.drawn(project_id(server), "g01")["made"] == 10


def test_while_a_grid_is_drawn(server: Server) -> None:
    """It is not drawn twice, changed or deleted, nor is its project; a second one waits in line."""
    place = f"{home(server)}/grids"
    body = changed(steps=150, seeds="5, 6, 7, 8")
    started = server.data("POST", place, 201, json=body)
    grid = started["grid"]
    assert started["state"] == "running" and started["job"]["mine"]
    assert set(started["job"]) == {"id", "state", "stage", "done", "total", "remaining", "stopping", "mine"}
    assert server.data("POST", place, 201, json=body)["grid"] == grid
    second = server.data("POST", place, 201, json=changed(steps=150, seeds="9"))
    assert second["state"] == "queued"
    other = {**changed(steps=3), "grid": grid}
    for method, address, sent in (
        ("POST", f"/{grid}/continue", {}),
        ("POST", f"/{grid}/redraw", {"cells": []}),
        ("POST", "", other),
        ("DELETE", f"/{grid}", None),
    ):
        answer = server.call(method, place + address, **({} if sent is None else {"json": sent}))
        assert (answer.status_code, error_code(answer)) == (409, "previews.busy"), address
    assert error_code(server.call("DELETE", home(server))) == "studio.project_lives"
    for each in (second["grid"], grid):
        assert server.data("POST", f"{place}/{each}/stop")["id"] == each
        server.drawn(project_id(server), each, "stopped")
    assert server.data("GET", "/live")["running"] is None  # a grid is no run


def test_stars_and_switches_decide(server: Server) -> None:
    place = f"{home(server)}/grids/g01"
    shown = server.data("GET", place)
    starred = next(each for each in shown["cells"] if (each["column"], each["weight"]) == (1, 1))
    told = server.data("PUT", f"{place}/stars", json={"cell": starred["key"], "stars": 5})
    assert (told["recommendation"]["cell"], told["recommendation"]["starred"]) == (starred["key"], True)
    assert {each["key"]: each["stars"] for each in server.data("GET", place)["cells"] if each["stars"]} == {starred["key"]: 5}  # fmt: skip
    assert not server.data("PUT", f"{place}/stars", json={"cell": starred["key"], "stars": 0})["recommendation"]["starred"]  # fmt: skip
    for stars in (-1, 6, 10**30):
        assert error_code(server.call("PUT", f"{place}/stars", json={"cell": starred["key"], "stars": stars})) == "previews.stars"  # fmt: skip
    assert error_code(server.call("PUT", f"{place}/stars", json={"cell": "0" * 32, "stars": 1})) == "preview.no_cell"
    told = server.data("PUT", f"{place}/scores", json={"on": ["copying"]})
    assert [each["name"] for each in told["scores"]["names"] if each["on"]] == ["copying"]
    assert set(told["cells"][0]["scores"]) <= {"copying"}
    assert error_code(server.call("PUT", f"{place}/scores", json={"on": ["beauty"]})) == "previews.score"
    server.draw(project_id(server))  # once more: what is switched off stays so
    assert [each["on"] for each in server.data("GET", place)["scores"]["names"]].count(True) == 1
    assert server.data("PUT", f"{place}/scores", json={"on": []})["recommendation"] is None


def test_a_tagger_that_is_there_judges(server: Server) -> None:
    pytest.importorskip("onnxruntime", reason="runs a tagger")
    from tests.helpers.taggers import write_fixed

    write_fixed(server.root / "models" / "mine", [0.9, 0.5], [("1girl", 0), ("red_hair", 0)])
    shown = server.data("GET", f"{home(server)}/grids/{server.draw(project_id(server), changed(prompts='zuna, 1girl, red hair'))}")  # fmt: skip
    assert server.data("GET", f"{home(server)}/grids")["tools"] == {"tagger": "mine", "embedding": False}
    assert all(each["scores"]["obedience"] is not None for each in shown["cells"])


def test_a_deleted_grid_comes_back(server: Server) -> None:
    place = f"{home(server)}/grids"
    before = server.data("GET", f"{place}/g01")
    trash_id = server.data("DELETE", f"{place}/g01")["trash_id"]
    assert server.call("GET", f"{place}/g01").status_code == 404
    listed = server.data("GET", place)
    assert listed["grids"] == [] and [each["trash_id"] for each in listed["trash"]] == [trash_id]
    assert server.draw(project_id(server)) == "g02"  # a number is not given twice, and pictures are still there
    assert server.data("GET", f"{place}/g02")["cost"] is None
    assert server.data("POST", f"{place}/restore", json={"trash_id": trash_id}) == {"grid": "g01"}
    after = server.data("GET", f"{place}/g01")
    assert {name: after[name] for name in before} == before
    for wrong in (trash_id, "../g02", "x"):
        answer = server.call("POST", f"{place}/restore", json={"trash_id": wrong})
        assert (answer.status_code, error_code(answer)) == (404, "previews.not_in_trash")


def test_a_cell_is_used_and_that_is_undone(server: Server) -> None:
    place, loras = f"{home(server)}/grids", server.root / "loras"
    key = with_lora(server.data("GET", f"{place}/g01"))
    made = server.data("POST", f"{place}/g01/pick", json={"cell": key, "name": "祖 'A'", "notes": "mine"})
    assert made["matched"] == made["total"] > 0 and made["difference"] <= 2 and made["weight"] == 0.5
    assert made["card"]["activation text"] == "zuna" and made["card"]["preferred weight"] == 0.5
    assert "<lora:祖 'A':0.5>" in made["infotext"]
    assert {path.name for path in loras.glob("祖*")} == {"祖 'A'.safetensors", "祖 'A'.png", "祖 'A'.json"}
    text = server.data("GET", f"{place}/g01/cells/{key}/text")
    assert text["usable"] == "祖 'A'" and text["paste"] == text["infotext"].replace(FILE, "祖 'A'")
    for part, ending in (("lora", ".safetensors"), ("card", ".json"), ("picture", ".png")):
        answer = server.call("GET", f"{place}/picks/{made['pick']}/{part}")
        assert answer.content == (loras / f"祖 'A'{ending}").read_bytes()
        assert answer.headers["content-disposition"].endswith(f"%E7%A5%96%20%27A%27{ending}")
    assert server.call("GET", f"{place}/picks/{made['pick']}/pick.json").status_code in (400, 422)
    assert [each["pick"] for each in server.data("GET", place)["picks"]] == [made["pick"]]
    other = next(each["key"] for each in server.data("GET", f"{place}/g01")["cells"] if each["column"] == 1)
    clash = server.call("POST", f"{place}/g01/pick", json={"cell": other, "name": "祖 'A'"})
    assert (clash.status_code, error_code(clash)) == (409, "picking.taken")
    assert clash.json()["free"] == "祖 'A' 2"
    assert server.data("POST", f"{place}/unpick", json={"pick": made["pick"]})["state"] == "undone"
    assert list(loras.glob("祖*")) == []
    assert error_code(server.call("GET", f"{place}/picks/{made['pick']}/lora")) == "picking.no_pick"
    assert server.data("GET", f"{place}/g01/cells/{key}/text")["usable"] == FILE
    assert error_code(server.call("POST", f"{place}/unpick")) == "picking.no_pick"
    plain = next(each["key"] for each in server.data("GET", f"{place}/g01")["cells"] if each["column"] < 0)
    assert error_code(server.call("POST", f"{place}/g01/pick", json={"cell": plain, "name": "x"})) == "previews.without_lora"  # fmt: skip


def test_a_pick_is_watched_and_goes_between_two_batches_of_a_grid(server: Server) -> None:
    place = f"{home(server)}/grids"
    assert server.data("GET", place)["picking"] is None
    key = with_lora(server.data("GET", f"{place}/g01"))
    grid = server.data("POST", place, 201, json=changed(steps=12, seeds="21, 22, 23, 24"))["grid"]
    while not server.data("GET", f"{place}/{grid}?cells=false")["made"]:
        time.sleep(0.01)
    told = server.data("POST", f"{place}/g01/pick", json={"cell": key, "name": "Watched", "wait": False})["picking"]
    shown = {"id", "grid", "cell", "name", "state", "stage", "stopping", "mine", "result", "error"}
    assert set(told) == shown and (told["grid"], told["cell"], told["name"], told["mine"]) == ("g01", key, "Watched", True)  # fmt: skip
    while (told := server.data("GET", place)["picking"])["state"] in ("queued", "running"):
        assert told["result"] is None and told["error"] is None
        time.sleep(0.01)
    assert told["state"] == "done" and told["result"]["name"] == "Watched" and told["result"]["difference"] <= 2
    assert server.data("GET", f"{place}/{grid}?cells=false")["state"] == "running"
    assert (server.root / "loras" / "Watched.safetensors").is_file()
    drawn = server.drawn(project_id(server), grid)
    assert drawn["made"] == drawn["size"] == drawn["cost"]["drawn"] == 20
    clash = server.call("POST", f"{place}/g01/pick", json={"cell": with_lora(server.data("GET", f"{place}/g01"), 1), "name": "Zuna 2", "weight": 99, "wait": False})  # fmt: skip
    assert error_code(clash) == "picking.weight"  # what can be told at once is


def test_a_pick_that_waits_can_be_cancelled(server: Server) -> None:
    place = f"{home(server)}/grids"
    assert server.data("POST", f"{place}/cancel-pick")["picking"] is None
    key = with_lora(server.data("GET", f"{place}/g01"))
    with server.studio.host.session():
        server.data("POST", f"{place}/g01/pick", json={"cell": key, "name": "Never", "wait": False})
        assert error_code(server.call("DELETE", home(server))) == "studio.project_lives"
        server.data("POST", f"{place}/cancel-pick")
        job = server.studio.previews.picking.line.registry.running()
        assert job is None or job.wait(60)
    told = server.data("GET", place)["picking"]
    assert (told["state"], told["result"], told["error"]) == ("stopped", None, None)
    assert not list((server.root / "loras").glob("*Never*")) and server.data("GET", place)["picks"] == []


def test_the_other_checkpoints_move_and_the_grid_still_shows_them(server: Server) -> None:
    place = f"{home(server)}/grids"
    grid = server.data("GET", f"{place}/g01")
    made = server.data("POST", f"{place}/g01/pick", json={"cell": with_lora(grid), "name": "Best", "others": "move", "compare": False})  # fmt: skip
    assert made["moved"] >= 1 and made["difference"] is None
    after = server.data("GET", f"{place}/g01")
    assert [each["there"] for each in after["columns"]] == [True, True]
    assert server.data("GET", f"{place}/g01/cells/{with_lora(grid)}/text")["usable"] == "Best"
    other = next(each["key"] for each in grid["cells"] if each["column"] == 1)
    text = server.data("GET", f"{place}/g01/cells/{other}/text")  # the file is in the run's folder now
    assert (text["usable"], text["paste"]) == ("", "")
    server.data("POST", f"{place}/g01/redraw", json={"cells": [other]})
    assert server.drawn(project_id(server), "g01")["made"] == 10


def test_tools_make_files_from_files(server: Server) -> None:
    place = f"{home(server)}/grids/tools"
    told = server.data("GET", place)
    assert [each["name"] for each in told["tools"]] == ["resize", "merge", "scrub", "convert"] and FILE in told["files"]
    other = FILE.replace("2", "3")
    assert server.data("POST", f"{place}/resize", json={"files": [FILE], "name": "Small", "rank": 1})["rank"] == [1, 1]
    merged = server.data("POST", f"{place}/merge", json={"files": [FILE, f"{other}.safetensors"], "weights": [1, 0.5], "name": "Sum"})  # fmt: skip
    assert merged["rank"] == [4, 4] and merged["file"] == "Sum.safetensors" and merged["bytes"] > 0
    assert server.data("POST", f"{place}/convert", json={"files": [FILE], "name": "Full", "precision": "fp32"})["precision"] == "fp32"  # fmt: skip
    server.data("POST", f"{place}/scrub", json={"files": [FILE], "name": "Clean"})
    assert {"Small", "Sum", "Full", "Clean"} <= set(server.data("GET", place)["files"])
    answer = server.call("GET", f"{place}/files/Sum.safetensors")
    assert answer.content == (server.root / "loras" / "Sum.safetensors").read_bytes()
    assert 'filename="Sum.safetensors"' in answer.headers["content-disposition"]
    for wrong in ("nobody", "..%2F..%2Fsecret", "tiny"):
        assert error_code(server.call("GET", f"{place}/files/{wrong}")) in (
            "run.no_lora",
            "api.no_route",
            "api.no_page",
        )
    for tool, body, code in (
        ("resize", {"files": [FILE], "name": "y"}, "previews.rank"),
        ("resize", {"files": [FILE], "name": "y", "rank": 0}, "reshape.rank"),
        ("resize", {"files": [FILE, other], "name": "y", "rank": 1}, "previews.one_file"),
        ("merge", {"files": [FILE], "weights": [1], "name": "y"}, "reshape.few"),
        ("convert", {"files": [FILE], "name": "y"}, "previews.precision"),
        ("convert", {"files": [FILE], "name": "small", "precision": "fp16"}, "picking.taken"),
        ("convert", {"files": [FILE], "name": "../y", "precision": "fp16"}, "picking.name"),
        ("convert", {"files": ["../../y"], "name": "y", "precision": "fp16"}, "run.no_lora"),
        ("explode", {"files": [FILE], "name": "y"}, "previews.tool"),
    ):
        assert error_code(server.call("POST", f"{place}/{tool}", json=body)) == code, (tool, body)
    assert not [path.name for path in server.root.rglob("y.*")]


def test_a_sweep_stands_in_one_grid(server: Server) -> None:
    place = f"{home(server)}/grids"
    planned = server.data("POST", f"{place}/sweep", json={"values": {"network.network_dim": [2, 4]}})
    assert [each["label"] for each in planned["runs"]] == ["network_dim 2", "network_dim 4"] and not planned["started"]
    changed_in = [{each["setting"]: each["value"] for each in run["settings"]} for run in planned["runs"]]
    assert [each["network.network_dim"] for each in changed_in] == [2, 4]
    assert all(each["steps"] > 0 and each["problem"] is None for each in planned["runs"])
    refused = server.data("POST", f"{place}/sweep", json={"values": {"network_weights": ["", "nothing"]}})
    assert [each["problem"] and each["problem"]["code"] for each in refused["runs"]] == [None, "run.no_lora"]
    assert len(server.data("GET", f"{home(server)}/runs")["runs"]) == 1
    started = server.data("POST", f"{place}/sweep", json={"values": {"network_dim": [2, 4]}, "start": True})
    for run in started["runs"]:
        server.wait(run["job"], "done")
    assert [run["run"] for run in started["runs"]] == ["r02", "r03"]
    grid = server.draw(project_id(server), {**changed(seeds="1"), "runs": ["r02", "r03"]})
    shown = server.data("GET", f"{place}/{grid}")
    assert [each["run"] for each in shown["columns"]] == ["r02", "r02", "r03", "r03"]
    assert shown["columns"][2]["label"].endswith("(network_dim 4)") and shown["title"] == "r02, r03"
    assert {each["run"] for each in shown["scores"]["curve"]} == {"r02", "r03"}
    assert error_code(server.call("POST", f"{place}/sweep", json={"values": {"x": [1]}})) == "settings.unknown"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"runs": ["r99"]}, "project.no_run"),
        ({"runs": ["../../x"]}, "path.outside"),
        ({"files": ["nobody"]}, "run.no_lora"),
        ({"bases": ["/etc"]}, "host.checkpoint_missing"),
        ({"settings": []}, "settings.not_a_table"),
        ({"settings": {"with": 1}}, "settings.unknown"),
        ({"settings": {"width": 65}}, "grid.side"),
        ({"settings": {"width": 10**6}}, "settings.bounds"),
        ({"settings": {"weights": "1, x"}}, "preview.weights"),
        ({"settings": {"seeds": "-1"}}, "preview.seeds"),
        ({"settings": {"sampler": "Magic"}}, "host.sampler"),
        ({"settings": {"prompts": "x" * 2000}}, "scores.long_prompt"),
        ({"runs": [f"r{n:03}" for n in range(99)]}, "previews.named"),
        ({"grid": "g77"}, "previews.no_grid"),
    ],
)
def test_what_cannot_be_made(server: Server, body: dict[str, Any], code: str) -> None:
    answer = server.call("POST", f"{home(server)}/grids", json={**changed(seeds="7"), **body})
    assert error_code(answer) == code and answer.status_code in (400, 404)
    assert [each["id"] for each in server.data("GET", f"{home(server)}/grids")["grids"]] == ["g01"]


def test_files_of_the_lora_folder_and_defaults(server: Server) -> None:
    """A file by its name, with what the checkpoint was made for; without a name the newest run."""
    plan = server.data("POST", f"{home(server)}/grids/plan", json={"files": ["Zuna"]})
    assert [each["run"] for each in plan["columns"]] == [""] and plan["settings"]["width"] == 64
    assert {each["kind"] for each in plan["prompts"]} == {"caption", "template", "leak"} and plan["bases"] == ["tiny"]
    both = server.data("POST", f"{home(server)}/grids/plan", json={"runs": ["r01"], "files": ["Zuna"]})
    assert [each["run"] for each in both["columns"]] == ["r01", "r01"]  # the published copy is the last file
    empty = server.project("Nothing")
    answer = server.call("POST", f"/projects/{empty}/grids/plan")
    assert (answer.status_code, error_code(answer)) == (400, "preview.nothing")


def test_a_training_has_the_model(server: Server) -> None:
    """A grid waits for it and can be stopped; nothing is published meanwhile."""
    job = server.start(project_id(server), LONG)["job"]
    place = f"{home(server)}/grids"
    while not (server.data("GET", "/live")["running"] or {"step": 1})["step"]:
        time.sleep(0.01)
    grid = server.data("POST", place, 201, json=changed(seeds="11"))["grid"]
    key = with_lora(server.data("GET", f"{place}/g01"))
    assert error_code(server.call("POST", f"{place}/g01/pick", json={"cell": key, "name": "x"})) == "previews.model_busy"  # fmt: skip
    assert server.data("GET", f"{place}/{grid}?cells=false")["state"] == "running"
    server.data("POST", f"{place}/{grid}/stop")
    server.drawn(project_id(server), grid, "stopped")
    server.data("POST", f"/jobs/{job}/stop")
    server.wait(job, "stopped")


def test_where_strangers_reach_the_server(trained: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    shutil.copytree(trained, tmp_path / "server")
    server = Server(tmp_path / "server", Exposure(local=False), tiny_checkpoint.parent)
    page = server.page()
    place = f"/projects/{server.data('GET', '/projects', headers=page)['projects'][0]['id']}/grids"
    many = changed(seeds=", ".join(map(str, range(60))), weights="0, 0.2, 0.4, 0.6, 0.8, 1")
    for body in (many, changed(width=2048, height=1024)):
        answer = server.call("POST", place, page, json=body)
        assert error_code(answer) == "previews.limit"
    answer = server.call("POST", f"{place}/tools/scrub", page, json={"files": [FILE], "name": "x"})
    assert (answer.status_code, error_code(answer)) == (403, "previews.no_making")
    assert server.studio.close(timeout=60)


def test_files_of_somebody_else_are_not_there(trained: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    shutil.copytree(trained, tmp_path / "server")
    owned = next((tmp_path / "server" / "projects").glob("zuna-*")) / "project.json"
    owned.write_text(json.dumps({**json.loads(owned.read_text(encoding="utf-8")), "owner": "anna"}), encoding="utf-8")
    server = Server(tmp_path / "server", Exposure(login=True), tiny_checkpoint.parent)
    ben = server.page("ben")
    own = server.project("Ben's", headers=ben)
    for path, body in (("", {"files": [FILE]}), ("/plan", {"files": [FILE]}), ("/tools/scrub", {"files": [FILE], "name": "x"})):  # fmt: skip
        assert error_code(server.call("POST", f"/projects/{own}/grids{path}", ben, json=body)) == "run.no_lora"
    assert FILE not in server.data("GET", f"/projects/{own}/grids/tools", headers=ben)["files"]
    assert error_code(server.call("GET", f"/projects/{own}/grids/tools/files/{FILE}", ben)) == "run.no_lora"
    assert server.studio.close(timeout=60)
