"""How long drawing takes, from how long it took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib_lora_train.previews.store import Cost, Kept

if TYPE_CHECKING:
    from lib_lora_train.preview.grids import Drawing


class Rates:
    """By what was drawn last on this host. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._rate: float | None = None  # seconds of a pixel and step

    def count(self, drawing: Drawing, cost: Cost) -> None:
        if cost.drawn:
            self._rate = cost.seconds / (cost.drawn * _work(drawing))

    def seconds(self, drawing: Drawing, pictures: int, before: Iterable[Kept] = ()) -> float | None:
        """What so many pictures take; by what grids `before` took, newest first, where nothing was drawn since the
        program began. None where nobody can tell."""
        if self._rate is None:
            for kept in before:
                if kept.cost.drawn:
                    return pictures * kept.cost.seconds / (kept.cost.drawn * _work(kept.grid.drawing)) * _work(drawing)
            return None
        return self._rate * pictures * _work(drawing)


def _work(drawing: Drawing) -> int:
    return drawing.width * drawing.height * drawing.steps
