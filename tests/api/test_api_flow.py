"""The whole way over the routes, on a real studio with a real model: from an empty server to a file in hand."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open

from lib_lora_train.access import Exposure
from lib_lora_train.jobs import MAX_WAITING
from tests.helpers.pictures import encoded, gradient
from tests.helpers.rest import LONG, PNG, SMALL, Server, error_code


@pytest.fixture
def server(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[Server]:
    server = Server(tmp_path, Exposure(), tiny_checkpoint.parent)
    yield server
    server.studio.close(timeout=60)


def test_from_nothing_to_a_lora(server: Server) -> None:
    # A project, pictures and captions.
    made = server.data("POST", "/projects", 201, json={"title": "Zuna 祖", "trigger_word": "zuna"})
    assert set(made) == {"id", "title", "kind", "trigger_word", "created", "runs"} and made["kind"] == "character"
    home = f"/projects/{made['id']}"
    for number in range(3):
        added = server.upload(made["id"], f"{number}.png", encoded(gradient(64, 64 + 8 * number), "PNG"))
        assert (len(added["pictures"]), added["captions"], added["skipped"]) == (1, 0, [])
        added = server.upload(made["id"], f"{number}.txt", b"zuna, girl")
        assert (added["pictures"], added["captions"]) == ([], 1)
    [concept] = server.data("GET", home)["concepts"]
    assert set(concept) == {"id", "name", "repeats", "regularization", "pictures"} and concept["pictures"] == 3
    assert server.data("PATCH", f"{home}/concepts/{concept['id']}", json={"repeats": 2})["repeats"] == 2
    pictures = server.data("GET", f"{home}/pictures", params={"concept": concept["id"], "limit": 2, "offset": 1})
    assert pictures["total"] == 3 and [each["name"] for each in pictures["pictures"]] == ["1.png", "2.png"]
    assert set(pictures["pictures"][0]) == {
        "id", "concept", "name", "width", "height", "bytes", "caption", "version", "stamp", "problem",
    }  # fmt: skip

    # A plan, and a run with settings of our own.
    plan = server.data("POST", f"{home}/plan", json={"kind": "character", "medium": "auto", "choice": "quick", "checkpoint": "tiny"})  # fmt: skip
    assert set(plan) == {"settings", "reasons", "warnings", "need", "budget", "free", "fits", "steps", "showings"}
    assert set(plan["reasons"][0]) == {"setting", "label", "value", "text"} and plan["fits"]
    assert plan["settings"]["version"] == 1 and plan["settings"]["model"]["checkpoint"] == "tiny"
    started = server.start(made["id"])
    assert set(started) == {"run", "job", "state", "place"} and started["state"] == "running"
    server.wait(started["job"], "done")
    assert server.data("GET", f"/jobs/{started['job']}")["state"] == "done"

    # What became of it.
    [run] = server.data("GET", f"{home}/runs")["runs"]
    assert set(run) == {
        "id", "project", "title", "state", "place", "created", "started", "ended", "step", "total_steps", "epoch",
        "loss", "error", "attempt", "can_resume", "lora", "job", "checkpoint", "grid", "grid_note",
    }  # fmt: skip
    assert (run["state"], run["step"], run["total_steps"], run["checkpoint"]) == ("done", 3, 3, "tiny")
    last = server.data("GET", "/live")
    assert last["running"] is None and last["queue"] == [] and last["last"] == run
    place = f"{home}/runs/{run['id']}"
    details = server.data("GET", place)
    assert details["settings"]["network"]["network_dim"] == 2
    assert {each["setting"] for each in details["changed"]} >= {"network.network_dim", "run.max_train_steps"}
    assert [file["step"] for file in details["files"]] == [2, 3]
    assert [file["published"] for file in details["files"]] == [False, True]
    assert [(each["step"], each["number"]) for each in details["samples"]] == [(0, 0), (2, 0), (3, 0)]
    metrics = server.data("GET", f"{place}/metrics")
    assert [point[0] for point in metrics["points"]] == [1, 2, 3] and metrics["last"] == 3
    assert all(len(point) == 4 for point in metrics["points"])
    assert [point[0] for point in server.data("GET", f"{place}/metrics?after=2")["points"]] == [3]
    log = server.data("GET", f"{place}/log")
    assert set(log["lines"][0]) == {"level", "text", "time"} and log["offset"] > 0
    assert server.data("GET", f"{place}/log?offset={log['offset']}") == {"lines": [], "offset": log["offset"]}

    # Its files, with their names as they are.
    sample = server.call("GET", f"{place}/samples/{details['samples'][1]['name']}")
    assert sample.headers["content-type"] == "image/png" and sample.content.startswith(b"\x89PNG")
    small = server.call("GET", f"{place}/samples/{details['samples'][1]['name']}?side=32")
    assert small.headers["content-type"] == "image/jpeg" and small.content.startswith(b"\xff\xd8")
    name = details["files"][1]["name"]
    download = server.call("GET", f"{place}/files/{name}")
    assert int(download.headers["content-length"]) == len(download.content) == details["files"][1]["bytes"]
    assert download.headers["content-type"] == "application/octet-stream"
    ascii_name = name.replace("祖", "_")
    encoded_name = name.replace("祖", "%E7%A5%96").replace(" ", "%20")
    assert download.headers["content-disposition"] == f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{encoded_name}"  # fmt: skip
    lora = server.root / "fetched.safetensors"
    lora.write_bytes(download.content)
    with safe_open(lora, "pt") as opened:
        assert opened.metadata()["ss_network_dim"] == "2" and len(list(opened.keys())) > 100


def test_a_run_is_watched_and_told_things(server: Server) -> None:
    project = server.filled()
    job = server.start(project, LONG)["job"]
    waiting = server.start(project)
    assert (waiting["state"], waiting["place"]) == ("queued", 1)
    live = server.data("GET", "/live")
    while not live["running"]["step"]:
        live = server.data("GET", "/live")
    assert set(live) == {"running", "queue", "last", "time"}
    assert set(live["running"]) == {
        "id", "project", "title", "state", "place", "created", "started", "ended", "step", "total_steps", "epoch",
        "loss", "error", "attempt", "can_resume", "lora", "job", "checkpoint", "grid", "grid_note", "paused", "stopping",
        "stage",
        "stage_done", "stage_total", "total_epochs", "loss_smoothed", "rates", "steps_per_second", "memory", "elapsed",
        "remaining", "mine", "samples",
    }  # fmt: skip
    assert live["running"]["job"] == job and live["running"]["total_steps"] == 100_000 and live["running"]["mine"]
    [queued] = live["queue"]
    assert queued == {**queued, "job": waiting["job"], "project": project, "place": 1, "mine": True}
    assert set(queued) == {"job", "project", "run", "title", "place", "mine"}

    for action, paused in (("pause", True), ("continue", False)):
        told = server.data("POST", f"/jobs/{job}/{action}")
        assert told["job"] == job and told["state"] == "running" and told["place"] == 0
        assert server.data("GET", "/live")["running"]["paused"] is paused
    server.data("POST", f"/jobs/{job}/save")
    server.data("POST", f"/jobs/{job}/sample")
    assert {each["job"]: each["state"] for each in server.data("GET", "/jobs")["jobs"]} == {
        job: "running",
        waiting["job"]: "queued",
    }
    assert error_code(server.call("POST", f"/jobs/{waiting['job']}/pause")) == "run.not_running"
    assert server.data("POST", f"/jobs/{waiting['job']}/move", json={"place": 5})["place"] == 1
    assert server.data("POST", f"/jobs/{waiting['job']}/cancel")["state"] == "stopped"
    server.data("POST", f"/jobs/{job}/stop", json={"save": True})
    server.wait(job, "stopped")
    run = server.data("GET", "/live")["last"]
    assert run["lora"].endswith(".safetensors") and run["can_resume"]

    # A project with a run in line is not deleted; a run that lives is not either.
    place = f"/projects/{project}/runs/{run['id']}"
    again = server.data("POST", f"{place}/resume", 201)
    assert again["run"] == run["id"]
    assert error_code(server.call("DELETE", place)) == "run.lives"
    busy = server.call("DELETE", f"/projects/{project}")
    assert (busy.status_code, error_code(busy)) == (409, "studio.project_lives")
    assert error_code(server.call("POST", f"{place}/resume")) == "job.busy"
    server.data("POST", f"/jobs/{again['job']}/stop")
    server.wait(again["job"], "stopped")

    # Deleting, and bringing back.
    lora = server.data("GET", place)["lora"]  # the resumed run may have saved once more
    trash_id = server.data("DELETE", place)["trash_id"]
    assert server.call("GET", place).status_code == 404
    assert [entry["trash_id"] for entry in server.data("GET", f"/projects/{project}/runs")["trash"]] == [trash_id]
    assert server.data("POST", f"/projects/{project}/runs/restore", json={"trash_id": trash_id}) == {"run": run["id"]}
    assert server.data("GET", place)["lora"] == lora


def test_continuing_makes_a_run_of_its_own(server: Server) -> None:
    project = server.filled()
    first = server.start(project)
    server.wait(first["job"], "done")
    following = server.data("POST", f"/projects/{project}/runs/{first['run']}/continue", 201, json={"file": ""})
    assert following["run"] == "r02"
    server.wait(following["job"], "done")
    done = server.call("POST", f"/projects/{project}/runs/{first['run']}/resume")
    assert error_code(done) == "run.not_resumable"


def test_folders_in_settings_are_the_projects_own(server: Server) -> None:
    """What a page sends as folders is not used: neither read nor written."""
    project, evil = server.filled(1), str(server.root / "evil")
    hostile = {
        **SMALL,
        "dataset": {**SMALL["dataset"], "train_data_dir": evil, "reg_data_dir": evil, "conditioning_data_dir": evil},
        "run": {**SMALL["run"], "output_dir": evil, "output_name": "../../evil", "resume": evil, "trigger_word": evil},
    }
    server.wait(server.start(project, hostile)["job"], "done")
    [run] = server.data("GET", f"/projects/{project}/runs")["runs"]
    assert run["lora"].startswith("Zuna-r01-")
    assert [path.name for path in server.root.rglob("*evil*")] == []
    assert evil not in server.call("GET", f"/projects/{project}/settings").text


def test_train_now_plans_and_starts(server: Server) -> None:
    project = server.filled()
    wishes = {"kind": "character", "medium": "drawn", "choice": "quick", "checkpoint": "tiny"}
    started = server.data("POST", f"/projects/{project}/runs", 201, json={"wishes": wishes})
    planned = server.data("POST", f"/projects/{project}/plan", json=wishes)
    [concept] = server.data("GET", f"/projects/{project}")["concepts"]
    assert concept["repeats"] == next(r["value"] for r in planned["reasons"] if r["setting"] == "dataset.repeats")
    server.data("POST", f"/jobs/{started['job']}/stop")
    server.wait(started["job"], "stopped")


def test_ten_press_train_at_once(server: Server) -> None:
    project = server.filled()
    answers, ready = [], threading.Barrier(10)

    def press() -> None:
        ready.wait()
        answers.append(server.call("POST", f"/projects/{project}/runs", json={"settings": LONG}))

    threads = [threading.Thread(target=press) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(started) == 1 + MAX_WAITING
    assert sorted(each["place"] for each in started) == list(range(MAX_WAITING + 1))
    assert len({each["run"] for each in started}) == len({each["job"] for each in started}) == len(started)
    [refused] = [answer for answer in answers if answer.status_code != 201]
    assert (refused.status_code, error_code(refused)) == (409, "job.queue_full")
    live = server.data("GET", "/live")
    assert live["running"]["state"] == "running" and [each["place"] for each in live["queue"]] == [1, 2, 3, 4, 5, 6, 7, 8]  # fmt: skip
    assert len(server.data("GET", f"/projects/{project}/runs")["runs"]) == 9


def test_two_write_one_caption(server: Server) -> None:
    project = server.filled(1)
    [picture] = server.data("GET", f"/projects/{project}/pictures")["pictures"]
    address = f"/projects/{project}/pictures/{picture['id']}/caption"
    text = "zuna, <b>hat</b>, 帽子"
    first = server.data("PUT", address, json={"text": text, "version": picture["version"]})
    assert first["caption"] == text and first["version"] not in ("", picture["version"])
    second = server.call("PUT", address, json={"text": "mine", "version": picture["version"]})
    assert (second.status_code, error_code(second)) == (409, "collection.caption_changed")
    assert second.json()["theirs"] == {"text": text, "version": first["version"]}
    again = server.data("PUT", address, json={"text": "mine", "version": second.json()["theirs"]["version"]})
    assert again["caption"] == "mine"
    for text in ("x" * 65_537, "a\x00b"):
        assert server.call("PUT", address, json={"text": text, "version": again["version"]}).status_code == 400


def test_pictures_are_shown_moved_deleted_and_brought_back(server: Server) -> None:
    project = server.filled(2)
    home = f"/projects/{project}"
    first, second = server.data("GET", f"{home}/pictures")["pictures"]
    address = f"{home}/pictures/{first['id']}"
    for kind in ("thumbnail", "view"):
        stamped = server.call("GET", f"{address}/{kind}?v={first['stamp']}")
        assert stamped.headers["content-type"] == "image/jpeg" and stamped.content.startswith(b"\xff\xd8")
        assert stamped.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert server.call("GET", f"{address}/{kind}?v=old").headers["cache-control"] == "private, no-store"

    other = server.data("POST", f"{home}/concepts", 201, json={"name": "hat", "repeats": 3})
    moved = server.data("POST", f"{home}/pictures/move", json={"pictures": [first["id"]], "concept": other["id"]})
    [shown] = server.data("GET", f"{home}/pictures?concept={other['id']}")["pictures"]
    assert moved == {"pictures": [shown["id"]]} and shown["caption"] == first["caption"]
    thrown = server.data("POST", f"{home}/pictures/delete", json={"pictures": [second["id"]]})
    [entry] = server.data("GET", f"{home}/trash")["trash"]
    assert entry == {"trash_id": thrown["trash_id"], "title": "1.png", "count": 1, "deleted": entry["deleted"], "kind": "pictures"}  # fmt: skip
    assert server.data("POST", f"{home}/trash/restore", json=thrown) == {"restored": 1}
    assert server.data("GET", f"{home}/pictures")["total"] == 2
    gone = server.data("DELETE", f"{home}/concepts/{other['id']}")
    assert server.data("POST", f"{home}/trash/restore", json=gone) == {"restored": 1}
    for body in ({"pictures": []}, {"pictures": ["0" * 16]}):
        assert server.call("POST", f"{home}/pictures/delete", json=body).status_code in (400, 404)


def test_the_data_set_goes_out_and_comes_back(server: Server) -> None:
    project = server.project('A "b" 画')
    server.upload(project, "x.png", encoded(gradient(64, 64), "PNG"))
    server.upload(project, "x.txt", b"zuna, girl")
    answer = server.call("GET", f"/projects/{project}/dataset.zip")
    assert answer.headers["content-type"] == "application/zip" and "content-length" not in answer.headers
    assert answer.headers["content-disposition"] == "attachment; filename=\"A _b_ _.zip\"; filename*=UTF-8''A%20_b_%20%E7%94%BB.zip"  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["dataset/10_zuna/x.png", "dataset/10_zuna/x.txt"]
    other = server.project()
    added = server.upload(other, "all.zip", answer.content)
    assert (len(added["pictures"]), added["captions"], added["skipped"]) == (1, 1, [])


def test_a_folder_of_the_server(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "5_hero"
    folder.mkdir(parents=True)
    (folder / "x.png").write_bytes(encoded(gradient(64, 64), "PNG"))
    (folder / "broken.png").write_bytes(b"no picture")
    project = server.project()
    added = server.data("POST", f"/projects/{project}/import", json={"path": str(folder.parent), "concept": ""})
    assert len(added["pictures"]) == 1 and [each["where"] for each in added["skipped"]] == ["5_hero/broken.png"]
    [concept] = server.data("GET", f"/projects/{project}")["concepts"]
    assert (concept["name"], concept["repeats"]) == ("hero", 5)
    refused = server.call("POST", f"/projects/{project}/import", json={"path": str(tmp_path / "nowhere")})
    assert refused.status_code == 400


def test_projects_go_to_the_trash_and_come_back(server: Server) -> None:
    project = server.project("One")
    edited = server.data("PATCH", f"/projects/{project}", json={"title": "Two", "kind": "style"})
    assert (edited["title"], edited["kind"], edited["trigger_word"]) == ("Two", "style", "zuna")
    trash = server.data("DELETE", f"/projects/{project}")
    listed = server.data("GET", "/projects")
    assert listed == {"projects": [], "problems": [], "trash": [{"trash_id": trash["trash_id"], "title": "Two"}]}
    assert server.data("POST", "/projects/restore", json=trash)["id"] == project
    (server.studio.root / project / "project.json").write_text("{", encoding="utf-8")
    assert len(server.data("GET", "/projects")["problems"]) == 1


def test_settings_in_three_forms_and_presets(server: Server) -> None:
    project = server.filled(1)
    server.wait(server.start(project)["job"], "done")
    ours = server.data("GET", f"/projects/{project}/settings?form=json")
    assert ours["network"]["network_dim"] == 2 and ours["dataset"]["train_data_dir"] == ""
    toml = server.call("GET", f"/projects/{project}/settings?form=toml")
    assert "network_dim = 2" in toml.text and toml.headers["content-disposition"].startswith("attachment; ")
    assert "--network_dim" in server.call("GET", f"/projects/{project}/settings?form=command").text
    assert server.call("GET", f"/projects/{project}/settings?form=yaml").status_code == 422

    shipped = server.data("GET", "/presets")["presets"]
    assert shipped and all(preset["shipped"] for preset in shipped)
    assert server.data("PUT", "/presets/My%20own", json={"settings": ours}) == {"name": "My own", "shipped": False}
    kept = server.data("GET", "/presets/My%20own")["settings"]
    assert kept["network"]["network_dim"] == 2 and kept["model"]["checkpoint"] == ""
    assert {"name": "My own", "shipped": False} in server.data("GET", "/presets")["presets"]
    assert server.data("DELETE", "/presets/My%20own")["trash_id"].startswith("My own-")
    assert server.call("GET", "/presets/My%20own").status_code == 404
    for settings in ([], None, "x", {"version": 1, "network": {"rank": 1}}):
        answer = server.call("PUT", "/presets/x", json={"settings": settings})
        assert answer.status_code == 400, settings


def test_checkpoints_have_names_and_no_paths(server: Server) -> None:
    assert server.data("GET", "/checkpoints") == {"checkpoints": [{"name": "tiny", "family": "sd1", "current": False}]}
    elsewhere = {**SMALL, "model": {"checkpoint": str(server.root)}}
    answer = server.call("POST", f"/projects/{server.filled(1)}/runs", json={"settings": elsewhere})
    assert (answer.status_code, error_code(answer)) == (400, "host.checkpoint_missing")


def test_what_is_somebody_elses(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Another's project is not there at all; another's job is, and is not to be touched."""
    server = Server(tmp_path, Exposure(local=False, login=True), tiny_checkpoint.parent)
    anna, ben = server.page("anna"), server.page("ben")
    project = server.filled(headers=anna)
    try:
        run = server.start(project, LONG, headers=anna)
        [picture, *_] = server.data("GET", f"/projects/{project}/pictures", headers=anna)["pictures"]
        known = {"project_id": project, "concept_id": picture["concept"], "picture_id": picture["id"], "run_id": run["run"], "name": "x", "source_id": "x", "grid_id": "g01", "key": "0" * 32, "tool": "scrub", "pick_id": "x", "part": "card"}  # fmt: skip
        bodies = {
            "caption": {"text": "x", "version": picture["version"]},
            "move": {"pictures": [picture["id"]], "concept": picture["concept"]},
            "delete": {"pictures": [picture["id"]]},
            "restore": {"trash_id": "x"},
            "concepts": {"name": "x"},
            "settings": {"settings": {}},
            "start": {"steps": ["check"]},
            "undo": {"id": "x"},
            "fix": {"finding": "x", "fix": "trim"},
            "crops": {"crops": []},
            "all": {"source": "x"},
            "tags/filter": {"tag": "x", "how": "include"},
            "tags/pictures": {"pictures": [picture["id"]]},
            "tags/caption": {"picture": picture["id"], "text": "x", "version": picture["version"]},
            "tags/undo": {"number": 1},
            "tags/redo": {"number": 1},
            "tags/rollback": {"to": 0},
            "tags/forward": {"to": 1},
            "tags/preview": {"edit": {"kind": "add", "tags": ["x"]}},
            "tags/apply": {"edit": {"kind": "add", "tags": ["x"]}, "digest": "x"},
            "tags/trigger": {"word": "x"},
            "tags/form": {"form": "sentences"},
            "tags/import/apply": {"token": "x", "digest": "x"},
            "grids/sweep": {"values": {}},
            "redraw": {"cells": []},
            "stars": {"cell": "x", "stars": 1},
            "scores": {"on": []},
            "pick": {"cell": "x", "name": "x"},
            "{tool}": {"files": ["x"], "name": "x"},
        }
        tried = 0
        for route in server.app.openapi()["paths"].items():
            path = route[0].removeprefix("/lora-train/v1")
            if "{project_id}" not in path or path == "/projects/{project_id}/import":
                continue
            for method in route[1]:
                options = {"json": bodies.get(path.partition("}/")[2], bodies.get(path.rpartition("/")[2], {}))}
                if path.endswith(("/files", "/tags/import")):
                    options = {"content": b"x", "params": {"name": "x.png"}}
                if (method, path[-6:]) == ("put", "/matte"):
                    options = {"content": b"x"}
                headers = {**ben, **(PNG if "content" in options else {})}
                answer = server.call(method.upper(), path.format(**known), headers, **options)
                assert (answer.status_code, error_code(answer)) == (404, "project.unknown"), (method, path)
                tried += 1
        assert tried == 99
        assert server.data("GET", "/projects", headers=ben) == {"projects": [], "problems": [], "trash": []}
        assert server.data("GET", "/jobs", headers=ben) == {"jobs": []}
        assert server.call("GET", f"/jobs/{run['job']}", ben).status_code == 404
        for action in ("stop", "save", "sample", "pause", "continue", "cancel"):
            answer = server.call("POST", f"/jobs/{run['job']}/{action}", ben)
            assert (answer.status_code, error_code(answer)) == (403, "access.not_owner"), action
        assert error_code(server.call("POST", f"/jobs/{run['job']}/move", ben, json={"place": 1})) == "access.not_owner"
        shown = server.data("GET", "/live", headers=ben)["running"]
        assert (shown["title"], shown["project"], shown["samples"], shown["mine"]) == ("", "", [], False)
        imported = server.call("POST", f"/projects/{project}/import", ben, json={"path": "/"})
        assert (imported.status_code, error_code(imported)) == (403, "access.folders")

        trash = server.data("DELETE", f"/projects/{server.project('Gone', headers=anna)}", headers=anna)
        answer = server.call("POST", "/projects/restore", ben, json=trash)
        assert (answer.status_code, error_code(answer)) == (404, "project.unknown")
    finally:
        assert server.studio.close(timeout=60)
