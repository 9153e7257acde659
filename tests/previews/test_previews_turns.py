"""Whose turn it is where trainings, grids and picks want the one model; nothing is drawn or trained here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.jobs import Job, Registry
from lib_lora_train.previews.turns import Aside, Turns
from lib_lora_train.signals import Commands, EventSink, Stage, ignore_events


class Line:
    """A line of pieces of work that say when they have the model, and keep it until they are let go of."""

    def __init__(self, folder: Path, seen: list[str]) -> None:
        self.registry = Registry()
        self.wait: Callable[[EventSink, Commands], None] = lambda events, commands: None
        self._folder, self._seen = folder, seen
        self._ends: dict[str, threading.Event] = {}

    def put(self, name: str) -> Job:
        self._ends[name] = threading.Event()

        def work(events: EventSink, commands: Commands) -> str:
            self.wait(events, commands)
            self._seen.append(name)
            while not (self._ends[name].wait(0.01) or commands.stopping):
                continue
            return "stopped" if commands.stopping else "done"

        return self.registry.start(name, self._folder / name, work)

    def end(self, job: Job) -> None:
        self._ends[job.title].set()
        assert job.wait(20)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Line, Line, Turns, list[str]]]:
    seen: list[str] = []
    trainings, grids = Line(tmp_path, seen), Line(tmp_path, seen)
    turns = Turns(trainings.registry, grids.registry)
    trainings.registry.around(turns.begin, lambda job, outcome: None)
    grids.wait = turns.wait
    yield trainings, grids, turns, seen
    assert grids.registry.close(20) and trainings.registry.close(20)


def soon(condition: Callable[[], object]) -> bool:
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return bool(condition())


def stage(job: Job) -> str:
    found = job.latest.get("Stage")
    return found.code if isinstance(found, Stage) else ""


def test_a_training_waits_for_the_grids_that_stand_in_line_and_not_for_later_ones(place) -> None:
    trainings, grids, _, seen = place
    first, second = grids.put("g1"), grids.put("g2")
    assert soon(lambda: seen == ["g1"])
    training = trainings.put("t1")
    assert soon(lambda: stage(training) == "previews.stage_grid_first")
    later = grids.put("g3")
    grids.end(first)
    grids.end(second)
    assert soon(lambda: seen[-1] == "t1") and soon(lambda: stage(later) == "previews.stage_others_first")
    trainings.end(training)
    assert soon(lambda: seen == ["g1", "g2", "t1", "g3"])


def test_what_follows_a_training_goes_before_the_next_one(place) -> None:
    trainings, grids, turns, seen = place
    made: list[Job] = []
    trainings.registry.around(turns.begin, lambda job, outcome: made.append(grids.put(f"of {job.title} {outcome}")))
    training, waiting = trainings.put("t1"), trainings.put("t2")
    assert soon(lambda: seen == ["t1"])
    trainings.end(training)
    assert soon(lambda: seen == ["t1", "of t1 done"]) and waiting.state == "running"
    grids.end(made[0])
    assert soon(lambda: seen[-1] == "t2")


def test_a_paused_training_has_let_go_and_comes_first_when_it_goes_on(place) -> None:
    trainings, grids, turns, seen = place
    training = trainings.put("t1")
    assert soon(lambda: seen == ["t1"])
    grid = grids.put("g1")
    assert soon(lambda: stage(grid) == "previews.stage_others_first")
    training.commands.pause()
    assert soon(lambda: seen == ["t1", "g1"]) and not turns.others_first()
    aside = Aside(grid.commands, turns.others_first)
    assert not aside.stopping
    training.commands.resume()
    assert turns.others_first() and aside.stopping and not grid.commands.stopping


def test_who_waits_can_be_stopped(place) -> None:
    trainings, grids, _, seen = place
    training = trainings.put("t1")
    assert soon(lambda: seen == ["t1"])
    grid = grids.put("g1")
    assert soon(lambda: stage(grid) == "previews.stage_others_first")
    grids.registry.stop(grid)
    assert grid.wait(20) and grid.state == "stopped"
    trainings.end(training)
    other = grids.put("g2")
    assert soon(lambda: seen == ["t1", "g2"])
    later = trainings.put("t2")
    assert soon(lambda: stage(later) == "previews.stage_grid_first")
    trainings.registry.stop(later)
    assert later.wait(20) and later.state == "stopped"
    grids.end(other)
    assert seen == ["t1", "g2"]


def test_a_pick_goes_between_two_batches_and_is_refused_only_by_a_training(place) -> None:
    trainings, grids, turns, seen = place
    grid = grids.put("g1")
    assert soon(lambda: seen == ["g1"]) and not turns.others_first()
    training = trainings.put("t1")
    with turns.picking():
        assert turns.others_first()
        grids.end(grid)  # the training still waits: for the pick
        time.sleep(0.15)
        assert seen == ["g1"]
    assert soon(lambda: seen == ["g1", "t1"])
    with pytest.raises(UserError) as caught, turns.picking():
        pass
    assert caught.value.code == "previews.model_busy"
    training.commands.pause()
    with turns.picking():
        assert turns.others_first()
        turns.go_on(training)
        assert training.commands.paused  # for as long as a pick takes
    assert not training.commands.paused
    training.commands.pause()
    turns.go_on(training)
    with pytest.raises(UserError):
        turns.check_no_training()
    trainings.end(training)
    turns.wait(ignore_events, Commands())  # nobody is there
    turns.check_no_training()
