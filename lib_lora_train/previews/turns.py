"""Whose turn it is where trainings, grids and picks want the one model.

A training that has begun goes on until it ends or is paused; a grid that is asked for meanwhile waits. A training whose
turn comes waits for the grids that stand in line by then, that of the run before it among them: they take minutes, and
say whether it is worth while. A pick takes seconds, and goes between two batches of a grid.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped

if TYPE_CHECKING:
    from lib_lora_train.jobs import Job, Registry

_LOOK_SECONDS = 0.05


class Turns:
    """`trainings` and `grids` are the lines that they stand in. All methods may be called from any thread.

    Who goes first is told by two times, that a training was begun and that a grid was put in line: of two that wait
    for each other one is always the later.
    """

    def __init__(self, trainings: Registry, grids: Registry) -> None:
        self._trainings = trainings
        self._grids = grids
        self._guard = threading.Lock()
        self._begun = ""  # the job that trains, once it was let through
        self._picks = 0
        self._later: list[Job] = []  # trainings that go on after the picks

    def begin(self, training: Job) -> None:
        """Lets a training through once it is its turn. Raises Stopped when it is told to stop meanwhile."""

        def free() -> bool:
            with self._guard:
                if self._picks or self._grid_before(training):
                    return False
                self._begun = training.id
                return True

        _wait(free, training.commands, training.send, "previews.stage_grid_first")

    def wait(self, events: EventSink, commands: Commands) -> None:
        """Lets the grid that is being worked on through. Raises Stopped when it is told to stop meanwhile."""
        _wait(lambda: not self.others_first(), commands, events, "previews.stage_others_first")

    def others_first(self) -> bool:
        """Whether the grid that is being worked on is to let go of the model after its batch."""
        grid, training = self._grids.running(), self._trainings.running()
        if self._picks:
            return True
        if grid is None or training is None or training.commands.paused:
            return False
        return _begun_at(training) < grid.record.created

    @contextmanager
    def picking(self) -> Iterator[None]:
        """Inside the block grids stand aside, and no training begins. Raises UserError("previews.model_busy") while one
        has the model: it may keep it for hours."""
        with self._guard:
            self.check_no_training()
            self._picks += 1
        try:
            yield
        finally:
            with self._guard:
                self._picks -= 1
                later, self._later = ([], self._later) if self._picks else (self._later, [])
            for training in later:
                training.commands.resume()

    def go_on(self, training: Job) -> None:
        """Lets a paused training go on, after the picks that are under way: it would have the model for hours."""
        with self._guard:
            if self._picks:
                self._later.append(training)
                return
        training.commands.resume()

    def check_no_training(self) -> None:
        """Raises UserError("previews.model_busy"). A training that is paused has let go of the model."""
        training = self._trainings.running()
        if training is not None and training.id == self._begun and not training.commands.paused:
            raise UserError("previews.model_busy")

    def _grid_before(self, training: Job) -> bool:
        running = self._grids.running()
        living = [*([running] if running else []), *self._grids.waiting()]
        return any(grid.record.created <= _begun_at(training) for grid in living)


class Aside(Commands):
    """Commands of a grid whose work also ends when others are to have the model `first`."""

    def __init__(self, commands: Commands, first: Callable[[], bool]) -> None:
        super().__init__()
        self._commands = commands
        self._first = first

    @property
    def stopping(self) -> bool:
        return self._commands.stopping or self._first()


def _begun_at(training: Job) -> float:
    return training.record.started or training.record.created


def _wait(free: Callable[[], bool], commands: Commands, events: EventSink, stage: str) -> None:
    told = False
    while not free():
        if commands.stopping:
            raise Stopped
        if not told:
            events(Stage(stage))
            told = True
        commands.wait_for_stop(_LOOK_SECONDS)
