"""Drawing what is missing of a grid: batch by batch, each kept as soon as it is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Cell, Grid, batches
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped

if TYPE_CHECKING:
    from lib_lora_train.host.base import Session

_WRITERS = 4  # pictures that are written at once


@dataclass(frozen=True)
class Made:
    """How many pictures were drawn and how many were there already; `cancelled` by somebody's Interrupt or Skip.
    `switches` is how often a LoRA was put on the model. `seconds` is what it took."""

    drawn: int
    kept: int
    cancelled: int
    switches: int
    seconds: float


def make_grid(
    session: Session,
    grid: Grid,
    store: CellStore,
    events: EventSink,
    commands: Commands,
    at_once: int = 1,
    finished: Callable[[Cell], None] = lambda cell: None,
    again: Collection[str] = (),
) -> Made:
    """Draws the cells that are missing in `store`, `at_once` in a batch. Stopped or killed at any moment, what is drawn
    stays, and the next call goes on to the very same pixels. `finished` is told of each new cell. Those whose keys are
    in `again` count as missing; what is there of them stays until the new picture takes its place.

    Raises Stopped; UserError as `Session.generate` and `CellStore.put`, and preview.nothing, preview.too_many.
    """
    grid.check()
    cells = grid.cells()
    present = store.present().difference(again)
    total, drawn, cancelled, switches = len(cells), 0, 0, 0
    kept = sum(cell.key in present for cell in cells)
    started = time.monotonic()
    on: tuple[int, int, float] | None = None
    events(Stage("preview.stage_drawing", kept, total))
    for batch in batches(cells, at_once):
        missing = [cell for cell in batch if cell.key not in present]
        if not missing:
            continue
        if commands.stopping:
            raise Stopped
        if (batch[0].base, batch[0].column, batch[0].weight) != on:
            on = (batch[0].base, batch[0].column, batch[0].weight)
            switches += on[1] >= 0
        # All of the batch, though some are there: the pixels of a picture depend, in their last bit, on the batch.
        before = drawn
        for cell, written in _draw(session, grid, batch, store, {cell.key for cell in missing}):
            written.result()
            finished(cell)
            drawn += 1
        cancelled += len(missing) - (drawn - before)
        events(Stage("preview.stage_drawing", kept + drawn + cancelled, total))
    return Made(drawn, kept, cancelled, switches, time.monotonic() - started)


def _draw(
    session: Session, grid: Grid, batch: list[Cell], store: CellStore, wanted: Collection[str]
) -> list[tuple[Cell, Future[None]]]:
    """The cells that were drawn, each with what became of writing it; those that could not be written come last."""
    from lib_lora_train.host.base import places  # torch; whoever asks how far a grid is does without

    requests = [grid.request(cell) for cell in batch]
    pictures = session.generate(requests)
    drawn = [(batch[place], picture) for place, picture in zip(places(requests, pictures), pictures, strict=True)]
    # Side by side, as it is the disk that one waits for; and to the end, whatever becomes of one of them.
    with ThreadPoolExecutor(_WRITERS) as writers:
        written = [
            (cell, writers.submit(store.put, cell.key, picture.image, picture.infotext))
            for cell, picture in drawn
            if cell.key in wanted
        ]
    return sorted(written, key=lambda each: each[1].exception() is not None)
