"""Who may do what with projects, runs and jobs, and what every open page is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.access import Exposure, Visitor
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.errors import UserError
from lib_lora_train.job_files import read_job
from lib_lora_train.project import Project, edit_project, list_runs
from lib_lora_train.runs.checks import RunLimits
from lib_lora_train.runs.drafts import read_draft, read_wishes, write_draft
from lib_lora_train.runs.history import run_info
from lib_lora_train.runs.launch import Started
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.studio import ACTIONS, CheckpointChoice, Studio
from tests.helpers.studios import filled_project, run_settings

LOGIN = Exposure(local=False, login=True)
OPEN = Exposure(local=False)
ANYBODY, ANNA, BEN = Visitor(), Visitor("anna", language="zh-CN"), Visitor("ben")
LIVE = {
    "id", "project", "title", "state", "place", "created", "started", "ended", "step", "total_steps", "epoch", "loss",
    "error", "attempt", "can_resume", "lora", "job", "checkpoint", "grid", "grid_note", "paused", "stopping", "stage",
    "stage_done", "stage_total", "total_epochs", "loss_smoothed", "rates", "steps_per_second", "memory", "elapsed", "remaining",
    "mine", "samples",
}  # fmt: skip


def code_of(call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    return caught.value.code


def eventually(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def step_of(studio: Studio, visitor: Visitor = ANYBODY) -> int:
    running = studio.live(visitor)["running"]
    return running["step"] if running else -1


def long_run(**changes: object):
    """One that is still there when the test has looked at it."""
    return run_settings(max_train_epochs=500, save_every_n_epochs=0, **changes)


# ---------------------------------------------------------------------- projects


def test_with_logins_a_project_is_its_makers(make_studio) -> None:
    studio = make_studio(LOGIN)
    mine = studio.create_project(ANNA, "Anna's", trigger_word="zuna")
    shared = filled_project(studio.root, "Everybody's")
    assert mine.owner == "anna"
    assert {project.title for project in studio.projects(ANNA)[0]} == {"Anna's", "Everybody's"}
    assert studio.projects(BEN) == ([shared], [])
    assert studio.project(ANNA, mine.id) == mine
    for call in (studio.project, studio.delete_project):
        assert code_of(call, BEN, mine.id) == "project.unknown"
    trash_id = studio.delete_project(ANNA, mine.id)
    assert studio.project_trash(BEN) == [] and [each for each, _ in studio.project_trash(ANNA)] == [trash_id]
    assert code_of(studio.restore_project, BEN, trash_id) == "project.unknown"
    assert studio.restore_project(ANNA, trash_id) == mine


def test_without_logins_all_is_everybodys(make_studio) -> None:
    studio = make_studio(OPEN)
    project = studio.create_project(Visitor("somebody"), "x")
    assert project.owner == "" and studio.project(ANYBODY, project.id) == project


def test_a_project_that_cannot_be_read_is_said_where_it_is_nobodys_secret(make_studio) -> None:
    local, login = make_studio(), make_studio(LOGIN)
    project = login.create_project(ANNA, "x")
    (project.folder / "project.json").write_text("{", encoding="utf-8")
    assert [problem.code for problem in local.projects(ANYBODY)[1]] == ["project.damaged"]
    assert login.projects(BEN) == ([], [])


def test_strangers_can_make_so_many_projects(make_studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_lora_train.studio.MOST_PROJECTS", 2)
    for exposure, most in ((OPEN, True), (LOGIN, False)):
        studio = make_studio(exposure)
        for number in range(len(studio.projects(ANYBODY)[0]), 2):
            studio.create_project(ANYBODY, f"{number}")
        if most:
            assert code_of(studio.create_project, ANYBODY, "more") == "studio.too_many_projects"
        else:
            studio.create_project(ANYBODY, "more")


# ---------------------------------------------------------------------- settings


def test_checkpoints_are_listed_with_their_family(make_studio) -> None:
    assert make_studio().checkpoints() == [CheckpointChoice("tiny", "sd1", False)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"checkpoint": ""}, "train.no_checkpoint"),
        ({"checkpoint": "/etc/passwd"}, "host.checkpoint_missing"),
        ({"checkpoint": "../tiny"}, "host.checkpoint_missing"),
        ({"network_weights": "../x"}, "run.no_lora"),
        ({"network_weights": "none"}, "run.no_lora"),
    ],
)
def test_only_what_is_listed_can_be_chosen(make_studio, tiny_checkpoint, changes: dict, code: str) -> None:
    studio = make_studio()
    studio.check_settings(ANYBODY, run_settings())
    assert code_of(studio.check_settings, ANYBODY, run_settings(**changes)) == code
    here = str(tiny_checkpoint)  # a path that is there is no name in the list either
    assert code_of(studio.check_settings, ANYBODY, run_settings(checkpoint=here)) == "host.checkpoint_missing"
    wishes = Wishes(checkpoint=here)
    assert code_of(studio.plan, ANYBODY, filled_project(studio.root), wishes) == "host.checkpoint_missing"


@pytest.mark.parametrize("exposure", [LOGIN, OPEN, Exposure(hide_paths=True)])
def test_folders_of_the_server_are_for_who_sits_there(make_studio, exposure: Exposure) -> None:
    settings = run_settings(logging_dir="/tmp/logs")
    make_studio().check_settings(ANYBODY, settings)
    assert code_of(make_studio(exposure).check_settings, ANYBODY, settings) == "access.folders"


def test_loras_of_somebody_elses_project_do_not_exist(make_studio) -> None:
    studio = make_studio(LOGIN)
    mine, shared = studio.create_project(ANNA, "a"), studio.create_project(Visitor(), "b")
    for folder, name in ((mine.id, "a-r01-000001"), (shared.id, "b-r01-000001"), ("downloads", "c")):
        path = studio.host.paths.loras / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
    assert studio.loras(ANNA) == ["a-r01-000001", "b-r01-000001", "c"]
    assert studio.loras(BEN) == studio.loras() == ["b-r01-000001", "c"]
    settings = run_settings(network_weights="a-r01-000001.safetensors")
    studio.check_settings(ANNA, settings)
    assert code_of(studio.check_settings, BEN, settings) == "run.no_lora"
    studio.delete_project(ANNA, mine.id)
    assert studio.loras(BEN) == ["b-r01-000001", "c"]
    assert studio.loras(ANNA) == ["a-r01-000001", "b-r01-000001", "c"]
    (shared.folder / "project.json").write_text("{", encoding="utf-8")
    assert studio.loras(BEN) == ["c"]
    assert make_studio().loras(BEN) == ["a-r01-000001", "b-r01-000001", "c"]


LIMITS = RunLimits(steps=20, side=128, batch=4, rank=8, samples=2, sample_steps=10)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_train_epochs": 6}, "max_train_epochs"),
        ({"max_train_epochs": 0, "max_train_steps": 21}, "max_train_steps"),
        ({"resolution": "128,192"}, "resolution"),
        ({"train_batch_size": 2, "gradient_accumulation_steps": 3}, "train_batch_size"),
        ({"network_dim": 9}, "network_dim"),
        ({"sample_prompts": "a\nb\nc", "sample_steps": 2}, "sample_prompts"),
        ({"sample_prompts": "a --s 11"}, "sample_steps"),
        ({"sample_prompts": "a --h 1024 --s 2"}, "sample_prompts --w --h"),
    ],
)
def test_strangers_have_limits(make_studio, changes: dict, field: str) -> None:
    studio, login = make_studio(OPEN, run_limits=LIMITS), make_studio(LOGIN, run_limits=LIMITS)
    project = filled_project(studio.root)
    with pytest.raises(UserError) as caught:
        studio.start(ANYBODY, project, run_settings(**changes))
    assert (caught.value.code, caught.value.where) == ("run.limit", field)
    assert list_runs(project) == []
    login._check(ANNA, project, run_settings(**changes))


def test_within_the_limits_strangers_train(make_studio) -> None:
    studio = make_studio(OPEN, run_limits=LIMITS)
    started = studio.start(ANYBODY, filled_project(studio.root), run_settings())
    assert started.job.wait(60) and started.job.state == "done"


# ---------------------------------------------------------------------- starting


def test_train_now_plans_writes_repeats_and_trains(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root, repeats=3)
    planned = studio.plan(ANYBODY, project, Wishes(choice="quick"))
    assert [concept.repeats for concept in list_concepts(project)] == [3], "a plan alone writes nothing"
    started = studio.start(ANYBODY, project, wishes=Wishes(choice="quick"))
    assert [concept.repeats for concept in list_concepts(project)] == [planned.repeats]
    assert read_draft(project) == planned.settings and read_wishes(project).choice == "quick"
    assert started.watch.record.steps == planned.plan.steps
    assert eventually(lambda: step_of(studio) > 0)
    assert studio.live(ANYBODY)["running"]["total_steps"] == planned.plan.steps
    # Another plan would rename the folders under a run that is not through with them.
    assert code_of(studio.start, ANYBODY, project, wishes=Wishes(kind="person")) == "run.repeats_busy"
    assert studio.start(ANYBODY, project, wishes=Wishes(choice="quick")).job.state == "queued"


def test_without_settings_it_is_the_draft(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    write_draft(project, run_settings(seed=77, max_train_epochs=1))
    started = studio.start(ANYBODY, project)
    assert started.job.wait(60) and started.watch.record.settings.run.seed == 77


def test_ten_presses_of_train_now_at_once(make_studio) -> None:
    studio = make_studio()
    projects = [filled_project(studio.root, repeats=number) for number in (1, 2)]
    barrier = threading.Barrier(10)

    def press(number: int) -> Started | str:
        barrier.wait()
        try:
            return studio.start(ANYBODY, projects[number % 2], wishes=Wishes(choice="quick"))
        except UserError as error:
            return error.code

    with studio.host.session(), ThreadPoolExecutor(10) as pool:
        results = list(pool.map(press, range(10)))
        started = [result for result in results if isinstance(result, Started)]
        assert [result for result in results if isinstance(result, str)] == ["job.queue_full"]
        live = studio.live(ANYBODY)
        assert live["running"]["state"] == "running"
        assert [each["place"] for each in live["queue"]] == list(range(1, 9))
        shown = {live["running"]["job"], *(each["job"] for each in live["queue"])}
        assert shown == {each.job.id for each in started} and len(shown) == 9
        assert sum(len(list_runs(project)) for project in projects) == 9
        studio.close(timeout=0)


# ---------------------------------------------------------------------- jobs


@pytest.fixture
def two(make_studio) -> tuple[Studio, Project, Started, Started]:
    """With logins: Anna's run of her own project runs, Ben's of one that is everybody's waits."""
    studio = make_studio(LOGIN)
    mine = edit_project(filled_project(studio.root, "Anna's", owner="anna"))
    shared = filled_project(studio.root, "Everybody's")
    first = studio.start(ANNA, mine, long_run())
    second = studio.start(BEN, shared, run_settings(max_train_epochs=1))
    assert eventually(lambda: step_of(studio, ANNA) > 0)
    return studio, shared, first, second


def test_only_the_owner_tells_a_job_what_to_do(two) -> None:
    studio, shared, first, second = two
    for action in ACTIONS:
        assert code_of(studio.control, BEN, first.job.id, action) == "access.not_owner"
        assert code_of(studio.control, ANNA, second.job.id, action) == "access.not_owner"
    assert not first.job.commands.stopping and second.job.state == "queued"
    assert code_of(studio.delete_run, ANNA, shared, "r01") == "access.not_owner"
    assert code_of(studio.job, BEN, first.job.id) == "job.unknown"
    assert studio.job(ANNA, second.job.id) is second.job and studio.jobs(BEN) == [second.job]
    assert studio.control(ANNA, first.job.id, "stop").commands.stopping
    assert second.job.wait(60)


def test_what_is_somebody_elses_is_not_shown(two) -> None:
    studio, shared, first, second = two
    hers, his = studio.live(ANNA), studio.live(BEN)
    assert hers["running"]["title"] == "Anna's r01" and hers["running"]["mine"]
    assert hers["queue"] == [
        {
            "job": second.job.id,
            "project": shared.id,
            "run": "r01",
            "title": "Everybody's r01",
            "place": 1,
            "mine": False,
        }
    ]
    assert his["queue"][0]["mine"]
    running = his["running"]
    assert set(running) == set(hers["running"]) == LIVE
    assert running["state"] == "running" and running["total_steps"] == 2000 and not running["mine"]
    shown = json.dumps(running)
    for secret in (first.job.id, "Anna", first.watch.project.id, "tiny", "r01"):
        assert secret not in shown
    assert running["loss"] is None and running["samples"] == [] and running["rates"] == {}


def test_nobody_is_put_behind_somebody_who_came_later(make_studio) -> None:
    studio = make_studio(LOGIN)
    project = filled_project(studio.root)
    with studio.host.session():
        running, his, hers, hers_too = (
            studio.start(visitor, project, run_settings()).job for visitor in (ANNA, BEN, ANNA, ANNA)
        )
        assert code_of(studio.control, ANNA, hers.id, "move", place=1) == "access.not_owner"
        studio.control(ANNA, hers_too.id, "move", place=2)
        studio.control(BEN, his.id, "move", place=3)
        assert studio.registry.waiting() == [hers_too, hers, his]
        assert code_of(studio.control, ANNA, running.id, "move") == "job.not_waiting"
        studio.close(timeout=0)


def test_without_logins_anybody_controls_and_moves(make_studio) -> None:
    studio = make_studio(OPEN)
    project = filled_project(studio.root)
    with studio.host.session():
        jobs = [studio.start(ANYBODY, project, run_settings()).job for _ in range(4)]
        studio.control(BEN, jobs[3].id, "move", place=1)
        studio.control(BEN, jobs[1].id, "cancel")
        assert studio.registry.waiting() == [jobs[3], jobs[2]] and jobs[1].state == "stopped"
        studio.close(timeout=0)


def test_every_command_reaches_the_run(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    started = studio.start(ANYBODY, project, long_run(sample_prompts="zuna", sample_steps=2, sample_at_first=False))
    job = started.job.id
    assert eventually(lambda: step_of(studio) > 0)
    studio.control(ANYBODY, job, "save")
    assert eventually(lambda: studio.live(ANYBODY)["running"]["lora"].startswith("Zuna-r01-step"))
    studio.control(ANYBODY, job, "sample")
    assert eventually(lambda: studio.live(ANYBODY)["running"]["samples"])
    (sample,) = studio.live(ANYBODY)["running"]["samples"]
    assert sample == {"name": f"{sample['step']:08d}-00.png", "step": sample["step"], "number": 0}
    studio.control(ANYBODY, job, "pause")
    assert eventually(lambda: getattr(started.job.latest.get("Stage"), "code", "") == "train.stage_paused")
    assert studio.live(ANYBODY)["running"]["paused"]
    at = step_of(studio)
    time.sleep(0.2)
    assert step_of(studio) == at
    studio.control(ANYBODY, job, "continue")
    assert eventually(lambda: step_of(studio) > at) and not studio.live(ANYBODY)["running"]["paused"]
    studio.control(ANYBODY, job, "stop_and_save")
    assert started.job.wait(60)
    info = run_info(studio.host, project, "r01")
    assert info.state == "stopped" and info.lora == f"Zuna-r01-step{info.step:08d}.safetensors"
    for action in ("stop", "save", "sample", "pause", "continue", "cancel"):
        assert code_of(studio.control, ANYBODY, job, action) == "run.not_running"
    assert code_of(studio.control, ANYBODY, job, "explode") == "run.wish"
    assert code_of(studio.control, ANYBODY, "none", "stop") == "job.unknown"


def test_a_project_with_a_living_run_is_not_deleted(make_studio) -> None:
    studio = make_studio()
    project, other = filled_project(studio.root), filled_project(studio.root)
    with studio.host.session():
        running, waiting = (studio.start(ANYBODY, each, run_settings()).job for each in (project, other))
        for each in (project, other):
            assert code_of(studio.delete_project, ANYBODY, each.id) == "studio.project_lives"
        studio.control(ANYBODY, waiting.id, "cancel")
        assert studio.delete_project(ANYBODY, other.id)
        studio.close(timeout=0)
    assert running.wait(60)


def test_resume_and_continue_go_through_the_same_checks(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    started = studio.start(ANYBODY, project, long_run())
    assert eventually(lambda: step_of(studio) > 0)
    studio.control(ANYBODY, started.job.id, "stop_and_save")
    assert started.job.wait(60)
    strangers = make_studio(OPEN, run_limits=LIMITS)
    for call in (strangers.resume, strangers.continue_from):
        assert code_of(call, ANYBODY, project, "r01") == "run.limit"
    again = studio.resume(ANYBODY, project, "r01")
    assert eventually(lambda: step_of(studio) > 0) and studio.live(ANYBODY)["running"]["attempt"] == 2
    studio.control(ANYBODY, again.job.id, "stop_and_save")
    assert again.job.wait(60)
    onward = studio.continue_from(ANYBODY, project, "r01")
    assert onward.run_id == "r02" and studio.live(ANYBODY)["running"]["id"] == "r02"


# ---------------------------------------------------------------------- what every page asks for


def test_the_live_view_tells_all_and_reads_nothing(make_studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    assert studio.live(ANYBODY) | {"time": 0} == {"running": None, "queue": [], "last": None, "time": 0}
    done = studio.start(ANYBODY, project, run_settings(max_train_epochs=1))
    assert done.job.wait(60) and eventually(lambda: studio.live(ANYBODY)["last"])
    last = studio.live(ANYBODY)["last"]
    assert (last["id"], last["state"], last["step"], last["lora"]) == ("r01", "done", 4, "Zuna-r01-000001.safetensors")

    studio.start(ANYBODY, project, long_run(sample_prompts="zuna", sample_steps=2))
    studio.start(ANYBODY, project, run_settings())
    assert eventually(lambda: step_of(studio) > 3)
    studio.live(ANNA)

    def no_reading(*arguments: object, **options: object) -> None:
        raise AssertionError("the live view reads files")

    for name in ("open", "iterdir", "glob", "read_text", "read_bytes"):
        monkeypatch.setattr(Path, name, no_reading)
    try:
        live = studio.live(ANNA)
    finally:
        monkeypatch.undo()
    running = live["running"]
    assert set(running) == LIVE and json.dumps(live)
    assert running["id"] == "r02" and running["total_steps"] == 2000 and running["step"] > 3
    assert running["stage"] == "正在训练" and running["stage_done"] == running["step"]
    assert running["loss"] > 0 and running["loss_smoothed"] > 0 and set(running["rates"]) == {"unet", "text_encoder"}
    assert running["memory"] > 0 and running["remaining"] > 0 and running["mine"] and not running["stopping"]
    assert running["samples"] == [{"name": "00000000-00.png", "step": 0, "number": 0}]
    assert [(each["run"], each["place"]) for each in live["queue"]] == [("r03", 1)]
    assert live["last"]["id"] == "r01" and abs(live["time"] - time.time()) < 60


def test_before_the_first_step_the_stage_is_told(make_studio) -> None:
    studio = make_studio()
    with studio.host.session():
        studio.start(ANYBODY, filled_project(studio.root), run_settings())
        assert eventually(lambda: studio.live(ANYBODY)["running"]["stage"] == "Waiting for the model to be free")
        running = studio.live(ANYBODY)["running"]
        assert (running["step"], running["total_steps"], running["loss"], running["remaining"]) == (0, 12, None, None)
        studio.close(timeout=0)


def test_a_failed_run_is_told_in_the_visitors_language(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    with studio.host.session():
        started = studio.start(ANYBODY, project, run_settings())
        for path in project.path("dataset/1_zuna").glob("*.png"):
            path.write_bytes(b"no picture any more")
    assert started.job.wait(60) and eventually(lambda: studio.live(ANNA)["last"])
    chinese, english = studio.live(ANNA)["last"]["error"], studio.live(ANYBODY)["last"]["error"]
    assert chinese["code"] == english["code"] and chinese["sentence"] != english["sentence"]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese["sentence"])


def test_a_job_that_was_started_without_the_studio_is_shown_too(make_studio) -> None:
    from lib_lora_train.runs.launch import start_run

    studio = make_studio()
    project = filled_project(studio.root)
    with studio.host.session():
        started = start_run(studio.host, studio.registry, project, run_settings())
        assert studio.live(ANYBODY)["running"]["title"] == "Zuna r01"
        assert studio.job(ANYBODY, started.job.id) is started.job
        studio.close(timeout=0)


# ---------------------------------------------------------------------- the end


def test_closing_saves_the_running_job_and_ends_the_line(make_studio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    studio.start(ANYBODY, project, long_run())
    waiting = studio.start(ANYBODY, project, run_settings())
    assert eventually(lambda: step_of(studio) > 2)
    assert studio.close(timeout=60)
    info = run_info(studio.host, project, "r01")
    assert info.state == "stopped" and info.can_resume and info.lora == f"Zuna-r01-step{info.step:08d}.safetensors"
    assert read_job(project.path("runs/r02")).state == waiting.job.state == "stopped"
    assert code_of(studio.start, ANYBODY, project, run_settings()) == "job.queue_full"
    again = make_studio().resume(ANYBODY, project, "r01")
    assert eventually(lambda: again.job.latest.get("Step")) and again.job.latest["Step"].step > info.step
