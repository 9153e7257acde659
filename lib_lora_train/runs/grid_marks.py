"""Which grid was made of a run when it ended, or why none was: noted in the run's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.files import write_json
from lib_lora_train.messages import message
from lib_lora_train.project import Project
from lib_lora_train.signals import Log

GRIDS = "grids"  # folder of a project, with one for each grid
MARK = "grid.json"  # in the folder of a run
_VERSION = 1


@dataclass(frozen=True)
class GridMark:
    """`grid` is the id of a grid, empty where there is none; `note` then says why."""

    grid: str = ""
    note: Log | None = None

    def said(self, language: str) -> str:
        """Empty where nothing is to be said, or another version has said it."""
        try:
            return message(self.note.code, language, **self.note.values) if self.note is not None else ""
        except (KeyError, IndexError, TypeError, ValueError):
            return ""


def write_mark(run_folder: Path, mark: GridMark) -> None:
    """Raises UserError("file.write")."""
    note = {"code": mark.note.code, "values": mark.note.values} if mark.note is not None else None
    write_json(run_folder / MARK, {"version": _VERSION, "grid": mark.grid, "note": note})


def read_mark(project: Project, run_folder: Path) -> GridMark:
    """An empty one where nothing was noted, the note cannot be read, or the grid is not there any more."""
    try:
        said = json.loads((run_folder / MARK).read_text(encoding="utf-8"))
        grid, note = str(said["grid"]), said["note"]
        found = GridMark(grid, Log(str(note["code"]), dict(note["values"])) if note else None)
    except (OSError, ValueError, KeyError, TypeError):
        return GridMark()
    if found.grid and not project.path(GRIDS, found.grid).is_dir():
        return GridMark()
    return found
