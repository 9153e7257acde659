"""A grid's scores as a table for spreadsheets: one row for each picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib_lora_train.preview.grids import Grid
from lib_lora_train.preview.prompts import prompt_label
from lib_lora_train.preview.scores.tables import NAMES

if TYPE_CHECKING:
    from lib_lora_train.preview.scores import Scores

_HEAD = ("cell", "base", "file", "epoch", "step", "weight", "prompt", "kind", "label", "seed")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a text for a formula
MARK = "\ufeff"  # by which spreadsheets know UTF-8


def scores_csv(grid: Grid, scores: Scores, stars: Mapping[str, int] | None = None) -> str:
    """Comma-separated, in UTF-8 with its mark; scores that are switched off or not known are empty."""
    names = [name for name in NAMES if name in scores.on]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([*_HEAD, *names, "stars"])
    for cell in grid.cells():
        file = grid.columns[cell.column] if cell.column >= 0 else None
        prompt, values = grid.prompts[cell.prompt], scores.shown_cell(cell.key)
        place = [grid.bases[cell.base].name, file.label if file else "", file.epoch if file else "", file.step if file else ""]  # fmt: skip
        row = [cell.key, *place, f"{cell.weight:g}", prompt.text, prompt.kind, prompt_label(prompt), cell.seed]
        row += ["" if values.get(name) is None else values[name] for name in names]
        writer.writerow([_plain(value) for value in [*row, (stars or {}).get(cell.key, "")]])
    return MARK + buffer.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
