"""The bodies of requests about grids. As in `bodies`: only the shape is checked here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, StrictBool, StrictFloat, StrictInt, StrictStr


class GridQuestion(BaseModel, extra="forbid"):
    runs: list[StrictStr] = []
    files: list[StrictStr] = []
    bases: list[StrictStr] = []
    settings: Any = None  # checked by the settings' own reader


class NewGrid(GridQuestion, extra="forbid"):
    grid: StrictStr = ""  # one that is there already, to become what is asked for


class GridCells(BaseModel, extra="forbid"):
    cells: list[StrictStr]


class GridStars(BaseModel, extra="forbid"):
    cell: StrictStr
    stars: StrictInt


class GridScores(BaseModel, extra="forbid"):
    on: list[StrictStr]


class GridPick(BaseModel, extra="forbid"):
    cell: StrictStr
    name: StrictStr
    others: StrictStr = "keep"
    notes: StrictStr = ""
    scrub: StrictBool = False
    compare: StrictBool = True
    weight: StrictFloat | StrictInt | None = None  # the cell's
    trigger: StrictStr | None = None  # the run's
    negative: StrictStr | None = None  # the cell's
    wait: StrictBool = True  # for the answer, which may take minutes


class GridUnpick(BaseModel, extra="forbid"):
    pick: StrictStr = ""  # the newest


class LoraTool(BaseModel, extra="forbid"):
    files: list[StrictStr]
    name: StrictStr
    weights: list[StrictFloat | StrictInt] = []
    rank: StrictInt | None = None
    keep: StrictFloat | StrictInt = 1.0
    precision: StrictStr = ""


class SweepQuestion(BaseModel, extra="forbid"):
    values: dict[str, Any]  # checked by the sweep's own reader
    start: StrictBool = False
    settings: Any = None  # the project's form
