"""Lists of runs, their files by name, deleting and bringing back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.files import discard
from lib_lora_train.job_files import EVENTS, RECORD, FolderLock
from lib_lora_train.project import Project, create_project, list_runs, new_run
from lib_lora_train.runs import infos
from lib_lora_train.runs.deleting import delete_run, list_deleted, restore_run
from lib_lora_train.runs.history import changed_settings, list_run_infos, lora_path, read_run, run_info, sample_path
from lib_lora_train.runs.naming import lora_files, loras_folder
from lib_lora_train.runs.records import RunRecord, read_record, write_record
from lib_lora_train.settings import TrainSettings

INSIDE_OUT = ["..", "../secret.png", "../../project.json", "/etc/passwd", "a\x00b", "", ".", "run.json", "x\\..\\y"]


def make_run(host, project: Project, state: str = "done", steps: int = 3, **record: object) -> str:
    """A run's folder and files as a run leaves them, without the training."""
    folder = new_run(project)
    name = f"{project.title}-{folder.name}"
    write_record(
        folder,
        RunRecord(TrainSettings(), project.title, "character", "zuna", "tiny", name, project.title, 5.0, 10, {}),
    )
    job = {"id": f"job{folder.name}", "title": "x", "state": state, "pid": 1, "created": 5.0, "started": 6.0}
    (folder / RECORD).write_text(json.dumps({"version": 1, **job, **record}), encoding="utf-8")
    metrics = [
        {"step": step, "total_steps": 10, "epoch": 1, "loss": 0.5, "loss_smoothed": 0.4, "learning_rates": {}}
        for step in range(1, steps + 1)
    ]
    (folder / infos.METRICS).write_text("".join(json.dumps(each) + "\n" for each in metrics), encoding="utf-8")
    (folder / "samples").mkdir()
    (folder / "samples/00000003-00.png").write_bytes(b"picture")
    (folder / "samples/.00000003-01.png.tmp").write_bytes(b"half")
    said = {"event": "Sampled", "path": "/x/00000003-00.png", "step": 3, "prompt": "hat", "seed": 7}
    (folder / EVENTS).write_text(json.dumps(said) + '\n{"event": "Sampled", "torn\n', encoding="utf-8")
    loras = loras_folder(host, project)
    loras.mkdir(parents=True, exist_ok=True)
    (loras / f"{name}-000001.safetensors").write_bytes(folder.name.encode())
    return folder.name


def code_of(call, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return caught.value.code


def test_runs_that_come_and_go_while_they_are_listed(host, project: Project) -> None:
    """One that is refused its place in line is gone a moment later, and the list of the others goes on."""
    kept = make_run(host, project)
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            folder = new_run(project)
            write_record(folder, read_record(project.path("runs", kept)))
            (folder / RECORD).write_bytes((project.path("runs", kept) / RECORD).read_bytes())
            discard(folder)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        lists = [list_run_infos(host, project) for _ in range(300)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert all(runs[-1].id == kept and runs[-1].state == "done" for runs in lists)
    assert [info.id for info in list_run_infos(host, project)] == [kept]
    assert [path.name for path in project.path("runs").iterdir()] == [kept]


def test_a_list_of_runs(host, project: Project) -> None:
    error = UserError("train.no_checkpoint", "checkpoint")
    make_run(host, project)
    make_run(host, project, "failed", error=error.as_record(), attempt=3)
    make_run(host, project, "running")  # without a lock: its process has died
    failed, done = list_run_infos(host, project)[1:]
    assert [info.state for info in list_run_infos(host, project)] == ["interrupted", "failed", "done"]
    assert (done.step, done.total_steps, done.loss, done.lora) == (3, 10, 0.4, "Zuna-r01-000001.safetensors")
    assert failed.can_resume and failed.attempt == 3
    shown = failed.as_dict("zh-CN")
    assert shown["error"] == error.as_dict("zh-CN") and shown["project"] == project.id and shown["job"] == "jobr02"
    assert set(shown) == {
        "id", "project", "title", "state", "place", "created", "started", "ended", "step", "total_steps", "epoch",
        "loss", "error", "attempt", "can_resume", "lora", "job", "checkpoint", "grid", "grid_note",
    }  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_damaged_run_does_not_hide_the_others(host, project: Project, content: str) -> None:
    make_run(host, project)
    make_run(host, project)
    (project.path("runs/r01") / "run.json").write_text(content, encoding="utf-8")
    good, damaged = list_run_infos(host, project)
    assert good.state == "done" and damaged.state == "failed" and damaged.error["code"] == "run.damaged"
    assert code_of(read_run, host, project, "r01") == "run.damaged"
    trash_id = delete_run(host, project, "r01")
    assert list_runs(project) == ["r02"] and restore_run(host, project, trash_id) == "r01"


def test_a_run_that_died_before_its_job_can_be_resumed(host, project: Project) -> None:
    make_run(host, project)
    (project.path("runs/r01") / RECORD).unlink()
    info = run_info(host, project, "r01")
    assert info.state == "interrupted" and info.can_resume
    new_run(project)  # another one is being made this moment
    assert [each.id for each in list_run_infos(host, project)] == ["r01"]


def test_two_hundred_runs_cost_little(host, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """No events are parsed, and of the metrics only the end is read."""
    for _ in range(200):
        make_run(host, project, steps=40)
    read = []
    real = infos.metrics_line
    monkeypatch.setattr(infos, "metrics_line", lambda raw: read.append(raw) or real(raw))
    for path in project.path("runs").glob(f"*/{EVENTS}"):
        path.unlink()
        path.mkdir()  # would fail if it were opened
    found = list_run_infos(host, project)
    assert len(found) == len(read) == 200 and {info.step for info in found} == {40}


def test_files_are_taken_out_of_the_listing(host, project: Project, tmp_path: Path) -> None:
    make_run(host, project)
    (project.path("runs/r01") / "secret.png").write_bytes(b"x")
    (loras_folder(host, project) / "Zuna-r01-extra.safetensors").write_bytes(b"x")
    (loras_folder(host, project) / "Zuna-r011-000001.safetensors").write_bytes(b"x")
    details = read_run(host, project, "r01")
    assert [file.name for file in details.files] == ["Zuna-r01-000001.safetensors"]
    assert [(each.name, each.prompt, each.seed) for each in details.samples] == [("00000003-00.png", "hat", 7)]
    assert sample_path(project, "r01", "00000003-00.png").read_bytes() == b"picture"
    assert lora_path(host, project, "r01", "Zuna-r01-000001.safetensors").read_bytes() == b"r01"
    for name in [*INSIDE_OUT, "Zuna-r011-000001.safetensors", "Zuna-r01-extra.safetensors", "secret.png"]:
        assert code_of(lora_path, host, project, "r01", name) == "run.no_file"
        assert code_of(sample_path, project, "r01", name) == "run.no_file"
    for run_id in [*INSIDE_OUT, "r1", "r99", "../x", ".trash"]:
        for call in (
            lambda run_id: read_run(host, project, run_id),
            lambda run_id: sample_path(project, run_id, "00000003-00.png"),
            lambda run_id: delete_run(host, project, run_id),
        ):
            assert code_of(call, run_id) in ("project.no_run", "path.outside")


def test_changed_settings_are_those_of_the_form() -> None:
    settings = TrainSettings()
    settings.network.network_dim, settings.run.output_dir, settings.dataset.repeats = 48, "/x", 9
    (changed,) = changed_settings(settings)
    assert (changed.setting, changed.label, changed.value, changed.default) == ("network.network_dim", "Rank", 48, 16)


# ---------------------------------------------------------------------- deleting


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_to_the_trash_with_its_files_and_comes_back(host, project: Project, tmp_path: Path) -> None:
    for _ in range(3):
        make_run(host, project)
    published = host.paths.loras / "Zuna.safetensors"
    published.write_bytes(b"published")
    before, started = everything(tmp_path), time.time()
    trash_id = delete_run(host, project, "r03")
    assert [info.id for info in list_run_infos(host, project)] == ["r02", "r01"]
    assert sorted(path.name for path in lora_files(host.paths.loras)) == [
        "Zuna-r01-000001.safetensors", "Zuna-r02-000001.safetensors", "Zuna.safetensors",
    ]  # fmt: skip
    assert not list(project.folder.rglob("*.safetensors")), "a model scanner would find what was deleted"
    (deleted,) = list_deleted(project)
    assert (deleted.trash_id, deleted.title) == (trash_id, "Zuna r03") and deleted.deleted >= started
    assert new_run(project).name == "r04", "names of LoRA files are made with the number"
    project.path("runs/r04").rmdir()
    assert restore_run(host, project, trash_id) == "r03"
    assert everything(tmp_path) == {**before, "projects/" + project.id + "/runs/r03/job.lock": b""}
    assert list_deleted(project) == []
    assert code_of(restore_run, host, project, trash_id) == "run.not_in_trash"


def test_a_living_run_is_not_deleted(host, project: Project) -> None:
    make_run(host, project, "running")
    lock = FolderLock.take(project.path("runs/r01"))
    assert code_of(delete_run, host, project, "r01") == "run.lives"
    lock.release()
    assert delete_run(host, project, "r01")


def test_nothing_is_overwritten_by_what_comes_back(host, project: Project) -> None:
    make_run(host, project)
    trash_id = delete_run(host, project, "r01")
    other = host.paths.loras / "downloads/zuna-R01-000001.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"other")
    assert code_of(restore_run, host, project, trash_id) == "run.taken"
    other.unlink()
    project.path("runs/r01").mkdir()
    assert code_of(restore_run, host, project, trash_id) == "run.taken"
    project.path("runs/r01").rmdir()
    assert restore_run(host, project, trash_id) == "r01"


@pytest.mark.parametrize("trash_id", [*INSIDE_OUT, "r01-00000000", "../../x", "r01", "x-12345678"])
def test_trash_ids_from_nowhere(host, project: Project, trash_id: str) -> None:
    make_run(host, project)
    delete_run(host, project, "r01")
    assert code_of(restore_run, host, project, trash_id) == "run.not_in_trash"


def test_another_projects_trash_is_not_reached(host, project: Project, root: Path) -> None:
    make_run(host, project)
    trash_id = delete_run(host, project, "r01")
    assert code_of(restore_run, host, create_project(root, "Other"), trash_id) == "run.not_in_trash"
