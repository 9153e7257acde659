"""Runs of a project, from the press of the button to the LoRA in its place; on the tiny checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import FolderLock, read_job
from lib_lora_train.jobs import MAX_WAITING, Registry
from lib_lora_train.project import Project, list_runs
from lib_lora_train.runs import launch
from lib_lora_train.runs.drafts import read_draft
from lib_lora_train.runs.history import list_run_infos, lora_path, read_run, run_info
from lib_lora_train.runs.launch import Started, continue_run, resume_run, start_run
from lib_lora_train.runs.managed import prepare
from lib_lora_train.runs.metrics import read_metrics
from lib_lora_train.runs.naming import lora_files
from lib_lora_train.runs.records import read_record, write_record
from lib_lora_train.runs.runlog import read_log
from lib_lora_train.train.state import newest_first
from tests.helpers.runs import equal, weights
from tests.helpers.studios import filled_project, run_settings, studio_host, write_concept


def eventually(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def finished(started: Started) -> Started:
    assert started.job.wait(120)
    return started


def final_weights(host, project: Project, run_id: str):
    return weights(lora_path(host, project, run_id, run_info(host, project, run_id).lora))


def log_of(project: Project, run_id: str) -> str:
    return "\n".join(line.text for line in read_log(project, run_id)[0])


def blocked(host, registry: Registry, project: Project) -> tuple[Started, object]:
    """A run that waits for the model, which the test holds until it leaves the returned session."""
    held = host.session()
    held.__enter__()
    started = start_run(host, registry, project, run_settings())
    assert eventually(lambda: "Stage" in started.job.latest)
    return started, held


# ---------------------------------------------------------------------- one run


def test_a_run_leaves_everything_in_its_place(host, registry: Registry, project: Project, tmp_path: Path) -> None:
    settings = run_settings(sample_prompts="zuna, hat", sample_every_n_epochs=1, sample_steps=2, seed=5)
    started = finished(start_run(host, registry, project, settings, owner="anna"))
    assert started.job.state == "done", started.job.record.error
    info = run_info(host, project, "r01")
    assert (info.state, info.step, info.total_steps, info.epoch, info.can_resume) == ("done", 12, 12, 3, False)
    assert info.title == "Zuna r01" and info.lora == "Zuna-r01-000003.safetensors" and info.checkpoint == "tiny"
    assert info.created <= info.started <= info.ended and info.job_id == started.job.id

    details = read_run(host, project, "r01")
    assert [(file.name, file.step, file.epoch, file.published) for file in details.files] == [
        (f"Zuna-r01-{epoch:06d}.safetensors", 4 * epoch, epoch, epoch == 3) for epoch in (1, 2, 3)
    ]
    assert [(each.name, each.step, each.prompt) for each in details.samples] == [
        (f"{step:08d}-00.png", step, "zuna, hat") for step in (0, 4, 8, 12)
    ]
    assert started.watch.lora == info.lora and [each.step for each in started.watch.samples()] == [0, 4, 8, 12]
    assert {change.setting: change.value for change in details.changed}["run.seed"] == 5
    assert read_draft(project).run.seed == 5
    assert read_metrics(project, "r01").last == 12

    published = tmp_path / "loras/Zuna.safetensors"
    assert published.read_bytes() == lora_path(host, project, "r01", info.lora).read_bytes()
    assert json.loads(published.with_suffix(".json").read_text(encoding="utf-8"))["activation text"] == "zuna"
    run_json = (project.path("runs/r01") / "run.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in run_json and read_record(project.path("runs/r01")).versions["torch"]
    assert read_job(project.path("runs/r01")).owner == "anna"
    assert "Published" in log_of(project, "r01")


def test_the_second_run_has_names_of_its_own(host, registry: Registry, project: Project, tmp_path: Path) -> None:
    for _ in range(2):
        finished(start_run(host, registry, project, run_settings(max_train_epochs=1)))
    assert [info.id for info in list_run_infos(host, project)] == ["r02", "r01"]
    assert not any(file.published for file in read_run(host, project, "r02").files)
    first, second = (final_weights(host, project, name) for name in ("r01", "r02"))
    assert equal(first, second)  # the same settings, the same pictures
    assert "is taken" in log_of(project, "r02")
    stems = [path.stem for path in lora_files(tmp_path / "loras")]
    assert sorted(stems) == ["Zuna", "Zuna-r01-000001", "Zuna-r02-000001"]


def test_folders_come_from_the_project_and_prompts_are_text(host, registry: Registry, root: Path) -> None:
    project = filled_project(root, "爱丽丝 与 猫")
    write_concept(project, "regularization/1_girl", 2)
    secret = root / "prompts.txt"
    secret.write_text("secret words", encoding="utf-8")
    settings = run_settings(
        train_data_dir="/etc", reg_data_dir="/etc", output_dir="/etc", output_name="x", resume="/etc",
        sample_prompts=str(secret), sample_steps=2, max_train_epochs=1,
    )  # fmt: skip
    started = finished(start_run(host, registry, project, settings))
    assert started.job.state == "done", started.job.record.error
    prepared, output = prepare(host, project, project.path("runs/r01"))
    assert prepared.dataset.train_data_dir == str(project.path("dataset"))
    assert prepared.dataset.reg_data_dir == str(project.path("regularization"))
    assert prepared.run.resume == "" and prepared.run.trigger_word == "zuna"
    assert output.loras == host.paths.loras / project.id and output.name == "爱丽丝 与 猫-r01"
    samples = read_run(host, project, "r01").samples
    assert {each.prompt for each in samples} == {str(secret)}  # the text itself, not what stands in the file
    assert (host.paths.loras / "爱丽丝 与 猫.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"checkpoint": "none"}, "host.checkpoint_missing"),
        ({"learning_rate": "fast"}, "rate.number"),
        ({"network_weights": "none"}, "run.no_lora"),
        ({"sample_prompts": "a --w x"}, "train.sample_prompt"),
        ({"resolution": "7"}, "settings.resolution"),
        ({"network_train_unet_only": True, "network_train_text_encoder_only": True}, "train.nothing_trained"),
        ({"min_timestep": 900, "max_timestep": 100}, "train.timestep_range"),
    ],
)
def test_what_cannot_run_is_said_at_once(host, registry: Registry, project: Project, changes: dict, code: str) -> None:
    with pytest.raises(UserError) as caught:
        start_run(host, registry, project, run_settings(**changes))
    assert caught.value.code == code
    assert list_runs(project) == [] and not (project.folder / "settings.json").exists()


def test_a_run_that_somebody_resumes_before_it_is_in_line_keeps_its_folder(
    host, registry: Registry, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its record and its job a run looks like one that died."""
    taken = []

    def write_and_be_overtaken(folder: Path, record) -> None:
        write_record(folder, record)
        taken.append(FolderLock.take(folder))

    monkeypatch.setattr(launch, "write_record", write_and_be_overtaken)
    with pytest.raises(UserError) as caught:
        start_run(host, registry, project, run_settings())
    assert caught.value.code == "job.busy"
    assert list_runs(project) == ["r01"]
    taken[0].release()


def test_without_pictures_nothing_starts(host, registry: Registry, root: Path) -> None:
    project = filled_project(root)
    for path in project.path("dataset/1_zuna").iterdir():
        path.unlink()
    with pytest.raises(UserError) as caught:
        start_run(host, registry, project, run_settings())
    assert caught.value.code == "run.no_pictures"


def test_the_estimate_counts_the_steps_that_are_done(host, registry: Registry, root: Path) -> None:
    """With three buckets, repeats, regularization that is cut short, accumulation."""
    project = filled_project(root, repeats=3)
    write_concept(project, "dataset/2_hat", 4)
    write_concept(project, "regularization/5_girl", 7)
    settings = run_settings(max_train_epochs=2, gradient_accumulation_steps=3, save_every_n_epochs=0)
    finished(start_run(host, registry, project, settings))
    info = run_info(host, project, "r01")
    assert info.state == "done" and info.step == info.total_steps == read_record(project.path("runs/r01")).steps


def test_a_run_that_ends_within_an_epoch_overwrites_no_file(host, registry: Registry, project: Project) -> None:
    finished(start_run(host, registry, project, run_settings(max_train_epochs=0, max_train_steps=6)))
    files = read_run(host, project, "r01").files
    assert [(file.name.split("-r01-")[1], file.step) for file in files] == [
        ("000001.safetensors", 4),
        ("step00000006.safetensors", 6),
    ]


def test_threads_are_as_before(host, registry: Registry, project: Project) -> None:
    before = torch.get_num_threads()
    finished(start_run(host, registry, project, run_settings(max_train_epochs=1)))
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------------- the line


def test_ten_presses_over_two_projects(host, registry: Registry, root: Path) -> None:
    projects = [filled_project(root), filled_project(root)]
    barrier = threading.Barrier(10)

    def press(number: int) -> Started | str:
        barrier.wait()
        try:
            short = run_settings(max_train_epochs=0, max_train_steps=1)
            return start_run(host, registry, projects[number % 2], short)
        except UserError as error:
            return error.code

    with host.session(), ThreadPoolExecutor(10) as pool:  # the model is in use: nothing ends meanwhile
        results = list(pool.map(press, range(10)))
        started = [result for result in results if isinstance(result, Started)]
        assert [result for result in results if isinstance(result, str)] == ["job.queue_full"]
        assert sum(each.job.state == "running" for each in started) == 1
        infos = [info for project in projects for info in list_run_infos(host, project)]
        assert sorted(info.place for info in infos) == list(range(MAX_WAITING + 1))
        assert sorted(info.state for info in infos) == ["queued"] * MAX_WAITING + ["running"]
    assert all(each.job.wait(240) for each in started)
    infos = [info for project in projects for info in list_run_infos(host, project)]
    assert [info.state for info in infos] == ["done"] * 9 and {info.attempt for info in infos} == {1}
    stems = [path.stem for path in lora_files(host.paths.loras)]
    assert len(stems) == len({stem.casefold() for stem in stems}) == 9 + 2


def test_a_waiting_run_is_shown_and_can_be_taken_out_and_resumed(host, registry: Registry, project: Project) -> None:
    running, held = blocked(host, registry, project)
    waiting = start_run(host, registry, project, run_settings(max_train_epochs=1))
    info = run_info(host, project, "r02")
    assert (info.state, info.place, info.total_steps, info.step) == ("queued", 1, 4, 0)
    for run_id in ("r01", "r02"):
        with pytest.raises(UserError) as caught:
            resume_run(host, registry, project, run_id)
        assert caught.value.code == "job.busy"
    registry.stop(waiting.job)
    assert run_info(host, project, "r02").state == "stopped"
    again = resume_run(host, registry, project, "r02")
    assert run_info(host, project, "r02").state == "queued"
    held.__exit__(None, None, None)
    finished(again)
    assert running.job.state == "done" and run_info(host, project, "r02").state == "done"
    with pytest.raises(UserError) as caught:
        resume_run(host, registry, project, "r02")
    assert caught.value.code == "run.not_resumable"


# ---------------------------------------------------------------------- going on


def straight(host, registry: Registry, root: Path, **changes: object):
    """The weights of the same run on the same pictures, uninterrupted."""
    project = filled_project(root, "Straight")
    finished(start_run(host, registry, project, run_settings(**changes)))
    return final_weights(host, project, "r01")


def test_a_stopped_run_goes_on_exactly(host, registry: Registry, project: Project, root: Path) -> None:
    expected = straight(host, registry, root)
    started = start_run(host, registry, project, run_settings())
    assert eventually(lambda: started.job.latest.get("Step") and started.job.latest["Step"].step >= 5)
    registry.stop(started.job, save=True)
    finished(started)
    stopped = run_info(host, project, "r01")
    assert stopped.state == "stopped" and stopped.can_resume and 5 <= stopped.step < 12
    again = finished(resume_run(host, registry, project, "r01"))
    assert again.job.record.attempt == 2 and run_info(host, project, "r01").state == "done"
    assert equal(final_weights(host, project, "r01"), expected)
    assert [step for step, *_ in read_metrics(project, "r01").points] == list(range(1, 13))


def test_a_run_without_a_state_starts_over_and_loses_no_file(
    host, registry: Registry, project: Project, root: Path
) -> None:
    expected = straight(host, registry, root, save_state=False)
    started = start_run(host, registry, project, run_settings(save_state=False))
    assert eventually(lambda: started.watch.lora)
    registry.stop(started.job)
    finished(started)
    before = {path.read_bytes() for path in (host.paths.loras / project.id).iterdir()}
    finished(resume_run(host, registry, project, "r01"))
    assert run_info(host, project, "r01").state == "done" and "starts over" in log_of(project, "r01")
    assert equal(final_weights(host, project, "r01"), expected)
    assert before <= {path.read_bytes() for path in project.path("runs/r01/replaced").iterdir()}


def test_a_new_run_from_an_earlier_ones_file(host, registry: Registry, project: Project) -> None:
    finished(start_run(host, registry, project, run_settings(network_dim=6, network_alpha=3, max_train_epochs=2)))
    finished(continue_run(host, registry, project, "r01"))
    info = run_info(host, project, "r02")
    assert info.state == "done", info.error
    settings = read_record(project.path("runs/r02")).settings
    assert (settings.network.network_weights, settings.network.dim_from_weights) == (
        "Zuna-r01-000002.safetensors",
        True,
    )
    continued = final_weights(host, project, "r02")
    ranks = {value.shape[0] for name, value in continued.items() if name.endswith("lora_down.weight")}
    assert ranks == {6}
    finished(continue_run(host, registry, project, "r01", file="Zuna-r01-000001.safetensors"))
    assert not equal(final_weights(host, project, "r03"), continued)
    for file in ("../x", "Zuna-r02-000001.safetensors", "none"):
        with pytest.raises(UserError) as caught:
            continue_run(host, registry, project, "r01", file=file)
        assert caught.value.code == "run.no_file"


def test_a_continued_run_can_be_resumed(host, registry: Registry, project: Project) -> None:
    """Its ranks are the file's; the setting says another."""
    finished(start_run(host, registry, project, run_settings(network_dim=6, network_alpha=3)))
    finished(continue_run(host, registry, project, "r01"))
    expected = final_weights(host, project, "r02")
    started = continue_run(host, registry, project, "r01")
    assert eventually(lambda: "Step" in started.job.latest)
    registry.stop(started.job, save=True)
    assert finished(started).job.state == "stopped"
    finished(resume_run(host, registry, project, "r03"))
    info = run_info(host, project, "r03")
    assert info.state == "done", info.error
    assert equal(final_weights(host, project, "r03"), expected)


# ---------------------------------------------------------------------- death


def run_in_child(folder: str, checkpoint: str, project_id: str) -> None:
    """Starts a run as a server would, in a process of its own."""
    from lib_lora_train.project import open_project

    torch.set_num_threads(1)
    host = studio_host(Path(folder), Path(checkpoint))
    project = open_project(host.paths.projects, project_id)
    registry = Registry()
    start_run(host, registry, project, run_settings(save_every_n_steps=1))
    start_run(host, registry, project, run_settings(max_train_epochs=1)).job.wait()


@pytest.fixture(scope="module")
def server():
    """Processes forked from one that has imported everything and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.runs.test_launch"])
    return context


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_after_kill_minus_nine_a_run_is_interrupted_and_goes_on_exactly(
    server, host, registry: Registry, root: Path, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    expected = straight(host, registry, root, save_every_n_steps=1)
    draws = random.Random(5)
    for number in range(2):
        project = filled_project(root, f"Killed {number}")
        process = server.Process(target=run_in_child, args=(str(tmp_path), str(tiny_checkpoint), project.id))
        process.start()
        assert eventually(lambda project=project: newest_first(project.path("runs/r01")), 120)
        time.sleep(draws.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        queued, killed = list_run_infos(host, project)
        assert (killed.state, queued.state) == ("interrupted", "interrupted")
        assert killed.can_resume and 1 <= killed.step <= 12 and queued.step == 0
        again = [finished(resume_run(host, registry, project, run_id)) for run_id in ("r01", "r02")]
        assert [each.job.state for each in again] == ["done", "done"], again[0].job.record.error
        assert equal(final_weights(host, project, "r01"), expected), f"kill {number} changed the result"
        assert [step for step, *_ in read_metrics(project, "r01").points] == list(range(1, 13))
