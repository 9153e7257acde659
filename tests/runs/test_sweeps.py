"""Sweeps: which runs come of several values, what is refused, and that all are put in line or none."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.jobs import MAX_WAITING, Registry
from lib_lora_train.project import Project, list_runs
from lib_lora_train.runs import sweeps
from lib_lora_train.runs.drafts import has_draft
from lib_lora_train.runs.records import read_record
from lib_lora_train.runs.sweeps import MOST_RUNS, SWEEP, plan_sweep, read_sweep, runs_of_sweep, start_sweep
from lib_lora_train.settings import TrainSettings
from tests.helpers.studios import run_settings


def test_every_combination_in_order() -> None:
    settings = run_settings()
    before = asdict(settings)
    runs = plan_sweep(settings, {"optimizer.unet_lr": ["1e-4", 5e-5], "network_dim": [4, "8"]})
    assert [run.label for run in runs] == [
        "unet_lr 1e-4, network_dim 4",
        "unet_lr 1e-4, network_dim 8",
        "unet_lr 5e-05, network_dim 4",
        "unet_lr 5e-05, network_dim 8",
    ]
    assert [(run.settings.optimizer.unet_lr, run.settings.network.network_dim) for run in runs] == [
        ("1e-4", 4), ("1e-4", 8), ("5e-05", 4), ("5e-05", 8),
    ]  # fmt: skip
    assert asdict(settings) == before
    for run in runs:
        changed = asdict(run.settings)
        changed["optimizer"]["unet_lr"] = before["optimizer"]["unet_lr"]
        changed["network"]["network_dim"] = before["network"]["network_dim"]
        assert changed == before


def test_caption_choices_and_every_other_kind_of_value() -> None:
    runs = plan_sweep(
        TrainSettings(),
        {"dataset.shuffle_caption": [True, "false"], "optimizer.optimizer_args": ["weight_decay=0.1 eps=1e-8", []]},
    )
    assert [run.label for run in runs] == [
        "shuffle_caption on, optimizer_args weight_decay=0.1 eps=1e-8",
        "shuffle_caption on, optimizer_args -",
        "shuffle_caption off, optimizer_args weight_decay=0.1 eps=1e-8",
        "shuffle_caption off, optimizer_args -",
    ]
    assert runs[0].settings.optimizer.optimizer_args == ["weight_decay=0.1", "eps=1e-8"]
    runs[0].settings.optimizer.optimizer_args.append("x")
    assert runs[2].settings.optimizer.optimizer_args == ["weight_decay=0.1", "eps=1e-8"]


def test_by_kohyas_name_and_each_value_once() -> None:
    runs = plan_sweep(TrainSettings(), {"lr_scheduler": ["cosine", "constant", "cosine"], "save_last_n_epochs": ["2"]})
    assert [run.settings.optimizer.lr_scheduler for run in runs] == ["cosine", "constant"]
    assert all(run.settings.run.save_last_n == 2 for run in runs)


@pytest.mark.parametrize(
    ("values", "code", "where"),
    [
        ({}, "sweep.nothing", "values"),
        ({"network_dim": []}, "sweep.nothing", "network_dim"),
        ({"network_dim": "48"}, "sweep.nothing", "network_dim"),
        ({"network_dim": [4], "network.network_dim": [8]}, "sweep.nothing", "values"),
        ({"network_dim": [4, 0]}, "settings.bounds", "network_dim"),
        ({"network_dim": ["many"]}, "settings.whole_number", "network_dim"),
        ({"network_dims": [4]}, "settings.unknown", "network_dims"),
        ({"lr_scheduler": ["steep"]}, "settings.choice", "lr_scheduler"),
        ({"train_data_dir": ["/etc"]}, "sweep.setting", "train_data_dir"),
        ({"run.output_name": ["x"]}, "sweep.setting", "output_name"),
        ({"run.logging_dir": ["/tmp"]}, "sweep.setting", "logging_dir"),
        ({"network_dim": list(range(1, 8)), "seed": list(range(5))}, "sweep.too_many", "values"),
        ({"seed": list(range(MOST_RUNS + 1))}, "sweep.too_many", "seed"),
        ({"resolution": ["512", "13"]}, "settings.resolution", "resolution"),
    ],
)
def test_what_is_refused(values: dict[str, list[object]], code: str, where: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_sweep(TrainSettings(), values)
    assert (caught.value.code, caught.value.where) == (code, where)


def test_as_many_as_allowed() -> None:
    assert len(plan_sweep(TrainSettings(), {"network_dim": list(range(1, 9)), "seed": [1, 2, 3, 4]})) == MOST_RUNS


# ---------------------------------------------------------------------- in line


def test_more_runs_than_single_ones_may_wait(host, registry: Registry, project: Project) -> None:
    """All are put in line, marked as belonging together; the draft is not touched."""
    runs = plan_sweep(run_settings(), {"network_dim": list(range(1, MAX_WAITING + 4))})
    with host.session():  # so that the first one waits
        started = start_sweep(host, registry, project, runs, owner="anna")
        assert len(registry.waiting()) == len(runs) - 1 > MAX_WAITING
        assert [each.job.owner for each in started] == ["anna"] * len(runs)
        for each in reversed(started):
            registry.stop(each.job)
    ids = [each.run_id for each in started]
    assert [each.run_id for each in runs_of_sweep(project, ids[3])] == ids == list_runs(project)
    assert [each.label for each in runs_of_sweep(project, ids[0])] == [run.label for run in runs]
    dims = [read_record(project.path("runs", name)).settings.network.network_dim for name in ids]
    assert dims == list(range(1, MAX_WAITING + 4)) and not has_draft(project)


def test_a_sweep_trains(host, registry: Registry, project: Project) -> None:
    runs = plan_sweep(run_settings(max_train_epochs=1), {"network_dim": [1, 2]})
    started = start_sweep(host, registry, project, runs)
    assert all(each.job.wait(120) and each.job.state == "done" for each in started)


def test_none_is_started_where_one_cannot_be(host, registry: Registry, project: Project) -> None:
    runs = plan_sweep(run_settings(), {"optimizer.learning_rate": ["1e-4", "fast"]})
    with pytest.raises(UserError):
        start_sweep(host, registry, project, runs)
    assert list_runs(project) == [] and registry.running() is None


def test_a_line_that_is_too_long_takes_none(host, registry: Registry, project: Project) -> None:
    runs = plan_sweep(run_settings(), {"seed": list(range(MOST_RUNS))})
    with host.session():
        started = start_sweep(host, registry, project, runs)
        with pytest.raises(UserError) as caught:
            start_sweep(host, registry, project, runs)
        assert caught.value.code == "job.queue_full" and len(list_runs(project)) == MOST_RUNS
        for each in reversed(started):
            registry.stop(each.job)


def test_a_failure_on_the_way_leaves_no_run_in_line(
    host, registry: Registry, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = sweeps.start_one_of_many, 0

    def start(*arguments: object):
        nonlocal count
        count += 1
        if count == 3:
            raise UserError("file.write", "r03", reason="No space left on device")
        return real(*arguments)

    monkeypatch.setattr(sweeps, "start_one_of_many", start)
    with host.session():
        with pytest.raises(UserError):
            start_sweep(host, registry, project, plan_sweep(run_settings(), {"seed": [1, 2, 3, 4]}))
        assert registry.waiting() == [] and list_runs(project) == ["r01"]  # which was running, and stops
        running = registry.running()
    assert running is None or running.wait(60)


def test_pictures_are_counted_once(host, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the LoRA differs, steps of all runs are told from one look at the pictures."""
    real, counted = sweeps.showings, []

    def showings(*arguments: object):
        counted.append(1)
        return real(*arguments)

    monkeypatch.setattr(sweeps, "showings", showings)
    values = {"network_dim": [2, 4], "network_weights": ["", "nothing"], "max_train_steps": [3, 5]}
    settings = run_settings()
    settings.run.max_train_epochs = 0
    looked_at = sweeps.look_at_runs(host, project, plan_sweep(settings, values))
    assert [steps for steps, _ in looked_at] == [3, 5, 0, 0] * 2
    assert [error and error.code for _, error in looked_at] == [None, None, "run.no_lora", "run.no_lora"] * 2
    assert len(counted) == 2


def test_a_run_without_a_mark_stands_alone(project: Project, tmp_path: Path) -> None:
    folder = project.path("runs", "r01")
    folder.mkdir()
    assert read_sweep(folder) is None and runs_of_sweep(project, "r01") == []
    (folder / SWEEP).write_text("[1]", encoding="utf-8")
    assert read_sweep(folder) is None
