"""The measuring tools measure: what differs is found, and nothing is within a bound that is not."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import agreement, peer
from benchmarks.agreement import Check


def test_relative_difference():
    theirs = torch.tensor([3.0, 4.0])
    assert agreement.relative(theirs, theirs) == 0
    assert agreement.relative(theirs + torch.tensor([0.0, 0.5]), theirs) == pytest.approx(0.1)
    assert agreement.relative(torch.tensor([0.25]), torch.zeros(1)) == 0.25


def test_one_bad_tensor_is_not_drowned():
    theirs = {"large": torch.full((1000,), 10.0), "small": torch.tensor([1.0])}
    ours = theirs | {"small": torch.tensor([1.5])}
    assert agreement.worst_relative(ours, theirs) == 0.5
    assert agreement.overall_relative(ours, theirs) == pytest.approx(0.5 / 100_001**0.5)


def test_rows_of_another_length_never_agree():
    assert agreement.worst_ratio([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert agreement.worst_ratio([1.0], [1.0, 2.0]) == float("inf")


def test_layout():
    theirs = {"a": torch.zeros(2, 3), "b": torch.zeros(1), "c": torch.zeros(1)}
    ours = {"a": torch.zeros(3, 2), "b": torch.zeros(1, dtype=torch.float16), "d": torch.zeros(1)}
    assert agreement.layout_differences(theirs, dict(theirs)) == []
    assert agreement.layout_differences(ours, theirs) == [
        "only ours: d",
        "only theirs: c",
        "a: float32 [3, 2] for float32 [2, 3]",
        "b: float16 [1] for float32 [1]",
    ]
    assert agreement.metadata_differences({"x": "", "y": ""}, {"y": "1", "z": ""}) == {
        "only_ours": ["x"],
        "only_theirs": ["z"],
    }


@pytest.mark.parametrize(
    ("value", "bound", "holds"),
    [(1.0, None, True), (1.0, 1.0, True), (1.0, 0.99, False), (float("nan"), 1.0, False), (0.0, 0, True)],
)
def test_bounds(value, bound, holds):
    assert Check("x", value, bound).holds is holds


def test_process_is_measured_by_itself(tmp_path):
    least = peer.run_process([sys.executable, "-c", ""], 1, tmp_path / "log").peak
    more = least + 100_000_000
    large = peer.run_process([sys.executable, "-c", f"x = b'1' * {more}"], 1, tmp_path / "log")
    small = peer.run_process([sys.executable, "-c", ""], 1, tmp_path / "log")
    assert large.peak > more > small.peak  # not the largest child of all so far
    assert small.seconds > 0 and small.cpu > 0
    with pytest.raises(SystemExit, match="what it said last"):
        peer.run_process([sys.executable, "-c", "raise ValueError('what it said last')"], 1, tmp_path / "log")


def test_a_run_is_repeated_when_anything_in_it_changed(tmp_path):
    inputs = peer.Inputs(tmp_path, tmp_path, tmp_path, tmp_path)
    request = {"report": str(tmp_path / "kohya" / "a.json"), "arguments": ["--seed=1"]}
    assert not peer.was_run(inputs, "a", request)
    (tmp_path / "kohya").mkdir()
    (tmp_path / "kohya" / "a.request.json").write_text(json.dumps(request))
    assert not peer.was_run(inputs, "a", request)  # begun, not done
    (tmp_path / "kohya" / "a.json").write_text("{}")
    assert peer.was_run(inputs, "a", request)
    assert not peer.was_run(inputs, "a", request | {"arguments": ["--seed=2"]})
