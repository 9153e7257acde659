"""What the buttons beside a finding do: crops, masks and enlarged originals for some pictures, as if made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np

from lib_lora_train.dataset.images import open_image
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_bytes
from lib_lora_train.prepare.bench import Bench, Look, Steps, Task
from lib_lora_train.prepare.crops import content_box, propose_crops
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.prepare.sources import cache_folder, digests_of, read_sources
from lib_lora_train.prepare.state import changed_state, enlarged_file, read_state
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.wanted import tasks_of
from lib_lora_train.prepare.working import work
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped
from lib_lora_train.vision.geometry import Box

FIXES = ("crop", "close_ups", "trim", "mask", "upscale")  # those that take time; the others delete pictures
_UPSCALE = 2.0

Cropping = Callable[[np.ndarray, Look, list[Crop]], list[Crop]]


@dataclass
class Fixing:
    """Of the originals named `originals` in a project."""

    project: Project
    tools: Tools
    settings: PrepareSettings
    originals: frozenset[str]
    events: EventSink
    commands: Commands

    def run(self, fix: str) -> None:
        """Does one of FIXES; the data set changes when it is applied. Raises UserError, Stopped."""
        bench = self.tools.bench(cache_folder(self.project))
        tasks = self._tasks()
        if fix == "mask":
            self._mask(bench, tasks)
        elif fix == "upscale":
            self._enlarge(tasks)
        else:
            self._crop(bench, tasks, {"crop": self._around, "close_ups": self._closer, "trim": _trimmed}[fix])
        steps = read_state(self.project).steps
        self._say(work(bench, [task for _, task in self._tasks()], steps, self.events, self.commands))  # and judged

    def _tasks(self) -> list[tuple[str, Task]]:
        digests, state = digests_of(self.project), read_state(self.project)
        listed = tasks_of(self.project, state, read_sources(self.project, digests=digests), digests)
        return [
            (source.original, task)
            for source, task, _ in listed
            if task is not None and source.original in self.originals
        ]

    def _crop(self, bench: Bench, tasks: Sequence[tuple[str, Task]], crops: Cropping) -> None:
        state = read_state(self.project)
        self._say(
            work(bench, [task for _, task in tasks], Steps(check=self.settings), self.events, self.commands, False)
        )
        found: dict[str, tuple[Crop, ...]] = {}
        try:
            for original, task in self._each(tasks):
                look = bench.look(task.digest, self.settings.check.medium)
                if look is None or look.error is not None:
                    continue
                known = bench.recipes(task, state.steps)
                before = [recipe.crop for recipe in known or ()] or [_all_of(look)]
                found[original] = tuple(crops(np.asarray(open_image(task.path, task.name).image), look, before))
        finally:  # together: of thousands, the file would be written thousands of times; a stop keeps what was done
            with changed_state(self.project) as changed:
                for original, cut in found.items():
                    changed.set_hand(original, crops=cut)

    def _around(self, pixels: np.ndarray, look: Look, before: list[Crop]) -> list[Crop]:
        """Around the persons, or where there is most to see."""
        settings = replace(self.settings.crop, crop="head" if look.faces else "size", close_ups=False, mirror=False)
        return propose_crops(pixels, look.faces, settings)

    def _closer(self, pixels: np.ndarray, look: Look, before: list[Crop]) -> list[Crop]:
        """What there is, and a close-up of the largest face."""
        if not look.faces or any(crop.by in ("close_up", "face") for crop in before):
            return before
        settings = replace(self.settings.crop, crop="face", close_ups=False, mirror=False, several=1)
        return [*before, *(replace(crop, by="close_up") for crop in propose_crops(pixels, look.faces[:1], settings))]

    def _mask(self, bench: Bench, tasks: Sequence[tuple[str, Task]]) -> None:
        settings = replace(self.settings, matte=replace(self.settings.matte, background="mask"))
        masked = [replace(task, background="mask") for _, task in tasks]
        steps = replace(read_state(self.project).steps, matte=settings)
        self._say(work(bench, masked, steps, self.events, self.commands))
        with changed_state(self.project) as state:
            for original, _ in tasks:
                state.set_hand(original, background="mask")

    def _enlarge(self, tasks: Sequence[tuple[str, Task]]) -> None:
        host = self.tools.host
        names = host.upscalers() if host is not None else []
        if host is None or not names:
            raise UserError("prepare.no_upscaler", "upscale")
        for original, task in self._each(tasks):
            image = host.upscale(open_image(task.path, task.name).image, names[0], _UPSCALE, self.commands)
            data = BytesIO()
            image.convert("RGB").save(data, "PNG", compress_level=1)
            digest = hashlib.sha256(data.getvalue()).hexdigest()[:32]
            write_bytes(enlarged_file(self.project, digest), data.getvalue())
            with changed_state(self.project) as state:
                state.set_hand(original, enlarged=digest, scale=_UPSCALE, by=names[0])

    def _each(self, tasks: Sequence[tuple[str, Task]]) -> Iterator[tuple[str, Task]]:
        for number, (original, task) in enumerate(tasks):
            if self.commands.stopping:
                raise Stopped
            self.events(Stage("prepare.stage_fixing", number, len(tasks)))
            yield original, task

    def _say(self, problems: Sequence[UserError]) -> None:
        for problem in problems:
            self.events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))


def _trimmed(pixels: np.ndarray, look: Look, before: list[Crop]) -> list[Crop]:
    """Without the bars along the edges."""
    box = content_box(pixels)
    return [Crop(box, round(box.width), round(box.height), by="trim")]


def _all_of(look: Look) -> Crop:
    return Crop(Box(0, 0, look.width, look.height), look.width, look.height)
