"""Which file at which weight, and why, in words; and how likeness, obedience and copying go over the epochs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.preview.grids import Column, Grid
from lib_lora_train.preview.prompts import LEAK, prompt_label
from lib_lora_train.preview.scores.scoring import Place, Scores
from lib_lora_train.signals import Log

MOST_STARS = 5
_NEUTRAL = 2.5  # stars of a place that has none: three are praise, two are blame
_OWN = 0.6  # of a place's total; the rest is that of its neighbours, since a few pictures say little
_LUCK = 0.03  # of a total, which the choice of a few seeds can make; more is no luck
_NEARLY = 0.05  # of a score: less is no difference that anybody sees
_CLEARLY = 0.1
_ENOUGH = 0.9  # of the best likeness over the epochs: before, the subject is not learnt yet
_RISEN = 0.3  # of what the loss on held back pictures moved at all
_CLEAR_SIGN = 0.25  # of collapse or copying, worth a word
_NUMBER = re.compile(r"-(step)?[0-9]+$")  # of the epoch or step, in the name of a file


@dataclass(frozen=True)
class Recommendation:
    """`column` and `base` are places in the grid's axes, `cell` the key of the picture that shows it best. `reason` is
    said by `say`. `ranking` are all places with a LoRA, best first, with what counted."""

    base: int
    column: int
    weight: float
    cell: str
    reason: tuple[Log, ...]
    ranking: tuple[dict[str, Any], ...] = ()
    starred: bool = False

    def as_dict(self, grid: Grid, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
        return {
            "base": self.base,
            "column": self.column,
            "weight": self.weight,
            "cell": self.cell,
            "label": grid.columns[self.column].label,
            "reason": say(self.reason, grid, language),
            "starred": self.starred,
            "ranking": list(self.ranking),
        }


@dataclass(frozen=True)
class CurvePoint:
    """Means over the weights other than 0, or at one weight. `validation` is the loss on held back pictures itself."""

    column: int
    epoch: int
    step: int
    values: Mapping[str, float | None]
    validation: float | None = None


@dataclass(frozen=True)
class Curve:
    """`points` in the order of training. `learnt` is the column from which the subject is met, `over` that from which
    it is overfitted; None where neither can be told. Before `learnt` it is underfitted."""

    points: tuple[CurvePoint, ...]
    learnt: int | None = None
    over: int | None = None
    notes: tuple[Log, ...] = field(default=())

    def as_dict(self, grid: Grid, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
        return {
            "points": [
                {"column": point.column, "label": grid.columns[point.column].label, "epoch": point.epoch, "step": point.step}
                | {"validation": point.validation}
                | {name: None if value is None else round(value, 4) for name, value in point.values.items()}
                for point in self.points
            ],
            "learnt": self.learnt,
            "over": self.over,
            "notes": [say([note], grid, language) for note in self.notes],
        }  # fmt: skip


def recommend(grid: Grid, scores: Scores, stars: Mapping[str, int] | None = None) -> Recommendation | None:
    """The place with the best total of what is switched on. The user's stars (1 to 5, by key of a cell) win: three or
    more put a place before all that have none, two or fewer behind. None while nothing can be told.
    """
    given = _stars(grid, stars or {})
    totals = _smoothed(grid, {place: scores.total(place) for place in _places(grid, scores)})
    ranked = sorted(
        {place for place, total in totals.items() if total is not None} | set(given),
        key=lambda place: (-given.get(place, _NEUTRAL), -(totals.get(place) or 0.0), place[1], abs(place[2] - 0.8)),
    )
    if not ranked:
        return None
    best = ranked[0]
    starred = given.get(best, 0.0) > _NEUTRAL
    ranking = tuple(
        {"base": place[0], "column": place[1], "weight": place[2], "stars": given.get(place), "total": _round(totals.get(place))}
        for place in ranked
    )  # fmt: skip
    cell = _best_cell(grid, scores, best, stars or {})
    return Recommendation(*best, cell, _reason(grid, scores, best, totals, given), ranking, starred)


def curve(grid: Grid, scores: Scores, weight: float | None = None, base: int = 0) -> Curve:
    """Over the files of one run in the order of training, at `weight`, or at 1, or at the largest there is."""
    weights = [each for each in grid.weights if each > 0]
    if not weights:
        return Curve(())
    if weight is None or weight not in weights:
        weight = min(weights, key=lambda each: (abs(each - 1.0), -each))
    points = [
        CurvePoint(column, file.epoch, file.step, scores.places[base, column, weight])
        for column, file in enumerate(grid.columns)
        if (base, column, weight) in scores.places
    ]
    points.sort(key=lambda point: (point.step, point.epoch, point.column))
    points = [
        CurvePoint(
            point.column,
            point.epoch,
            point.step,
            {name: value for name, value in point.values.items() if name in scores.on},
            scores.losses.get(point.column) if "loss" in scores.on else None,
        )
        for point in points
    ]
    learnt, over = _learnt(points), _over(points)
    notes = [Log("scores.curve_none")] if len(points) < 2 or learnt is None else []
    if not notes and learnt == points[0].column:
        notes.append(Log("scores.curve_early"))
    elif not notes and learnt == points[-1].column and _rises(points):
        notes.append(Log("scores.curve_late"))
    elif not notes:
        notes.append(Log("scores.curve_learnt", {"column": learnt}))
    if over is not None:
        notes.append(Log("scores.curve_over", {"column": over}))
    notes += _said_of_loss(points)
    return Curve(tuple(points), learnt, over, tuple(notes))


def say(reason: Sequence[Log], grid: Grid, language: str = DEFAULT_LANGUAGE) -> str:
    """The parts of a reason as one text. Columns among the values become their names, prompts what they are for."""
    between = message("scores.between", language)
    return between.join(message(part.code, language, **_worded(part.values, grid, language)) for part in reason)


# ---------------------------------------------------------------------- ranking


def _places(grid: Grid, scores: Scores) -> list[Place]:
    """All with a LoRA on: without one the column is -1."""
    return [place for place in scores.places if 0 <= place[1] < len(grid.columns)]


def _smoothed(grid: Grid, totals: Mapping[Place, float | None]) -> dict[Place, float | None]:
    """Neighbours are the next files of the same run and the next weights: what is good is good there nearly as well."""
    found: dict[Place, float | None] = {}
    for (base, column, weight), own in totals.items():
        weights = sorted(each for each in grid.weights if each * weight > 0)
        at = weights.index(weight)
        near = [(base, column, weights[place]) for place in (at - 1, at + 1) if 0 <= place < len(weights)]
        near += [(base, other, weight) for other in (column - 1, column + 1) if _same_run(grid, column, other)]
        around = [totals[place] for place in near if totals.get(place) is not None]
        found[base, column, weight] = own if own is None or not around else own + _moved(fmean(around) - own)
    return found


def _moved(by: float) -> float:
    return max(-_LUCK, min(_LUCK, (1 - _OWN) * by))


def _same_run(grid: Grid, one: int, other: int) -> bool:
    return 0 <= other < len(grid.columns) and _run_of(grid.columns[one]) == _run_of(grid.columns[other])


def _run_of(column: Column) -> tuple[str, str]:
    """Files of one run lie in one folder, and differ in the number at the end of their names alone."""
    return str(column.path.parent), _NUMBER.sub("", column.path.stem)


def _stars(grid: Grid, stars: Mapping[str, int]) -> dict[Place, float]:
    """Mean of the stars of each place."""
    found: dict[Place, list[int]] = defaultdict(list)
    if stars:
        for cell in grid.cells():
            if cell.column >= 0 and 1 <= stars.get(cell.key, 0) <= MOST_STARS:
                found[cell.base, cell.column, cell.weight].append(stars[cell.key])
    return {place: fmean(given) for place, given in found.items()}


def _best_cell(grid: Grid, scores: Scores, place: Place, stars: Mapping[str, int]) -> str:
    """The picture that stands for a place, for instance as the card's: starred, alike, obedient, and none of a leak."""
    best, value = "", (-1.0, -1.0)
    for prompt, said in enumerate(grid.prompts):
        for seed in grid.seeds:
            key = grid.cell(*place, prompt, seed).key
            known = scores.cells.get(key, {})
            good = (known.get("likeness") or 0.0) + (known.get("obedience") or 0.0) - 2 * (known.get("collapse") or 0.0)
            found = (float(stars.get(key, 0)), good - 10.0 * (said.kind == LEAK))
            if not best or found > value:
                best, value = key, found
    return best


# ---------------------------------------------------------------------- in words


def _reason(
    grid: Grid,
    scores: Scores,
    best: Place,
    totals: Mapping[Place, float | None],
    given: Mapping[Place, float],
) -> tuple[Log, ...]:
    parts = [Log("scores.place", {"column": best[1], "weight": best[2]})]
    if len(grid.bases) > 1:
        parts = [Log("scores.place_on", {"column": best[1], "weight": best[2], "base": grid.bases[best[0]].name})]
    if given.get(best, 0.0) > _NEUTRAL:
        parts.append(Log("scores.because_stars", {"stars": f"{given[best]:.2g}"}))
        return tuple(parts)
    here = scores.places.get(best, {})
    rival = _rival(grid, scores, best, totals)
    if rival is None:
        return (*parts, Log("scores.because_only"))
    there = scores.places[rival]
    parts.append(_against(grid, scores, best, rival, here, there))
    for name, code in (("collapse", "scores.but_collapse"), ("copying", "scores.but_copying"), ("leak", "scores.but_leak")):  # fmt: skip
        if name in scores.on and (here.get(name) or 0.0) >= (_CLEAR_SIGN if name != "leak" else 0.6):
            parts.append(Log(code, {"sign": scores.signs.get(best, "")} if name == "collapse" else {}))
    return tuple(parts)


def _rival(grid: Grid, scores: Scores, best: Place, totals: Mapping[Place, float | None]) -> Place | None:
    """What one would have taken without looking: the last file of the run at the full weight. Where that is the best,
    or the files are of several runs, the most alike of the others; of other files, if there are any."""
    others = [place for place, total in totals.items() if place != best and total is not None]
    own = [place for place in others if place[0] == best[0]]
    if own and all(_same_run(grid, 0, column) for column in range(len(grid.columns))):
        files = grid.columns
        last = max(own, key=lambda place: (files[place[1]].step, files[place[1]].epoch, place[1], -abs(place[2] - 1.0)))
        if last[1] != best[1]:
            return last
    others = [place for place in others if place[1] != best[1]] or others
    return max(
        others, key=lambda place: (scores.places[place].get("likeness") or 0.0, place[1], place[2]), default=None
    )


def _against(
    grid: Grid,
    scores: Scores,
    best: Place,
    rival: Place,
    here: Mapping[str, float | None],
    there: Mapping[str, float | None],
) -> Log:
    """One sentence on the place that is taken, beside another one."""
    values: dict[str, object] = {"column": rival[1], "weight": rival[2]}
    likeness = _more(here, there, "likeness", scores)
    obedience = _more(here, there, "obedience", scores)
    better = _better_sign(here, there, scores)
    if likeness is None:
        clear = obedience is not None and obedience >= _NEARLY
        return Log("scores.because_obedience", values) if clear else Log("scores.because_total")
    prompt = _most_obeyed(grid, scores, best, rival)
    near = "more" if likeness >= _NEARLY else "alike" if likeness > -_NEARLY else "less"
    if obedience is not None and obedience >= _NEARLY:
        if prompt is not None:
            return Log(f"scores.because_{near}_prompt", {**values, "prompt": prompt})
        return Log(f"scores.because_{near}_obeys", values)
    if better:
        return Log(f"scores.because_{near}_{better}", values)
    if near == "less":
        return Log("scores.because_balance", values)
    if near == "alike":
        return Log("scores.because_both", values)
    return Log(
        "scores.because_rest" if obedience is not None and obedience <= -_NEARLY else "scores.because_most", values
    )


def _more(
    here: Mapping[str, float | None], there: Mapping[str, float | None], name: str, scores: Scores
) -> float | None:
    one, other = here.get(name), there.get(name)
    return None if name not in scores.on or one is None or other is None else one - other


def _better_sign(here: Mapping[str, float | None], there: Mapping[str, float | None], scores: Scores) -> str:
    for name in ("collapse", "copying", "leak", "diversity"):
        more = _more(here, there, name, scores)
        if more is not None and (more >= _CLEARLY if name == "diversity" else -more >= _CLEARLY):
            return name
    return ""


def _most_obeyed(grid: Grid, scores: Scores, best: Place, rival: Place) -> int | None:
    """The prompt that the one obeys and the other does not; None where no single one stands out."""
    one, other = scores.obeyed.get(best, {}), scores.obeyed.get(rival, {})
    gains = {prompt: one[prompt] - other[prompt] for prompt in one if prompt in other and prompt < len(grid.prompts)}
    most = max(gains, key=gains.__getitem__, default=None)
    return most if most is not None and gains[most] >= 2 * _NEARLY else None


def _worded(values: Mapping[str, object], grid: Grid, language: str) -> dict[str, object]:
    worded = dict(values)
    if isinstance(worded.get("column"), int):
        worded["column"] = column_name(grid, int(values["column"]), language)
    if isinstance(worded.get("weight"), float):
        worded["weight"] = f"{values['weight']:g}"
    if isinstance(worded.get("prompt"), int):
        prompt = grid.prompts[int(values["prompt"])]
        worded["prompt"] = (", ".join(prompt.asks[:4]) or prompt_label(prompt, language) or prompt.text)[:80]
    if worded.get("sign"):
        worded["sign"] = message(f"scores.sign_{values['sign']}", language)
    return worded


def column_name(grid: Grid, column: int, language: str = DEFAULT_LANGUAGE) -> str:
    """ "epoch 6" where the files are those of one run, else the file's label."""
    file = grid.columns[column]
    alone = sum(other.epoch == file.epoch for other in grid.columns) == 1
    if file.epoch and alone and len({_run_of(other) for other in grid.columns}) == 1:
        return message("scores.at_epoch", language, epoch=file.epoch)
    return file.label


# ---------------------------------------------------------------------- over the epochs


def _learnt(points: Sequence[CurvePoint]) -> int | None:
    known = [(point.column, value) for point in points if (value := point.values.get("likeness")) is not None]
    best = max((value for _, value in known), default=0.0)
    if best < 2 * _CLEARLY:
        return None
    return next(column for column, value in known if value >= _ENOUGH * best)


def _rises(points: Sequence[CurvePoint]) -> bool:
    known = [value for point in points if (value := point.values.get("likeness")) is not None]
    return len(known) > 1 and known[-1] - known[-2] >= _NEARLY


def _over(points: Sequence[CurvePoint]) -> int | None:
    """The first file from which on obedience stays clearly below what it was, or copying or collapse clearly above."""
    for place, point in enumerate(points[1:], start=1):
        if all(_worse(points[:place], later) for later in points[place:]):
            return point.column
    return None


def _worse(before: Sequence[CurvePoint], after: CurvePoint) -> bool:
    for name, sign, least in (("obedience", -1, _CLEARLY), ("copying", 1, _CLEARLY), ("collapse", 1, _CLEARLY), ("loss", -1, _RISEN)):  # fmt: skip
        earlier = [value for point in before if (value := point.values.get(name)) is not None]
        now = after.values.get(name)
        if not earlier or now is None:
            continue
        reached = max(earlier) if sign < 0 else min(earlier)
        if sign * (now - reached) >= least:
            return True
    return False


def _said_of_loss(points: Sequence[CurvePoint]) -> list[Log]:
    known = [(point.column, value) for point in points if (value := point.values.get("loss")) is not None]
    if len(known) < 2:
        return []
    best, _ = max(known, key=lambda pair: pair[1])
    if best == known[-1][0]:
        return [Log("scores.curve_loss_falls")]
    return [Log("scores.curve_loss_turns", {"column": best})] if 1 - known[-1][1] >= _RISEN else []


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
