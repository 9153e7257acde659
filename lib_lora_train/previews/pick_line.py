"""Picks one after the other, each when it is its turn with the model: watched from the page, or waited for."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Exposure, Visitor
from lib_lora_train.collection.layout import CACHE
from lib_lora_train.errors import UserError, in_language
from lib_lora_train.job_files import FolderLock
from lib_lora_train.jobs import Job
from lib_lora_train.preview.grids import Cell
from lib_lora_train.previews.picks import CellPick, look_at_pick
from lib_lora_train.previews.showing import View
from lib_lora_train.previews.turns import Turns
from lib_lora_train.project import Project
from lib_lora_train.runs.line import Line
from lib_lora_train.runs.picking import Picked
from lib_lora_train.signals import Commands, EventSink

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_KNOWN = 64  # projects whose last pick is remembered
_FOLDER = "picking"


@dataclass
class Picking:
    """A pick on its way; `made` and `error` are what came of it."""

    project_id: str
    grid_id: str
    key: str
    wanted: CellPick
    job: Job = field(init=False)
    made: Picked | None = None
    error: UserError | None = None


class PickLine:
    """All methods may be called from any thread."""

    def __init__(self, host: Host, exposure: Exposure, turns: Turns) -> None:
        self.line = Line(exposure)
        self._host = host
        self._turns = turns
        self._guard = threading.Lock()
        self._last: OrderedDict[str, Picking] = OrderedDict()

    def start(self, project: Project, visitor: Visitor, view: View, cell: Cell, values: dict[str, Any]) -> Picking:
        """Puts a pick in line. Raises UserError: previews.model_busy, job.queue_full, and as `look_at_pick`."""
        wanted = look_at_pick(self._host, project, view, cell, values)
        self._turns.check_no_training()
        picking = Picking(project.id, view.kept.id, cell.key, wanted)

        def work(events: EventSink, commands: Commands) -> None:
            try:
                with self._turns.picking():
                    picking.made = wanted.make(self._host, project, commands, events)
            except UserError as error:
                picking.error = error
                raise

        place = project.path(CACHE, _FOLDER)
        _sweep(place)
        with self._guard:
            picking.job = self.line.put(wanted.choice.name, place / secrets.token_hex(6), visitor, work)
            self._last[project.id] = picking
            self._last.move_to_end(project.id)
            while len(self._last) > _KNOWN:
                self._last.popitem(last=False)
        return picking

    def result(self, picking: Picking, language: str) -> dict[str, Any]:
        """Waits for it. Raises UserError: previews.pick_ended, and as `picking.pick`."""
        picking.job.wait()
        if picking.error is not None:
            raise picking.error
        if picking.made is None:
            raise UserError("previews.pick_ended", picking.wanted.choice.name)
        return picking.wanted.told(picking.made, language)

    def shown(self, project: Project, visitor: Visitor) -> dict[str, Any] | None:
        """The project's last pick since the program began, for who looks at it: how far it is, or what came of it."""
        with self._guard:
            picking = self._last.get(project.id)
        if picking is None:
            return None
        told = self.line.living(picking.job, visitor) or {}
        record, made = picking.job.record, picking.made
        return {
            **{name: told.get(name) for name in ("id", "state", "stage", "stopping", "mine")},
            "grid": picking.grid_id,
            "cell": picking.key,
            "name": picking.wanted.choice.name,
            "result": picking.wanted.told(made, visitor.language) if made is not None else None,
            "error": in_language(record.error, visitor.language) if record.error else None,
        }

    def stop(self, project: Project, visitor: Visitor) -> None:
        """Raises UserError: access.not_owner."""
        with self._guard:
            picking = self._last.get(project.id)
        if picking is not None and not picking.job.finished.is_set():
            self.line.end(picking.job, visitor)

    def lives(self, project: Project) -> bool:
        with self._guard:
            picking = self._last.get(project.id)
        return picking is not None and not picking.job.finished.is_set()

    def close(self, timeout: float | None = None) -> bool:
        return self.line.registry.close(timeout)


def _sweep(place: Path) -> None:
    """Removes what earlier picks have left of themselves."""
    for old in place.iterdir() if place.is_dir() else []:
        if not FolderLock.held(old):
            shutil.rmtree(old, ignore_errors=True)
