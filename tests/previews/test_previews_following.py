"""The grid that follows a training by itself: of one run, of a sweep, and where there is none, why."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_lora_train.access import Exposure, Visitor
from lib_lora_train.collection.bound import bound_note
from lib_lora_train.collection.history import History, TextChange
from lib_lora_train.job_files import read_events
from lib_lora_train.jobs import Job, Registry
from lib_lora_train.preview.scores import TrainingSet
from lib_lora_train.preview.scores.training import _traits
from lib_lora_train.previews import following, store, working
from lib_lora_train.previews.previews import Question
from lib_lora_train.previews.rates import Rates
from lib_lora_train.previews.store import Cost
from lib_lora_train.project import Project, list_projects
from lib_lora_train.runs.grid_marks import GridMark, read_mark, write_mark
from lib_lora_train.runs.history import run_info
from lib_lora_train.runs.runlog import read_log
from lib_lora_train.runs.sweeps import plan_sweep
from lib_lora_train.signals import Log
from lib_lora_train.studio import Studio
from tests.helpers.studios import filled_project, run_settings, studio_host

ANYBODY = Visitor()
SMALL = {"width": 64, "height": 64, "steps": 1, "weights": "0, 1", "seeds": "1", "prompts": "zuna, girl"}
MakeStudio = Callable[..., Studio]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SIZES", (SMALL,))


@pytest.fixture
def make_studio(tmp_path: Path, tiny_checkpoint: Path) -> Iterator[MakeStudio]:
    made: list[Studio] = []

    def make(exposure: Exposure | None = None, root: Path = tmp_path) -> Studio:
        host = studio_host(root, tiny_checkpoint)
        host.paths.projects.mkdir(exist_ok=True)
        made.append(Studio(host, Registry(), host.paths.projects, exposure or Exposure()))
        return made[-1]

    yield make
    for studio in made:
        assert studio.close(timeout=180)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A folder with a project and a run of three files, without a grid; to be copied, not written into."""
    folder = tmp_path_factory.mktemp("following")
    host = studio_host(folder, tiny_checkpoint)
    host.paths.projects.mkdir()
    studio = Studio(host, Registry(), host.paths.projects, Exposure())
    started = studio.start(ANYBODY, filled_project(studio.root), run_settings())
    assert started.job.wait(180) and started.job.state == "done"
    assert studio.close(timeout=180)
    return folder


@pytest.fixture
def done(trained: Path, tmp_path: Path, make_studio: MakeStudio) -> tuple[Studio, Project]:
    shutil.copytree(trained, tmp_path / "copy")
    studio = make_studio(root=tmp_path / "copy")
    return studio, list_projects(studio.root)[0][0]


def short(**changes: Any) -> Any:
    return run_settings(**{"max_train_epochs": 1, "grid_after_training": True, **changes})


def codes(folder: Path) -> list[str]:
    return [str(each.get("code", each["event"])) for each in read_events(folder)[0]]


def grid_job(studio: Studio, project: Project, grid: str) -> None:
    """Until the grid is drawn and scored."""
    registry, folder = studio.previews.line.registry, project.path("grids", grid, "job")
    for job in (registry.running(), *registry.waiting()):
        if job is not None and job.folder == folder:
            assert job.wait(180) and job.state == "done", job.record


def ended(studio: Studio, project: Project, outcome: str = "done", run: str = "r01") -> Log | None:
    """As if the job of a run had just ended."""
    settings = run_settings(grid_after_training=True)
    record = following.read_record(project.path("runs", run))
    job: Any = SimpleNamespace(id="x", owner="anna", latest={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "read_record", lambda folder: replace(record, settings=settings))
        return following.Following(studio.previews).training_ended(project, run, job, outcome)


def test_a_run_that_is_done_is_followed_by_its_grid_before_the_next_one_begins(make_studio: MakeStudio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    first, second = studio.start(ANYBODY, project, short()), studio.start(ANYBODY, project, short(seed=2))
    assert first.job.wait(180) and second.job.wait(180) and second.job.state == "done"
    assert [run_info(studio.host, project, run).grid.grid for run in ("r01", "r02")] == ["g01", "g02"]
    shown = studio.live(ANYBODY)["last"]
    assert shown["grid"] == "g02" and "g02" in shown["grid_note"]
    said = [line.text for line in read_log(project, "r01")[0]]
    assert any("g01 in Previews, pictures: 2" in text for text in said), said
    assert [line.text for line in read_log(project, "r01", 0, "zh-CN")[0]] != said
    before = studio.previews.rates.seconds(studio.previews.view(project, "g01").kept.grid, 1)
    assert before is not None and before > 0
    grid_job(studio, project, "g02")
    one = studio.previews.shown(project, "g01", ANYBODY)
    assert (one["state"], one["asked"]["runs"], one["made"], one["scores"]["whole"]) == ("done", ["r01"], 2, True)
    # The second run was there at once, and let the grid of the first one go before.
    events = codes(project.path("runs", "r02"))
    assert events[0] == "previews.stage_grid_first"
    drawn = max(event["time"] for event in read_events(project.path("grids", "g01", "job"))[0])
    trained = min(event["time"] for event in read_events(project.path("runs", "r02"))[0] if event["event"] == "Step")
    assert drawn <= trained


def test_a_run_that_is_stopped_says_why_there_is_no_grid(make_studio: MakeStudio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    started = studio.start(ANYBODY, project, short(max_train_epochs=10_000, save_every_n_steps=1))
    while "Step" not in started.job.latest:
        time.sleep(0.01)
    studio.control(ANYBODY, started.job.id, "stop_and_save")
    assert started.job.wait(180) and started.job.state == "stopped"
    info = run_info(studio.host, project, "r01").as_dict("en")
    assert info["grid"] == "" and info["grid_note"].startswith("No grid was made, because the training was told to")
    assert "previews.skipped_stopped" in codes(project.path("runs", "r01")) and store.list_ids(project) == []


def test_where_nobody_wants_one_nothing_is_said(make_studio: MakeStudio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    started = studio.start(ANYBODY, project, short(grid_after_training=False))
    assert started.job.wait(180) and started.job.state == "done"
    assert store.list_ids(project) == [] and run_info(studio.host, project, "r01").grid == GridMark()
    assert not any(code.startswith("previews.") for code in codes(project.path("runs", "r01")))


def test_a_sweep_gives_one_grid_when_its_last_run_has_ended(make_studio: MakeStudio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    runs = studio.sweep(ANYBODY, project, plan_sweep(short(), {"network_dim": [2, 3, 4]}))
    studio.control(ANYBODY, runs[1].job.id, "stop")  # taken out of the line; it can be gone on with
    for run in (runs[0], runs[2]):
        assert run.job.wait(180) and run.job.state == "done"
    assert "previews.sweep_waits" in codes(project.path("runs", "r01"))
    assert store.list_ids(project) == ["g01"]
    assert studio.previews.view(project, "g01").kept.asked.runs == ("r01", "r03")
    assert [run_info(studio.host, project, run).grid.grid for run in ("r01", "r02", "r03")] == ["g01", "", "g01"]
    grid_job(studio, project, "g01")
    again = studio.resume(ANYBODY, project, "r02")  # what was left out comes into the same grid
    assert again.job.wait(180) and again.job.state == "done"
    assert store.list_ids(project) == ["g01"] and run_info(studio.host, project, "r02").grid.grid == "g01"
    shown = studio.previews.shown(project, "g01", ANYBODY)
    assert shown["asked"]["runs"] == ["r01", "r02", "r03"] and len(shown["columns"]) == 3
    grid_job(studio, project, "g01")


def test_the_last_one_of_a_sweep_may_be_one_that_never_ran(make_studio: MakeStudio) -> None:
    studio = make_studio()
    project = filled_project(studio.root)
    runs = studio.sweep(ANYBODY, project, plan_sweep(short(max_train_epochs=40), {"network_dim": [2, 3]}))
    while "Step" not in runs[0].job.latest:
        time.sleep(0.01)
    studio.control(ANYBODY, runs[0].job.id, "save")
    while "Saved" not in runs[0].job.latest:
        time.sleep(0.01)
    studio.control(ANYBODY, runs[1].job.id, "stop")
    assert store.list_ids(project) == []  # the first one still trains
    studio.control(ANYBODY, runs[0].job.id, "stop")
    assert runs[0].job.wait(180) and runs[0].job.state == "stopped"
    assert store.list_ids(project) == ["g01"] and studio.previews.view(project, "g01").kept.asked.runs == ("r01",)
    grid_job(studio, project, "g01")


def test_what_cannot_be_put_in_line_is_kept_for_later(done: tuple[Studio, Project]) -> None:
    studio, project = done
    assert studio.previews.close(20)  # as when the program ends while a run is written down as done
    said = ended(studio, project)
    assert said is not None and said.code == "previews.kept"
    assert run_info(studio.host, project, "r01").grid.grid == "g01"
    shown = studio.previews.shown(project, "g01", ANYBODY)
    assert (shown["state"], shown["made"], shown["size"]) == ("new", 0, 4)


def test_a_grid_of_a_run_is_found_again_after_a_restart(done: tuple[Studio, Project], make_studio: MakeStudio) -> None:
    studio, project = done
    assert ended(studio, project).code == "previews.queued"
    assert studio.close(180)
    other = make_studio(root=studio.root.parent)
    assert run_info(other.host, project, "r01").grid.grid == "g01"
    assert other.previews.shown(project, "g01", ANYBODY)["state"] in ("stopped", "done")
    other.previews.go_on(project, ANYBODY, "g01")
    grid_job(other, project, "g01")
    assert other.previews.shown(project, "g01", ANYBODY)["made"] == 4
    assert ended(other, project).code == "previews.queued" and store.list_ids(project) == ["g01"]


def test_a_run_that_died_before_it_was_written_down_as_done_gets_its_grid_when_it_goes_on(
    done: tuple[Studio, Project],
) -> None:
    studio, project = done
    folder = project.path("runs", "r01")
    before = sorted(path.name for path in (studio.host.paths.loras / project.id).iterdir())
    for name, change in (("job.json", {"state": "running", "ended": None}), ("run.json", {})):
        said = json.loads((folder / name).read_text(encoding="utf-8")) | change
        if name == "run.json":
            said["settings"].setdefault("run", {})["grid_after_training"] = True
        (folder / name).write_text(json.dumps(said), encoding="utf-8")
    assert run_info(studio.host, project, "r01").state == "interrupted"
    started = studio.resume(ANYBODY, project, "r01")
    assert started.job.wait(180) and started.job.state == "done"
    assert run_info(studio.host, project, "r01").grid.grid == "g01"
    assert sorted(path.name for path in (studio.host.paths.loras / project.id).iterdir()) == before


def test_what_stands_in_the_way_is_said(done: tuple[Studio, Project]) -> None:
    studio, project = done
    assert ended(studio, project, "failed") is None  # what was wrong is said already
    for path in (studio.host.paths.loras / project.id).iterdir():
        path.unlink()
    said = ended(studio, project)
    assert said.code == "previews.skipped" and "r01" in str(said.values["reason"])
    assert run_info(studio.host, project, "r01").as_dict("zh-CN")["grid_note"].startswith("没有生成网格")
    shutil.rmtree(project.path("runs", "r01"))
    gone = following.Following(studio.previews).training_ended(
        project, "r01", SimpleNamespace(id="x", owner="", latest={}), "done"
    )
    assert gone.code == "previews.skipped"


def test_nobody_asked_for_a_large_one(done: tuple[Studio, Project], monkeypatch: pytest.MonkeyPatch) -> None:
    studio, project = done
    sizes = ({"seeds": "1, 2, 3"}, {"checkpoints": 2, "seeds": "1, 2, 3"}, {"checkpoints": 1})

    def fitting(most: int, longest: float = 1e9) -> dict[str, Any]:
        return studio.previews.fitting(project, ANYBODY, ["r01"], sizes, most, longest)

    pictures = [studio.previews.plan(project, ANYBODY, Question(("r01",), settings=each))["size"] for each in sizes]
    assert pictures == sorted(pictures, reverse=True) and len(set(pictures)) == 3
    assert [fitting(most) for most in (pictures[0], pictures[0] - 1, pictures[1] - 1, 1)] == [sizes[0], sizes[1], sizes[2], sizes[2]]  # fmt: skip
    studio.previews.start(project, ANYBODY, Question(("r01",), settings=SMALL))
    grid_job(studio, project, "g01")
    plan = studio.previews.plan(project, ANYBODY, Question(("r01",), settings=sizes[0]))
    assert fitting(10**6, plan["seconds"] * 2) == sizes[0] and fitting(10**6, plan["seconds"] * 0.9) == sizes[1]
    assert fitting(10**6, 0.0) == sizes[2]


def test_the_files_of_a_run_are_spread_evenly(done: tuple[Studio, Project]) -> None:
    studio, project = done
    question = Question(("r01",), settings={**SMALL, "checkpoints": 2})
    steps = [each["step"] for each in studio.previews.plan(project, ANYBODY, question)["columns"]]
    assert steps == [8, 12]
    all_of_them = Question(("r01",), settings={**SMALL, "checkpoints": 0})
    assert len(studio.previews.plan(project, ANYBODY, all_of_them)["columns"]) == 3


def test_a_mark_that_cannot_be_read_says_nothing(done: tuple[Studio, Project]) -> None:
    _, project = done
    folder = project.path("runs", "r01")
    assert read_mark(project, folder) == GridMark()
    write_mark(folder, GridMark("g07", Log("previews.queued", {"grid": "g07", "pictures": 4})))
    assert read_mark(project, folder) == GridMark()  # deleted since
    project.path("grids", "g07").mkdir(parents=True)
    assert read_mark(project, folder).grid == "g07"
    write_mark(folder, GridMark("", Log("previews.of_tomorrow")))
    assert read_mark(project, folder).said("en") == ""
    for content in ("", "[]", '{"grid": 1}', '{"grid": "g07", "note": 3}'):
        (folder / "grid.json").write_text(content)
        assert read_mark(project, folder) == GridMark()


def test_a_waiting_training_does_not_keep_the_grids_job_from_being_stopped(done: tuple[Studio, Project]) -> None:
    studio, project = done
    with studio.host.session():
        assert ended(studio, project).code == "previews.queued"
        started = studio.start(ANYBODY, project, short(grid_after_training=False))
        job: Job = started.job
        while "Stage" not in job.latest:
            time.sleep(0.01)
        assert studio.live(ANYBODY)["running"]["stage"] == "Waiting for a grid that is drawn first"
        studio.previews.stop(project, ANYBODY, "g01")
    assert job.wait(180) and job.state == "done"


def test_a_grid_lets_go_of_the_model_for_whoever_waits_and_is_done_all_the_same(
    done: tuple[Studio, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, project = done
    host, sessions = studio.host, []
    session = host.session

    def counted(*arguments: Any) -> Any:
        sessions.append(1)
        return session(*arguments)

    monkeypatch.setattr(working, "_ASIDE_SECONDS", 0.0)
    monkeypatch.setattr(host, "session", counted)
    monkeypatch.setattr(host, "wanted", lambda: True)
    monkeypatch.setattr(host, "pictures_at_once", lambda width, height: 1)
    studio.previews.start(project, ANYBODY, Question(("r01",), settings=SMALL))
    grid_job(studio, project, "g01")
    shown = studio.previews.shown(project, "g01", ANYBODY)
    assert (shown["made"], shown["size"], shown["cost"]["drawn"], shown["cost"]["switches"]) == (4, 4, 4, 3)
    assert len(sessions) == 4  # one picture at a time, and each time one


def test_scores_hold_to_what_was_bound(done: tuple[Studio, Project]) -> None:
    studio, project = done
    caption = project.path("dataset/1_zuna/0.txt")
    old = caption.read_bytes()
    change = TextChange("dataset/1_zuna/0.txt", old, b"zuna, hat, silver_hair")
    history = History.of_project(project)
    history.append(
        [change], Log("traits.title", {"bound": 2, "fixed": 0}), bound_note({}, ["red_hair", "silver hair", "^_^"])
    )
    history.finish()
    training = studio.previews.asking.training(project, ["r01"])
    assert training.bound == ("red hair", "^_^") and len(training.pictures) == 5  # silver hair is said after all


def test_bound_tags_are_the_traits_where_the_tagger_sees_any() -> None:
    seen: Any = [(SimpleNamespace(tags={"red hair": 0.9, "scar": 0.1, "1girl": 0.8}), ("smile",))] * 3
    assert set(_traits(seen, TrainingSet(bound=("red hair", "scar")))) == {"red hair"}
    assert set(_traits(seen, TrainingSet(bound=("scar",)))) == {"red hair", "1girl"}
    assert set(_traits(seen, TrainingSet())) == {"red hair", "1girl"}


def test_what_tells_how_long_drawing_takes(done: tuple[Studio, Project]) -> None:
    studio, project = done
    studio.previews.start(project, ANYBODY, Question(("r01",), settings=SMALL))
    grid_job(studio, project, "g01")
    kept = studio.previews.view(project, "g01").kept
    grid, other = kept.grid, replace(kept.grid, bases=(replace(kept.grid.bases[0], name="other"),))
    rates = Rates()
    assert rates.seconds(grid, 10) is None
    rates.trained("other", 2.0, 64 * 64)  # pictures a second: of 64 px and one step each takes 2 / 3.5 of half a second
    assert rates.seconds(other, 7) == pytest.approx(2.0) and rates.seconds(grid, 7) is None
    old = replace(kept, cost=Cost(8.0, 4, 1))
    assert rates.seconds(grid, 3, [old]) == pytest.approx(6.0)
    assert rates.seconds(other, 7, [old]) == pytest.approx(2.0)  # its own training tells better than another's pictures
    rates.count(grid, Cost(1.0, 4, 1))
    assert rates.seconds(grid, 4, [old]) == pytest.approx(1.0)
    third = replace(grid, bases=(replace(grid.bases[0], name="third"),))
    assert rates.seconds(third, 4, [old]) == pytest.approx(1.0)
    rates.count(grid, Cost(0.0, 0, 0))  # nothing was drawn
    rates.trained("third", 0.0, 64 * 64)
    assert rates.seconds(third, 4) == pytest.approx(1.0)
