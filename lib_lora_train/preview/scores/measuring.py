"""From what was seen in a grid's pictures to scores: of each cell, and of each place (checkpoint, file, weight)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from lib_lora_train.preview.grids import Cell, Grid
from lib_lora_train.preview.prompts import LEAK
from lib_lora_train.preview.scores.pixels import SIGNS, distance, signs_of
from lib_lora_train.preview.scores.seen import ScoreTools, Seen
from lib_lora_train.preview.scores.training import Reference

Values = dict[str, float | None]
_SLACK = 0.25  # of a difference between base and subject below which an embedding tells nothing
_NEAR = 0.6  # of the distance between neighbours among the training pictures: nearer begins to be a copy
_LEAST_MEANT = 0.3  # of likeness with the trigger word, to which that without it is compared
_AT_ONCE = 64


@dataclass
class Measured:
    """`cells` by key; `places` by (base, column, weight). `signs` say which sign of collapse is the strongest, if there
    is any. `obeyed` is obedience by prompt."""

    cells: dict[str, Values] = field(default_factory=dict)
    places: dict[tuple[int, int, float], Values] = field(default_factory=dict)
    signs: dict[tuple[int, int, float], str] = field(default_factory=dict)
    obeyed: dict[tuple[int, int, float], dict[int, float]] = field(default_factory=dict)


class Measuring:
    """One grid, held against the training pictures and against its own pictures without a LoRA."""

    def __init__(
        self, grid: Grid, seen: Mapping[str, Seen], reference: Reference, tools: ScoreTools, known: frozenset[str]
    ) -> None:
        """`seen` by the key of the cell; `known` are the tags that the tagger has."""
        self.grid, self.seen, self.reference, self.tools, self.known = grid, seen, reference, tools, known
        self.cells = [cell for cell in grid.cells() if cell.key in seen]
        self.alike, self.nearest = self._alike(), self._nearest()
        self.bare = {(cell.base, cell.prompt, cell.seed): cell for cell in self.cells if cell.column < 0}
        self._bare_alike = self._level_without()

    def measured(self) -> Measured:
        result = Measured()
        by_place: dict[tuple[int, int, float], list[Cell]] = defaultdict(list)
        signs: dict[str, dict[str, float]] = {}
        for cell in self.cells:
            signs[cell.key] = self._signs(cell)
            result.cells[cell.key] = {
                "likeness": None if self._leaks(cell) else self._likeness(cell),
                "obedience": self._obedience(cell),
                "leak": self._leak(cell),
                "copying": self._copying(cell),
                "collapse": max(signs[cell.key].values(), default=None),
            }
            by_place[cell.base, cell.column, cell.weight if cell.column >= 0 else 0.0].append(cell)
        for place, cells in by_place.items():
            result.places[place] = self._place(cells, result.cells)
            strengths = {sign: fmean(signs[cell.key].get(sign, 0.0) for cell in cells) for sign in SIGNS}
            strongest = max(strengths, key=strengths.__getitem__)
            result.signs[place] = strongest if strengths[strongest] > 0 else ""
            result.obeyed[place] = self._obeyed(cells, result.cells)
        return result

    # ------------------------------------------------------------------ of one cell

    def _leaks(self, cell: Cell) -> bool:
        return self.grid.prompts[cell.prompt].kind == LEAK

    def _likeness(self, cell: Cell) -> float | None:
        """By embedding, by traits, or the mean of both."""
        found = [value for value in (self._by_embedding(cell), self._by_traits(cell)) if value is not None]
        return fmean(found) if found else None

    def _by_embedding(self, cell: Cell) -> float | None:
        """0 is the level of the pictures without a LoRA, 1 that of the training pictures among each other."""
        alike = self.alike.get(cell.key)
        if alike is None:
            return None
        level = self._bare_alike.get(cell.base, 0.0)
        room = self.reference.alike - level
        if room < _SLACK * (1.0 - level) * 0.1:
            return None
        return _limited((alike[0] - level) / room)

    def _by_traits(self, cell: Cell) -> float | None:
        tags = self.seen[cell.key].tags
        if tags is None or not self.reference.traits:
            return None
        return fmean(_limited(tags.get(tag, 0.0) / usual) for tag, usual in self.reference.traits.items())

    def _obedience(self, cell: Cell) -> float | None:
        tags = self.seen[cell.key].tags
        if tags is None:
            return None
        asked = [tag for tag in self.grid.prompts[cell.prompt].asks if tag in self.known]
        if not asked:
            return None
        return fmean(_limited(tags.get(tag, 0.0) / self.reference.share_of(tag)) for tag in asked)

    def _leak(self, cell: Cell) -> float | None:
        """How much of the subject comes without its trigger word, beyond what the checkpoint draws by itself."""
        bare = self.bare.get((cell.base, cell.prompt, cell.seed))
        if not self._leaks(cell) or bare is None:
            return None
        with_it, without = self._likeness(cell), self._likeness(bare)
        if with_it is None or without is None:
            return None
        return _limited((with_it - without) / max(_LEAST_MEANT, 1.0 - without))

    def _copying(self, cell: Cell) -> float | None:
        """0 where the nearest training picture is as far as they are from each other, 1 where it is the same."""
        reference, found = self.reference, []
        alike = self.alike.get(cell.key)
        if alike is not None and self.tools.embedder is not None and self.tools.embedder.layout:
            room = 1.0 - reference.nearest_alike
            found.append(_limited((alike[1] - reference.nearest_alike) / room) if room > 1e-3 else 0.0)
        if reference.nearest_apart > 0:
            found.append(_limited(1.0 - self.nearest[cell.key] / (_NEAR * reference.nearest_apart)))
        return max(found, default=None)

    def _signs(self, cell: Cell) -> dict[str, float]:
        bare = self.bare.get((cell.base, cell.prompt, cell.seed))
        if bare is None:
            return {}
        measures = self.seen[bare.key].look.measures
        spans = self.reference.usual or [(value, value) for value in measures]
        usual = [(min(value, low), max(value, high)) for value, (low, high) in zip(measures, spans, strict=True)]
        return signs_of(self.seen[cell.key].look, usual)

    # ------------------------------------------------------------------ of a place

    def _place(self, cells: Sequence[Cell], scores: Mapping[str, Values]) -> Values:
        found: Values = {}
        for name in ("likeness", "obedience", "leak", "copying", "collapse"):
            # What is asked for without the trigger word says nothing about the subject.
            values = [scores[cell.key][name] for cell in cells if name in ("leak", "collapse") or not self._leaks(cell)]
            values = [value for value in values if value is not None]
            found[name] = fmean(values) if values else None
        found["diversity"] = self._diversity(cells)
        return found

    def _obeyed(self, cells: Sequence[Cell], scores: Mapping[str, Values]) -> dict[int, float]:
        found: dict[int, list[float]] = defaultdict(list)
        for cell in cells:
            value = scores[cell.key]["obedience"]
            if value is not None and not self._leaks(cell):
                found[cell.prompt].append(value)
        return {prompt: fmean(values) for prompt, values in found.items()}

    def _diversity(self, cells: Sequence[Cell]) -> float | None:
        """How far pictures of one prompt lie apart over the seeds; 1 is as far as without a LoRA."""
        groups: dict[int, list[Cell]] = defaultdict(list)
        for cell in cells:
            if not self._leaks(cell):
                groups[cell.prompt].append(cell)
        found = []
        for prompt, group in groups.items():
            bare = [self.bare.get((cell.base, prompt, cell.seed)) for cell in group]
            if len(group) < 2 or any(each is None for each in bare):
                continue
            usual = self._apart(bare)
            if usual > 1e-6:
                found.append(_limited(self._apart(group) / usual))
        return fmean(found) if found else None

    def _apart(self, cells: Sequence[Cell]) -> float:
        """Mean distance of each two pictures."""
        smalls = np.stack([self.seen[cell.key].look.small for cell in cells])
        apart = distance(smalls, smalls)
        embedder = self.tools.embedder
        vectors = [self.seen[cell.key].vector for cell in cells]
        if embedder is not None and embedder.layout and all(vector is not None for vector in vectors):
            apart = 1.0 - embedder.likeness(np.stack(vectors), np.stack(vectors))
        return float(apart[~np.eye(len(cells), dtype=bool)].mean())

    # ------------------------------------------------------------------ of all

    def _alike(self) -> dict[str, tuple[float, float]]:
        """Of each cell the mean likeness to the training pictures, and that to the nearest."""
        embedder, vectors = self.tools.embedder, self.reference.vectors
        if embedder is None or vectors is None:
            return {}
        cells = [cell for cell in self.cells if self.seen[cell.key].vector is not None]
        found = {}
        for start in range(0, len(cells), _AT_ONCE):
            batch = cells[start : start + _AT_ONCE]
            rows = embedder.likeness(np.stack([self.seen[cell.key].vector for cell in batch]), vectors)
            for cell, row in zip(batch, rows, strict=True):
                found[cell.key] = float(row.mean()), float(row.max())
        return found

    def _nearest(self) -> dict[str, float]:
        """Of each cell the distance from the nearest training picture by small copies, grey levels."""
        found: dict[str, float] = {}
        if not len(self.reference.smalls):
            return found
        for start in range(0, len(self.cells), _AT_ONCE):
            batch = self.cells[start : start + _AT_ONCE]
            smalls = np.stack([self.seen[cell.key].look.small for cell in batch])
            nearest = distance(smalls, self.reference.smalls).min(axis=1)
            found.update((cell.key, float(each)) for cell, each in zip(batch, nearest, strict=True))
        return found

    def _level_without(self) -> dict[int, float]:
        """By checkpoint the mean likeness of what is drawn without a LoRA."""
        levels: dict[int, list[float]] = defaultdict(list)
        for cell in self.cells:
            if cell.column < 0 and cell.key in self.alike:
                levels[cell.base].append(self.alike[cell.key][0])
        return {base: fmean(values) for base, values in levels.items()}


def _limited(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
