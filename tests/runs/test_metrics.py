"""The loss curve out of its file: thinned, incremental, robust."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lib_lora_train.runs.metrics as metrics_module
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project, create_project, new_run
from lib_lora_train.runs.infos import METRICS, last_metrics
from lib_lora_train.runs.metrics import Metrics, read_metrics


def line(step: int, **changes: object) -> str:
    values = {
        "step": step, "total_steps": 9999, "epoch": 1, "total_epochs": 5, "loss": step / 10, "loss_smoothed": step / 20,
        "learning_rates": {"text_encoder": 0.5, "unet": step / 1000}, "gradient_norm": 1.0, "elapsed": 1.0,
    }  # fmt: skip
    return json.dumps(values | changes) + "\n"


def point(step: int) -> tuple[int, float, float, float]:
    return step, step / 10, step / 20, step / 1000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = create_project(tmp_path_factory.mktemp("projects"), "x")
    new_run(project)
    return project


def write(project: Project, text: str) -> Path:
    path = project.path("runs/r01") / METRICS
    path.write_text(text, encoding="utf-8")
    return path


def test_no_steps_yet(project: Project) -> None:
    (project.path("runs/r01") / METRICS).unlink(missing_ok=True)
    assert read_metrics(project, "r01") == Metrics([], 0)
    write(project, "")
    assert read_metrics(project, "r01", after=7) == Metrics([], 0)
    with pytest.raises(UserError) as caught:
        read_metrics(project, "r99")
    assert caught.value.code == "project.no_run"


def test_all_and_what_came_after(project: Project) -> None:
    write(project, "".join(line(step) for step in range(1, 11)))
    assert read_metrics(project, "r01") == Metrics([point(step) for step in range(1, 11)], 10)
    assert read_metrics(project, "r01", after=7).points == [point(8), point(9), point(10)]
    assert read_metrics(project, "r01", after=10) == Metrics([], 10)
    assert read_metrics(project, "r01", after=500) == Metrics([], 10)  # the run went back
    assert read_metrics(project, "r01", after=-5).points[0] == point(1)


def test_torn_and_foreign_lines_are_passed_over(project: Project) -> None:
    torn = line(3)[:40] + "\n"
    write(project, line(1) + torn + "7\n[]\n\x00\n" + line(2, loss=None) + line(4) + line(5)[:30])
    assert read_metrics(project, "r01") == Metrics([point(1), point(4)], 4)
    assert last_metrics(project.path("runs/r01"))["step"] == 4
    write(project, line(3)[:30])
    assert read_metrics(project, "r01") == Metrics([], 0)
    assert last_metrics(project.path("runs/r01")) is None


@pytest.mark.parametrize(
    ("rates", "rate"), [({"text_encoder": 0.25}, 0.25), ({}, 0.0), (None, 0.0), ({"unet": "x"}, 0.0), ([], 0.0)]
)
def test_the_rate_is_that_of_what_is_trained(project: Project, rates: object, rate: float) -> None:
    write(project, line(1, learning_rates=rates))
    assert read_metrics(project, "r01").points == [(1, 0.1, 0.05, rate)]


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(-3, 450), st.integers(1, 60), st.integers(200, 5000))
def test_at_most_so_many_evenly_and_with_the_last(
    project: Project, count: int, after: int, most: int, piece: int
) -> None:
    write(project, "".join(line(step) for step in range(1, count + 1)))
    metrics_module._PIECE, before = piece, metrics_module._PIECE
    try:
        found = read_metrics(project, "r01", after=after, most=most)
    finally:
        metrics_module._PIECE = before
    wanted = list(range(max(after, 0) + 1, count + 1))
    steps = [step for step, *_ in found.points]
    assert found.last == count
    assert len(steps) == min(most, len(wanted)) and set(steps) <= set(wanted) and steps == sorted(steps)
    if wanted:
        assert steps[-1] == count and (most == 1 or steps[0] == wanted[0])
        gaps = [b - a for a, b in pairwise(steps)]
        assert not gaps or max(gaps) - min(gaps) <= 1


def test_whoever_asks_again_reads_little(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    size = write(project, "".join(line(step) for step in range(1, 20_001))).stat().st_size
    parsed = []
    real = metrics_module.metrics_line
    monkeypatch.setattr(metrics_module, "metrics_line", lambda raw: parsed.append(len(raw)) or real(raw))
    assert read_metrics(project, "r01", after=19_998).points == [point(19_999), point(20_000)]
    assert sum(parsed) < size / 20
    parsed.clear()
    assert len(read_metrics(project, "r01", most=2000).points) == 2000
    assert len(parsed) < 2 * 2000 + 10
