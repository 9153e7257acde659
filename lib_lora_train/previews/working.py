"""What a grid's job does: draws what is missing, lets go of the model, and scores what is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.preview.grids import Cell
from lib_lora_train.preview.making import make_grid
from lib_lora_train.preview.scores import Scores, TrainingSet, score_cells
from lib_lora_train.previews.judging import Judges
from lib_lora_train.previews.store import JOB, Cost, Kept, Source, cell_store
from lib_lora_train.previews.turns import Aside, Turns
from lib_lora_train.project import Project
from lib_lora_train.runs.grid_marks import GRIDS
from lib_lora_train.runs.validation import comparable, read_validation
from lib_lora_train.signals import Commands, Event, EventSink, Log, Stage, Stopped

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_ASIDE_SECONDS = 0.2  # in which whoever waits for the model has taken it
_BATCH = "host.stage_drawing"  # what a host says of each batch, which would hide how far the grid is


class Meter:
    """What drawing takes, also where it is stopped on the way."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._began = self._last = 0.0
        self._drawn = self._switches = 0
        self._on: tuple[int, int, float] | None = None

    def begin(self) -> None:
        """Waiting for the model is no work, at first and later; what was put on it is then to be put on again."""
        self._spent += self._last - self._began
        self._began = self._last = time.monotonic()
        self._on = None

    @property
    def drew(self) -> bool:
        """Whether anything was drawn since it began last: who never gets to draw would never be done."""
        return self._last > self._began

    def __call__(self, cell: Cell) -> None:
        """After each cell."""
        self._last = time.monotonic()
        self._drawn += 1
        if (cell.base, cell.column, cell.weight) != self._on:
            self._on = (cell.base, cell.column, cell.weight)
            self._switches += cell.column >= 0

    def cost(self) -> Cost:
        return Cost(self._spent + self._last - self._began, self._drawn, self._switches)


class Again:
    """Which pictures are to be drawn again, by the folder of the job that does it. All methods may be called from any
    thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._keys: dict[Path, frozenset[str]] = {}

    def put(self, folder: Path, keys: Collection[str]) -> None:
        """In place of what was to be drawn again there."""
        with self._guard:
            self._keys[folder] = frozenset(keys)

    def of(self, folder: Path) -> frozenset[str]:
        with self._guard:
            return self._keys.get(folder, frozenset())

    def done(self, folder: Path, key: str) -> None:
        with self._guard:
            self._keys[folder] = self._keys.get(folder, frozenset()) - {key}

    def end(self, folder: Path) -> None:
        with self._guard:
            self._keys.pop(folder, None)


def draw(
    host: Host,
    project: Project,
    kept: Kept,
    events: EventSink,
    commands: Commands,
    meter: Meter,
    turns: Turns,
    again: Again,
) -> None:
    """Draws the missing cells and those in `again`, letting others have the model first between two batches. Raises
    Stopped, and UserError as `make_grid`."""
    drawing, folder = kept.grid.drawing, project.path(GRIDS, kept.id, JOB)

    def count(cell: Cell) -> None:
        meter(cell)
        again.done(folder, cell.key)

    def tell(event: Event) -> None:
        if not (isinstance(event, Stage) and event.code == _BATCH):
            events(event)

    at_once = host.pictures_at_once(drawing.width, drawing.height)
    made, aside = None, Aside(commands, lambda: turns.others_first() or (meter.drew and host.wanted()))
    while made is None:
        turns.wait(tell, commands)
        with host.session(commands, tell) as session:
            meter.begin()
            try:
                made = make_grid(session, kept.grid, cell_store(project), tell, aside, at_once, count, again.of(folder))
            except Stopped:
                if commands.stopping:
                    raise
        if made is None:
            commands.wait_for_stop(_ASIDE_SECONDS)
    if made.cancelled:
        events(Log("previews.cancelled", {"count": made.cancelled}, "warning"))


def score(
    project: Project,
    kept: Kept,
    known: Scores,
    judges: Judges,
    training: Callable[[], TrainingSet],
    events: EventSink,
    commands: Commands,
) -> Scores:
    """Looks at what is new. Raises Stopped before it has begun, and UserError when a tool fails."""
    if commands.stopping:
        raise Stopped
    losses = held_back_losses(project, kept.sources)
    with judges.tools(project.kind, events) as tools:
        return score_cells(
            kept.grid, cell_store(project), training(), tools, known.on, known, losses, events, commands
        )  # fmt: skip


def held_back_losses(project: Project, sources: Sequence[Source]) -> dict[int, float]:
    """On pictures that the runs of a grid's files had held back, by column; only what can be compared."""
    runs = {source.run for source in sources if source.run}
    said = {run: {each.file: each for each in read_validation(project.path("runs", run))} for run in runs}
    return comparable({place: said.get(each.run, {}).get(each.file) for place, each in enumerate(sources)})
