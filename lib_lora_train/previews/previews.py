"""What can be asked of a project's grids, and what it answers. Who may ask is the studio's to say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Exposure, Visitor, check_owner
from lib_lora_train.collection.limits import Limits, Room
from lib_lora_train.errors import UserError
from lib_lora_train.files import discard
from lib_lora_train.host.samplers import sampler_names
from lib_lora_train.job_files import FolderLock
from lib_lora_train.jobs import MAX_WAITING, Registry
from lib_lora_train.messages import message
from lib_lora_train.preview.recommending import MOST_STARS
from lib_lora_train.preview.scores import NAMES, TrainingSet
from lib_lora_train.previews import store
from lib_lora_train.previews.asking import Asking, Question, Wanted, grid_settings
from lib_lora_train.previews.judging import Judges
from lib_lora_train.previews.looking import Looking
from lib_lora_train.previews.pick_line import PickLine
from lib_lora_train.previews.picks import shown_picks
from lib_lora_train.previews.pictures import find_cell
from lib_lora_train.previews.rates import Rates
from lib_lora_train.previews.showing import (
    View,
    shown_columns,
    shown_grid,
    shown_line,
    shown_prompts,
    without_places,
)
from lib_lora_train.previews.store import JOB, Cost, Kept, grid_folder
from lib_lora_train.previews.turns import Turns
from lib_lora_train.previews.working import Again, Meter, draw, score
from lib_lora_train.project import Project
from lib_lora_train.runs.grid_marks import GRIDS
from lib_lora_train.runs.line import Line
from lib_lora_train.settings.fields import shown_setting
from lib_lora_train.signals import Commands, EventSink

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host
    from lib_lora_train.preview.grids import Grid

MOST_CELLS = 600  # of a grid, where strangers can reach the server
MOST_PIXELS = 1024 * 1024  # of its pictures
_BYTES = 2.0  # of a picture's pixel, as PNG: more than most take


class Previews:
    """All methods may be called from any thread. `loras` tells the names of the LoRA files that a visitor may use,
    `trainings` are the runs that want the same model."""

    def __init__(
        self,
        host: Host,
        exposure: Exposure,
        limits: Limits,
        loras: Callable[[Visitor], Collection[str]],
        trainings: Registry,
    ) -> None:
        self.host = host
        self.exposure = exposure
        self.line = Line(exposure)
        self.judges = Judges(host)
        self.asking = Asking(host, self.judges, loras)
        self.turns = Turns(trainings, self.line.registry)
        self.picking = PickLine(host, exposure, self.turns)
        self._limits = limits
        self._starting = threading.Lock()
        self._writing = threading.Lock()  # of grid.json and scores.json
        self._looking = Looking(host)
        self.rates = Rates()
        self._again = Again()

    # ------------------------------------------------------------------ what there is

    def overview(self, project: Project, visitor: Visitor) -> dict[str, Any]:
        """`GET /grids`."""
        grids = []
        for grid_id in store.list_ids(project):
            try:
                view = self.view(project, grid_id)
            except UserError:  # damaged, or deleted this very moment
                continue
            job, last = self._states(project, grid_id, visitor)
            grids.append(shown_line(view, self._drawn_of(project, grid_id, job), job, last, visitor.language))
        return {
            "grids": grids,
            "schema": [shown_setting(item) for item in grid_settings()],
            "samplers": sampler_names(self.host),
            "trash": [vars(each) for each in store.list_trash(project)],
            "picks": shown_picks(project),
            "picking": self.picking.shown(project, visitor),
            "tools": {"tagger": self.judges.tagger_name(), "embedding": self.judges.has_embedder()},
        }

    def shown(self, project: Project, grid_id: str, visitor: Visitor, with_cells: bool = True) -> dict[str, Any]:
        """`GET /grids/{grid}`. Raises UserError: previews.no_grid, previews.damaged."""
        view = self.view(project, grid_id)
        job, last = self._states(project, grid_id, visitor)
        present = self._drawn_of(project, grid_id, job)
        return shown_grid(view, present, job, last, visitor.language, with_cells)

    def view(self, project: Project, grid_id: str) -> View:
        """Raises UserError: previews.no_grid, previews.damaged."""
        return self._looking.view(project, grid_id)

    # ------------------------------------------------------------------ making

    def plan(self, project: Project, visitor: Visitor, question: Question) -> dict[str, Any]:
        """What a grid would be, and take. Raises UserError as `Asking.wanted`."""
        wanted = self._wanted(project, visitor, question)
        grid, present = wanted.grid, self._looking.present(project)
        keys = {cell.key for cell in grid.cells()}
        new = len(keys - present)
        same = self._same(project, wanted)
        return {
            "size": len(keys),
            "new": new,
            "kept": len(keys) - new,
            "seconds": self._seconds(project, grid, new),
            "columns": shown_columns(grid, wanted.sources),
            "weights": list(grid.weights),
            "seeds": list(grid.seeds),
            "bases": [base.name for base in grid.bases],
            "prompts": shown_prompts(grid, visitor.language),
            "settings": dict(wanted.asked.settings),
            "grid": same.id if same is not None else "",
            "notes": [message(note.code, visitor.language, **note.values) for note in wanted.notes],
        }

    def start(
        self,
        project: Project,
        visitor: Visitor,
        question: Question,
        grid_id: str = "",
        room: int = MAX_WAITING,
        keep: bool = False,
    ) -> str:
        """Puts a grid in line; what is drawn already stays. One that was asked for in the same way goes on, and
        `grid_id` becomes what is asked for now. `room` is how many may wait; with `keep` a grid that cannot be put in
        line is there all the same, to be gone on with.

        Raises UserError: previews.busy, previews.limit, collection.no_room, job.queue_full, and as `Asking.wanted`.
        """
        with self._starting:
            wanted = self._wanted(project, visitor, question)
            old = self._kept(project, grid_id) if grid_id else self._same(project, wanted)
            self._check_room(project, wanted)
            if old is None:
                folder = store.new_folder(project)
                kept = Kept(
                    folder.name, wanted.title, time.time(), visitor.name, wanted.asked, wanted.grid, wanted.sources
                )
            else:
                folder = grid_folder(project, old.id)
                if self.line.in_folder(folder / JOB) is not None and old.grid == wanted.grid:
                    return old.id
                self._check_idle(project, old.id)
                kept = replace(old, title=wanted.title, asked=wanted.asked, grid=wanted.grid, sources=wanted.sources)
            try:
                with self._writing:
                    if old is not None and old.grid != kept.grid:
                        store.write_scores(project, old.id, without_places(store.read_scores(project, old.id)))
                    store.write_grid(project, kept)
                self._put(project, visitor, kept, room)
            except UserError as error:
                if keep and error.code == "job.queue_full":
                    return kept.id
                if old is None:
                    discard(folder)
                else:
                    store.write_grid(project, old)  # "continue" scores it again
                raise
        return kept.id

    def fitting(
        self,
        project: Project,
        visitor: Visitor,
        runs: Sequence[str],
        sizes: Sequence[dict[str, Any]],
        most: int,
        longest: float,
    ) -> dict[str, Any]:
        """Of settings, largest grid first, those whose grid has at most `most` pictures and takes at most `longest`
        seconds as far as is known; else the last. Raises UserError as `Asking.wanted`."""
        training = self.asking.training(project, runs)
        for settings in sizes[:-1]:
            try:
                grid = self.asking.wanted(visitor, project, runs, (), (), settings, training).grid
            except UserError as error:
                if error.code == "preview.too_many":
                    continue
                raise
            if grid.size <= most and (self._seconds(project, grid, grid.size) or 0.0) <= longest:
                return settings
        return sizes[-1]

    def go_on(self, project: Project, visitor: Visitor, grid_id: str) -> None:
        """Draws what is missing, and scores what is new. Raises UserError: previews.busy, job.queue_full."""
        with self._starting:
            self._check_idle(project, grid_id)
            self._put(project, visitor, self._kept(project, grid_id))

    def stop(self, project: Project, visitor: Visitor, grid_id: str) -> None:
        """Ends it after the batch in progress. Raises UserError: previews.no_grid, access.not_owner."""
        self.line.end(self.line.in_folder(grid_folder(project, grid_id) / JOB), visitor)

    def redraw(self, project: Project, visitor: Visitor, grid_id: str, keys: Sequence[str]) -> None:
        """Each picture stays until the new one takes its place. Raises UserError: preview.no_cell, previews.busy,
        job.queue_full."""
        view = self.view(project, grid_id)
        for key in keys:
            find_cell(view, key)
        with self._starting:
            self._check_idle(project, grid_id)
            with self._writing:
                store.forget_seen(project, grid_id, keys)
            self._put(project, visitor, view.kept, again=keys)

    # ------------------------------------------------------------------ judging

    def give_stars(self, project: Project, grid_id: str, key: str, stars: int) -> None:
        """0 takes them away. Raises UserError: preview.no_cell, previews.stars, file.write."""
        if not 0 <= stars <= MOST_STARS:
            raise UserError("previews.stars", "stars", most=MOST_STARS)
        find_cell(self.view(project, grid_id), key)
        with self._writing:
            kept = self._kept(project, grid_id)
            given = {**kept.stars, key: stars}
            store.write_grid(project, replace(kept, stars={each: count for each, count in given.items() if count}))

    def switch(self, project: Project, grid_id: str, names: Sequence[str]) -> None:
        """Which scores count. Raises UserError: previews.score, previews.no_grid, file.write."""
        for name in names:
            if name not in NAMES:
                raise UserError("previews.score", "on", value=name[:40], choices=", ".join(NAMES))
        grid_folder(project, grid_id)
        with self._writing:
            scores = store.read_scores(project, grid_id)
            scores.on = frozenset(names)
            store.write_scores(project, grid_id, scores)

    # ------------------------------------------------------------------ the rest

    def delete(self, project: Project, visitor: Visitor, grid_id: str) -> str:
        """Moves a grid to the trash. Raises UserError: previews.busy, previews.no_grid, access.not_owner."""
        with self._starting:
            self._check_idle(project, grid_id)
            check_owner(self.exposure, visitor, self._owner(project, grid_id), grid_id)
            return store.delete_grid(self.host, project, grid_id)

    def restore(self, project: Project, trash_id: str) -> str:
        """Raises UserError: previews.not_in_trash, file.write."""
        return store.restore_grid(project, trash_id)

    def check_files(self, visitor: Visitor, names: Sequence[str]) -> list[str]:
        """Names without their ending. Raises UserError: run.no_lora for one that the visitor may not use,
        previews.no_making where strangers can reach the server."""
        if self.exposure.has_quotas:
            raise UserError("previews.no_making", "files")
        stems = [name.removesuffix(".safetensors") for name in names]
        known = self.asking.loras(visitor)
        for stem in stems:
            if stem not in known:
                raise UserError("run.no_lora", "files", name=stem[:120])
        return stems

    def lives(self, project: Project) -> bool:
        """Whether a grid of the project is being drawn or waits, or a cell of one is being picked."""
        return self.picking.lives(project) or any(
            self._is_busy(project.path(GRIDS, each)) for each in store.list_ids(project)
        )

    def close(self, timeout: float | None = None) -> bool:
        picked = self.picking.close(timeout)
        return self.line.registry.close(timeout) and picked

    def _wanted(self, project: Project, visitor: Visitor, question: Question) -> Wanted:
        return self.asking.wanted(
            visitor, project, question.runs, question.files, question.bases, question.settings
        )  # fmt: skip

    def _kept(self, project: Project, grid_id: str) -> Kept:
        return store.read_grid(self.host, project, grid_id)

    def _same(self, project: Project, wanted: Wanted) -> Kept | None:
        for grid_id in store.list_ids(project):
            try:
                kept = self.view(project, grid_id).kept
            except UserError:
                continue
            if kept.asked == wanted.asked:
                return self._kept(project, grid_id)
        return None

    def _owner(self, project: Project, grid_id: str) -> str:
        try:
            return self._kept(project, grid_id).owner
        except UserError as error:
            if error.code == "previews.damaged":  # can be thrown away by whoever sees the project
                return ""
            raise

    def _is_busy(self, folder: Path) -> bool:
        job = folder / JOB
        return self.line.in_folder(job) is not None or (job.is_dir() and FolderLock.held(job))

    def _check_idle(self, project: Project, grid_id: str) -> None:
        if self._is_busy(grid_folder(project, grid_id)):
            raise UserError("previews.busy", grid_id)

    def _check_room(self, project: Project, wanted: Wanted) -> None:
        drawing = wanted.grid.drawing
        pixels = drawing.width * drawing.height
        if self.exposure.has_quotas and (wanted.grid.size > MOST_CELLS or pixels > MOST_PIXELS):
            raise UserError("previews.limit", "grid", cells=MOST_CELLS, side=1024)
        new = {cell.key for cell in wanted.grid.cells()} - self._looking.present(project)
        Room(project, self._limits, 0).check("grid", round(len(new) * pixels * _BYTES))

    def _seconds(self, project: Project, grid: Grid, pictures: int) -> float | None:
        return self.rates.seconds(grid, pictures, self._drawn(project))

    def _drawn(self, project: Project) -> Iterator[Kept]:
        """The project's grids that this host has drawn, newest first."""
        for grid_id in store.list_ids(project):
            try:
                kept = self.view(project, grid_id).kept
            except UserError:
                continue
            if kept.grid.host == self.host.name:
                yield kept

    def _drawn_of(self, project: Project, grid_id: str, job: Mapping[str, object] | None) -> Collection[str]:
        """Keys of the pictures there are, without those that the grid's job is about to draw again."""
        present = self._looking.present(project)
        again = self._again.of(project.path(GRIDS, grid_id, JOB)) if job is not None else ()
        return present.difference(again) if again else present

    def _states(
        self, project: Project, grid_id: str, visitor: Visitor
    ) -> tuple[Mapping[str, object] | None, Mapping[str, object] | None]:
        """The job that lives, and how the one before ended."""
        folder = project.path(GRIDS, grid_id, JOB)
        job = self.line.living(self.line.in_folder(folder), visitor)
        return job, None if job is not None else self.line.ended(folder, visitor.language)

    def _put(
        self, project: Project, visitor: Visitor, kept: Kept, room: int = MAX_WAITING, again: Collection[str] = ()
    ) -> None:
        grid_id = kept.id
        place = project.path(GRIDS, grid_id, JOB)

        def work(events: EventSink, commands: Commands) -> None:
            def tell(event: Any) -> None:
                events(event)
                self.host.tell(event)

            self._work(project, grid_id, tell, commands)

        self._again.put(place, again)
        self.line.put(f"{project.title} {grid_id}", place, visitor, work, room=room)

    def _work(self, project: Project, grid_id: str, events: EventSink, commands: Commands) -> None:
        kept = self._kept(project, grid_id)  # files may have moved while it was in line
        meter = Meter()
        try:
            draw(self.host, project, kept, events, commands, meter, self.turns, self._again)
        finally:
            self._again.end(project.path(GRIDS, grid_id, JOB))
            self._count(project, grid_id, meter.cost())
        known, runs = store.read_scores(project, grid_id), kept.asked.runs

        def training() -> TrainingSet:
            return self.asking.training(project, runs, events, commands)

        scores = score(project, kept, known, self.judges, training, events, commands)
        with self._writing:
            scores.on = store.read_scores(project, grid_id).on  # may have been switched meanwhile
            store.write_scores(project, grid_id, scores)

    def _count(self, project: Project, grid_id: str, cost: Cost) -> None:
        if not cost.drawn:
            return
        with self._writing:
            kept = self._kept(project, grid_id)  # stars may have been given meanwhile
            store.write_grid(project, store.with_cost(kept, cost))
        self.rates.count(kept.grid, cost)
