"""Scores of a grid: only new pictures are looked at, and what was seen is kept with the scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Grid
from lib_lora_train.preview.scores.measuring import Measured, Measuring
from lib_lora_train.preview.scores.seen import ScoreTools, Seen, look_at_all
from lib_lora_train.preview.scores.tables import ALL, NAMES, total_of
from lib_lora_train.preview.scores.training import Reference, TrainingSet, reference_of
from lib_lora_train.signals import Commands, EventSink, Stage, ignore_events

VERSION = 1
Place = tuple[int, int, float]


@dataclass
class Scores:
    """`cells`: scores by the cell's key. `places`: by (base, column, weight); the column is -1 at weight 0. `signs`: the
    strongest sign of collapse of a place. `obeyed`: obedience of a place by prompt. `losses`: on pictures that were held
    back, by column; the score "loss" is made from them. `on`: names that are switched on.
    `seen` and `training` are what was seen in cells and training pictures. `whole` is False after a stop on the way, or
    while pictures are missing."""

    cells: dict[str, dict[str, float | None]] = field(default_factory=dict)
    places: dict[Place, dict[str, float | None]] = field(default_factory=dict)
    signs: dict[Place, str] = field(default_factory=dict)
    obeyed: dict[Place, dict[int, float]] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    on: frozenset[str] = ALL
    seen: dict[str, Seen] = field(default_factory=dict)
    training: dict[str, Seen] = field(default_factory=dict)
    whole: bool = False

    def total(self, place: Place) -> float | None:
        """What counts for the recommendation, 0 to 1."""
        return total_of(self.places.get(place, {}), self.on)

    def shown_cell(self, key: str) -> dict[str, float | None]:
        """Of a cell what is switched on and known, rounded."""
        return _rounded({name: value for name, value in self.cells.get(key, {}).items() if name in self.on})

    def shown_places(self) -> list[dict[str, Any]]:
        """JSON: base, column, weight, the scores, their total, and the sign of collapse."""
        return [
            {"base": place[0], "column": place[1], "weight": place[2]}
            | _rounded({name: values.get(name) for name in NAMES if name in self.on})
            | _rounded({"total": self.total(place)})
            | {"sign": self.signs.get(place, "")}
            for place, values in sorted(self.places.items())
        ]

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        return {
            "version": VERSION,
            "on": sorted(self.on),
            "whole": self.whole,
            "cells": {key: _rounded(values) for key, values in self.cells.items()},
            "places": [
                {
                    "place": list(place),
                    "scores": _rounded(values),
                    "sign": self.signs.get(place, ""),
                    "obeyed": {str(prompt): round(value, 4) for prompt, value in self.obeyed.get(place, {}).items()},
                }
                for place, values in self.places.items()
            ],
            "losses": {str(column): loss for column, loss in self.losses.items()},
            "seen": {key: each.as_dict() for key, each in self.seen.items()},
            "training": {key: each.as_dict() for key, each in self.training.items()},
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any] | None) -> Scores:
        """What `as_dict` gave; what cannot be read is looked at again."""
        if not isinstance(said, Mapping) or said.get("version") != VERSION:
            return cls()
        on = said.get("on")
        on = frozenset(name for name in on if name in ALL) if isinstance(on, list) else ALL
        scores = cls(on=on, seen=_seen(said.get("seen")), training=_seen(said.get("training")))
        try:
            scores.cells = {str(key): _values(values) for key, values in said["cells"].items()}
            for each in said["places"]:
                base, column, weight = each["place"]
                place = int(base), int(column), float(weight)
                scores.places[place] = _values(each["scores"])
                scores.signs[place] = str(each["sign"])
                scores.obeyed[place] = {int(prompt): float(value) for prompt, value in each["obeyed"].items()}
            scores.losses = {int(column): float(loss) for column, loss in said.get("losses", {}).items()}
            scores.whole = said["whole"] is True
        except (KeyError, TypeError, ValueError, AttributeError):
            scores.cells, scores.places, scores.losses, scores.whole = {}, {}, {}, False
        return scores


def score_cells(
    grid: Grid,
    store: CellStore,
    training: TrainingSet,
    tools: ScoreTools,
    wanted: Collection[str] = ALL,
    known: Scores | None = None,
    losses: Mapping[int, float] | None = None,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Scores:
    """Looks at the pictures that are new since `known`, and scores all there are.

    `wanted` are names of scores; the others are switched off. `losses`: validation loss by column, the lower the better.
    When a stop command comes, what was looked at until then is scored. Raises UserError when a tool fails.
    """
    known = known or Scores()
    scores = Scores(on=frozenset(name for name in wanted if name in ALL))
    present = store.present()
    chosen = training.chosen()
    cells = [cell for cell in grid.cells() if cell.key in present]
    openers = [(stamp, opened) for stamp, _, opened in chosen]
    openers += [(cell.key, partial(store.read, cell.key)) for cell in cells]
    before = {**known.training, **known.seen}
    found = {key: before[key] for key, _ in openers if key in before and before[key].enough(tools.keys)}
    missing = [(key, opened) for key, opened in openers if key not in found]
    stopped = False
    size = (grid.drawing.width, grid.drawing.height)
    events(Stage("scores.stage_looking", 0, len(missing)))
    done = 0
    for batch in look_at_all(missing, tools, size):
        found.update(batch)
        done = min(len(missing), done + len(batch))
        events(Stage("scores.stage_looking", done, len(missing)))
        if commands is not None and commands.stopping:
            stopped = done < len(missing)
            break
    keys = {cell.key for cell in cells}
    here = {key: each for key, each in found.items() if key in keys}
    # What another choice of axes has shown stays: its pictures are kept too.
    scores.seen = {key: each for key, each in known.seen.items() if key in present} | here
    scores.training = {stamp: found[stamp] for stamp, _, _ in chosen if stamp in found}
    reference = _reference(training, chosen, scores.training, tools)
    tags = frozenset(tools.tagger.tags) if tools.tagger is not None else frozenset()
    measured = Measuring(grid, here, reference, tools, tags).measured()
    _add(scores, measured, losses or {})
    scores.whole = not stopped and len(here) == len({cell.key for cell in grid.cells()})
    return scores


def tools_wanted(wanted: Collection[str]) -> tuple[bool, bool]:
    """Whether a tagger and an embedder are of use for these scores: what is not needed need not be loaded."""
    tagger = bool({"likeness", "obedience", "leak"} & set(wanted))
    return tagger, bool({"likeness", "leak", "copying", "diversity"} & set(wanted))


def _reference(
    training: TrainingSet, chosen: list[tuple[str, int, Any]], seen: Mapping[str, Seen], tools: ScoreTools
) -> Reference:
    captions = training.captions
    pairs = [
        (seen[stamp], captions[place] if place < len(captions) else ()) for stamp, place, _ in chosen if stamp in seen
    ]
    return reference_of(pairs, training, tools)


def _add(scores: Scores, measured: Measured, losses: Mapping[int, float]) -> None:
    scores.cells, scores.places = measured.cells, measured.places
    scores.signs, scores.obeyed, scores.losses = measured.signs, measured.obeyed, dict(losses)
    low, high = min(losses.values(), default=0.0), max(losses.values(), default=0.0)
    for place, values in scores.places.items():
        loss = losses.get(place[1])
        values["loss"] = None if loss is None or high <= low else (high - loss) / (high - low)


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _values(said: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if said.get(name) is None else float(said[name]) for name in NAMES if name in said}


def _seen(said: object) -> dict[str, Seen]:
    if not isinstance(said, Mapping):
        return {}
    found = {str(key): Seen.from_dict(each) for key, each in said.items() if isinstance(each, Mapping)}
    return {key: each for key, each in found.items() if each is not None}
