"""Grids as they are now, without reading anew what has not changed: open pages ask every second."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.previews import store
from lib_lora_train.previews.showing import View
from lib_lora_train.project import Project

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_KEPT = 8  # views, and projects


class Looking:
    """All methods may be called from any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._guard = threading.Lock()
        self._views: OrderedDict[tuple[str, str], tuple[tuple[int, ...], View]] = OrderedDict()
        self._present: OrderedDict[str, tuple[int, set[str]]] = OrderedDict()

    def view(self, project: Project, grid_id: str) -> View:
        """Raises UserError: previews.no_grid, previews.damaged."""
        folder = store.grid_folder(project, grid_id)
        # The LoRA files' folder as well: a pick may have moved some.
        places = (folder / store.RECORD, folder / store.SCORES, self._host.paths.loras / project.id)
        stamp = tuple(map(_time, places))
        key = (project.id, grid_id)
        with self._guard:
            known = self._views.get(key)
        if known is None or known[0] != stamp:
            kept = store.read_grid(self._host, project, grid_id)  # first: where axes change, scores are emptied before
            view = View(kept, store.read_scores(project, grid_id))
            known = (stamp, view)
            with self._guard:
                self._views[key] = known
                self._views.move_to_end(key)
                while len(self._views) > _KEPT:
                    self._views.popitem(last=False)
        return known[1]

    def present(self, project: Project) -> set[str]:
        """Keys of the pictures there are; looked at again when one came or went."""
        cells = store.cell_store(project)
        stamp = _time(cells.folder)
        with self._guard:
            known = self._present.get(project.id)
        if known is None or known[0] != stamp:
            known = (stamp, cells.present())
            with self._guard:
                self._present[project.id] = known
                self._present.move_to_end(project.id)
                while len(self._present) > _KEPT:
                    self._present.popitem(last=False)
        return known[1]


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
