"""Grids as faces show them. No path of the server is in any of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.preview.grids import Cell, Grid
from lib_lora_train.preview.prompts import prompt_label
from lib_lora_train.preview.recommending import Recommendation, curve, recommend
from lib_lora_train.preview.scores import Scores, score_names
from lib_lora_train.previews.store import Cost, Kept, Source

MOST_RANKED = 20


@dataclass(frozen=True)
class View:
    """A grid with its scores at one moment; what is asked for often is worked out once."""

    kept: Kept
    scores: Scores

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """By key. What two places share (weight 0) is there once."""
        return {cell.key: cell for cell in self.kept.grid.cells()}

    @cached_property
    def recommendation(self) -> Recommendation | None:
        return recommend(self.kept.grid, self.scores, self.kept.stars)

    def made(self, present: Collection[str]) -> int:
        return sum(key in present for key in self.cells)


def without_places(scores: Scores) -> Scores:
    """For a grid with other axes: what was seen in pictures stays, what was said of places does not."""
    return replace(scores, cells={}, places={}, signs={}, obeyed={}, losses={}, whole=False)


def state_of(view: View, made: int, job: Mapping[str, object] | None, last: Mapping[str, object] | None) -> str:
    """queued, running, done, stopped, failed or interrupted; "new" for one that was never begun."""
    if job is not None:
        return str(job["state"])
    ended = str(last["state"]) if last is not None else "new"
    if made == len(view.cells):
        return "failed" if ended == "failed" else "done"
    return "stopped" if ended == "done" else ended


def shown_line(view: View, present: Collection[str], job: Mapping[str, object] | None, last: Mapping[str, object] | None, language: str) -> dict[str, Any]:  # fmt: skip
    """A grid in a list."""
    kept, made = view.kept, view.made(present)
    grid = kept.grid
    return {
        "id": kept.id,
        "title": kept.title,
        "runs": kept.runs,
        "columns": len(grid.columns),
        "weights": list(grid.weights),
        "prompts": len(grid.prompts),
        "seeds": list(grid.seeds),
        "cells": len(view.cells),
        "made": made,
        "state": state_of(view, made, job, last),
        "job": job,
        "created": kept.created,
        "recommended": shown_recommendation(view, language),
    }


def shown_grid(view: View, present: Collection[str], job: Mapping[str, object] | None, last: Mapping[str, object] | None, language: str, with_cells: bool) -> dict[str, Any]:  # fmt: skip
    """A grid with all there is to see of it; `cells` may be left out by who asks often."""
    kept, grid, made = view.kept, view.kept.grid, view.made(present)
    shown = {
        "id": kept.id,
        "title": kept.title,
        "created": kept.created,
        "state": state_of(view, made, job, last),
        "job": job,
        "last": last,
        "size": len(view.cells),
        "made": made,
        "drawn": shown_drawn(view, present),
        "columns": shown_columns(grid, kept.sources),
        "weights": list(grid.weights),
        "bases": [base.name for base in grid.bases],
        "prompts": shown_prompts(grid, language),
        "seeds": list(grid.seeds),
        "settings": dict(kept.asked.settings),
        "asked": {name: list(getattr(kept.asked, name)) for name in ("runs", "files", "bases")},
        "scores": {
            "names": score_names(view.scores.on, language),
            "places": view.scores.shown_places(),
            "curve": _curves(view, language),
            "whole": view.scores.whole,
        },
        "recommendation": shown_recommendation(view, language),
        "cost": shown_cost(kept.cost),
    }
    if with_cells:
        shown["cells"] = [shown_cell(view, cell, present) for cell in view.cells.values()]
    return shown


def shown_drawn(view: View, present: Collection[str]) -> list[tuple[int, int]]:
    """Which pictures there are, in the order of `cells`: each stretch as its first place and the one after its last."""
    found: list[tuple[int, int]] = []
    for place, key in enumerate(view.cells):
        if key not in present:
            continue
        if found and found[-1][1] == place:
            found[-1] = (found[-1][0], place + 1)
        else:
            found.append((place, place + 1))
    return found


def shown_cell(view: View, cell: Cell, present: Collection[str]) -> dict[str, Any]:
    return {
        **asdict(cell),
        "made": cell.key in present,
        "stars": view.kept.stars.get(cell.key, 0),
        "scores": view.scores.shown_cell(cell.key),
    }


def shown_columns(grid: Grid, sources: Collection[Source]) -> list[dict[str, Any]]:
    """`there`: whether the file can be found, to draw with or to pick."""
    return [
        {
            "label": column.label,
            "epoch": column.epoch,
            "step": column.step,
            "run": source.run,
            "file": column.path.name,
            "there": column.path.is_file(),
        }
        for column, source in zip(grid.columns, sources, strict=True)
    ]


def shown_prompts(grid: Grid, language: str = DEFAULT_LANGUAGE) -> list[dict[str, Any]]:
    return [
        {"text": prompt.text, "kind": prompt.kind, "label": prompt_label(prompt, language), "asks": list(prompt.asks)}
        for prompt in grid.prompts
    ]


def shown_recommendation(view: View, language: str = DEFAULT_LANGUAGE) -> dict[str, Any] | None:
    found = view.recommendation
    if found is None:
        return None
    shown = found.as_dict(view.kept.grid, language)
    return {**shown, "ranking": shown["ranking"][:MOST_RANKED], "file": view.kept.grid.columns[found.column].path.name}


def shown_cost(cost: Cost) -> dict[str, Any] | None:
    return {"seconds": round(cost.seconds, 1), "drawn": cost.drawn, "switches": cost.switches} if cost.drawn else None


def _curves(view: View, language: str) -> list[dict[str, Any]]:
    """One for each run and checkpoint; files that belong to no run are one together."""
    kept, scores, found = view.kept, view.scores, []
    runs = [source.run for source in kept.sources]
    for base in range(len(kept.grid.bases)):
        for run in dict.fromkeys(runs):
            own = {place: values for place, values in scores.places.items() if place[1] >= 0 and runs[place[1]] == run}
            over = curve(kept.grid, replace(scores, places=own), base=base)
            if over.points:
                found.append({"run": run, "base": base, **over.as_dict(kept.grid, language)})
    return found
