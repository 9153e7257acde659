"""How long drawing takes: from how long it took, else from how fast the same checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib_lora_train.previews.store import Cost, Kept

if TYPE_CHECKING:
    from lib_lora_train.preview.grids import Grid

# A step of a sampler is two passes through the model, with the prompt and without; a training step is about three and a
# half, for the way back costs two of the way there, and some of it is computed again.
_OF_TRAINING = 2 / 3.5


class Rates:
    """In seconds of a pixel and step, by the checkpoint. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._drawn: dict[str, float] = {}
        self._trained: dict[str, float] = {}

    def count(self, grid: Grid, cost: Cost) -> None:
        """What was drawn of a grid just now."""
        if cost.drawn:
            self._drawn.pop(_base(grid), None)  # put in again: the newest stands last
            self._drawn[_base(grid)] = cost.seconds / (cost.drawn * _work(grid))

    def trained(self, checkpoint: str, pictures_per_second: float, pixels: int) -> None:
        """How fast a training went, its pictures having so many pixels."""
        if pictures_per_second > 0 and pixels > 0:
            self._trained[checkpoint] = _OF_TRAINING / (pictures_per_second * pixels)

    def seconds(self, grid: Grid, pictures: int, before: Iterable[Kept] = ()) -> float | None:
        """What so many of a grid's pictures take. What was drawn with its checkpoint tells best, now or in grids
        `before`, newest first; then what was trained on it; then what was drawn with another one. None where nobody
        can tell."""
        earlier: dict[str, float] = {}
        for kept in before:
            if kept.cost.drawn:
                earlier.setdefault(_base(kept.grid), kept.cost.seconds / (kept.cost.drawn * _work(kept.grid)))
        base = _base(grid)
        known = [rates[base] for rates in (self._drawn, earlier, self._trained) if base in rates]
        others = [*reversed(self._drawn.values()), *earlier.values()]
        rate = next(iter([*known, *others]), None)
        return None if rate is None else rate * pictures * _work(grid)


def _base(grid: Grid) -> str:
    return grid.bases[0].name


def _work(grid: Grid) -> int:
    """Pixels and steps of one picture."""
    return grid.drawing.width * grid.drawing.height * grid.drawing.steps
