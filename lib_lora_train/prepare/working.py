"""Finding out what is not known of originals yet: each is decoded once, and everything that is missing is done then.

Nothing outside the bench's folder is written. A stop keeps what was done.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import numpy as np
from PIL import Image

from lib_lora_train.dataset.conversion import to_rgb
from lib_lora_train.dataset.images import OpenedImage, open_image, read_size
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.bench import Bench, Look, Steps, Task
from lib_lora_train.prepare.crops import propose_crops
from lib_lora_train.prepare.health.measures import measure
from lib_lora_train.prepare.rendering import Recipe, inside, load_alpha, render, render_mask, save
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events
from lib_lora_train.vision.faces import FaceFinder
from lib_lora_train.vision.geometry import Face
from lib_lora_train.vision.mattes import MatteFinder

MOST_WORKERS = 4
LARGE_PIXELS = 16_000_000  # of these only one is worked on at a time
_PASSING = ("image.missing", "image.unreadable")  # says nothing about the content
MASK_SIDE = 2048  # px, of the longer side of a kept mask


def work(
    bench: Bench,
    tasks: Sequence[Task],
    steps: Steps,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
    rendering: bool = True,
) -> list[UserError]:
    """Does what is not done yet, and returns what stood in the way, one for each picture. Raises Stopped."""
    with ExitStack() as stack:
        stack.callback(bench.save)
        shift = stack.enter_context(_Shift(bench, steps, commands, rendering, events))
        waiting = {id(task) for task in tasks if shift.lacks(task)}
        pool = stack.enter_context(ThreadPoolExecutor(shift.workers))
        problems: list[UserError] = []
        known: list[UserError] = []
        events(Stage("prepare.stage_pictures", 0, len(waiting)))
        todo = [task for task in tasks if id(task) in waiting]
        for count, problem in enumerate(_in_order(pool, shift.one, todo, shift.workers * 2), start=1):
            problems += [problem] if problem is not None else []
            events(Stage("prepare.stage_pictures", count, len(waiting)))
    for task in tasks:
        look = bench.look(task.digest, steps.medium) if id(task) not in waiting else None
        if look is not None and look.error is not None:  # of this content, maybe under another name
            known.append(UserError(look.error.code, task.name, **look.error.values))
    return [*known, *problems]


class _Shift:
    """Threads at work with the same steps. Face detectors may not be shared by threads, so each thread has its own; of
    mattes there is one for all, for its model is large and uses all cores by itself."""

    def __init__(
        self, bench: Bench, steps: Steps, commands: Commands | None, rendering: bool, events: EventSink
    ) -> None:
        self.bench, self.steps = bench, steps
        self.workers = max(1, min(MOST_WORKERS, os.cpu_count() or 1))
        self._commands, self._rendering, self._events = commands, rendering, events
        self._local, self._guard, self._large = threading.local(), threading.Lock(), threading.Lock()
        self._finders: list[FaceFinder] = []
        self._mattes: dict[str, MatteFinder] = {}
        self._matting = threading.Lock()
        self._told: set[str] = set()

    def __enter__(self) -> _Shift:
        return self

    def __exit__(self, *error: object) -> None:
        for finder in (*self._finders, *self._mattes.values()):
            finder.close()

    def lacks(self, task: Task) -> bool:
        """Whether anything about a task is still to be done."""
        bench, steps = self.bench, self.steps
        look = bench.look(task.digest, steps.medium)
        if look is None:
            return True
        if look.error is not None:
            return False
        recipes = bench.recipes(task, steps)
        return recipes is None or (self._rendering and not all(map(bench.is_rendered, recipes)))

    def one(self, task: Task) -> UserError | None:
        """Everything about one picture."""
        if self._commands is not None and self._commands.stopping:
            raise Stopped
        try:
            width, height = read_size(task.path, task.name)
            with self._large if width * height > LARGE_PIXELS else nullcontext():  # before it is decoded: for memory
                return self._all_of(task)
        except UserError as error:
            return self._unreadable(task, error)

    def _all_of(self, task: Task) -> UserError | None:
        try:
            opened = open_image(task.path, task.name)
        except UserError as error:
            return self._unreadable(task, error)
        try:
            self._examine(task, opened)
            recipes = self.bench.recipes(task, self.steps)
            if self._rendering and recipes is not None:
                self._render(task, opened.image, [each for each in recipes if not self.bench.is_rendered(each)])
        except UserError as error:
            return error
        return None

    def _unreadable(self, task: Task, error: UserError) -> UserError:
        if error.code not in _PASSING:
            self.bench.put_look(task.digest, self.steps.medium, Look(error=error))
        return error

    def _examine(self, task: Task, opened: OpenedImage) -> None:
        bench, steps = self.bench, self.steps
        pixels = np.asarray(opened.image)
        look = bench.look(task.digest, steps.medium)
        if look is None:
            finder = self._face_finder()
            faces = tuple(finder.find(pixels))
            self._tell(finder.notes)
            measures = measure(pixels, faces, opened.notes, task.path)
            look = Look(opened.image.width, opened.image.height, faces, measures, tuple(finder.used))
            bench.put_look(task.digest, steps.medium, look)
        if steps.crop is not None and task.crops is None and bench.proposal(task.digest, steps.crop) is None:
            bench.put_proposal(task.digest, steps.crop, propose_crops(pixels, look.faces, steps.crop.crop))
        settings = steps.matting(task)
        if settings is not None and bench.matte(task, settings) is None:
            self._find_matte(task, settings, pixels, look.faces)

    def _find_matte(self, task: Task, settings: PrepareSettings, pixels: np.ndarray, faces: Sequence[Face]) -> None:
        with self._matting:
            finder = self._mattes.get(settings.matte.matte)
            if finder is None:
                finder = MatteFinder(
                    self.bench.store, settings.matte.matte, self.steps.medium, self.bench.provider, self._events
                )
                self._mattes[settings.matte.matte] = finder
            alpha = finder.matte(pixels, faces)
            by = finder.used
        image = Image.fromarray(np.rint(np.clip(alpha, 0.0, 1.0) * 255.0).astype(np.uint8))
        image.thumbnail((MASK_SIDE, MASK_SIDE), Image.Resampling.LANCZOS)
        name = f"{task.digest[:32]}-{by}.png"
        save(image, self.bench.folder / "mattes" / name)
        self.bench.put_matte(task.digest, settings, name, by)

    def _render(self, task: Task, image: Image.Image, recipes: Sequence[Recipe]) -> None:
        if not recipes:
            return
        alpha, original, settings = None, image.size, self.steps.matting(task)
        matte = self.bench.matte(task, settings) if settings is not None else None
        if matte is not None:
            alpha = load_alpha(matte.file, task.name)
        if task.enlarged is not None:
            image = open_image(task.enlarged, task.name).image
        for recipe in recipes:
            if recipe.key:
                picture = render(image, task.scale, alpha, recipe)
                save(picture, self.bench.picture(recipe))
                self._look_at(task, recipe, picture)
            if recipe.mask_key and alpha is not None:
                save(render_mask(original, alpha, recipe), self.bench.mask(recipe.mask_key))

    def _tell(self, notes: Sequence[Log]) -> None:
        """Each note once, whichever thread has it."""
        with self._guard:
            fresh = [note for note in notes if note.code not in self._told]
            self._told.update(note.code for note in fresh)
        for note in fresh:
            self._events(note)

    def _look_at(self, task: Task, recipe: Recipe, picture: Image.Image) -> None:
        """What will be trained on is judged as it will be, with the faces that are known."""
        look = self.bench.look(task.digest, self.steps.medium)
        if look is None:
            return
        faces = tuple(face for known in look.faces if (face := inside(known, recipe.crop)) is not None)
        measures = measure(np.asarray(to_rgb(picture, task.name, [])), faces)
        seen = Look(picture.width, picture.height, faces, measures, look.finders)
        self.bench.put_look(recipe.key, self.steps.medium, seen)

    def _face_finder(self) -> FaceFinder:
        finder = getattr(self._local, "finder", None)
        if finder is None:
            finder = self._local.finder = FaceFinder(self.bench.store, self.steps.medium, self.bench.provider)
            with self._guard:
                self._finders.append(finder)
        return finder


def _in_order(
    pool: ThreadPoolExecutor, do: Callable[[Task], UserError | None], tasks: Sequence[Task], ahead: int
) -> Iterator[UserError | None]:
    """Results in the order of the tasks, of which at most `ahead` are begun beforehand."""
    begun: deque[Future[UserError | None]] = deque()
    try:
        for task in tasks:
            begun.append(pool.submit(do, task))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
