"""One pass from a folder of pictures to a folder that can be trained on, as the command line and the demo do it.

    OUT/<folder>/<name>.png .txt            what is trained on
    OUT_masks/<folder>/<name>.png           masks, where they were asked for
    OUT/.lora_train/prepared.json           which original, crop and model each came from

The originals are only read. Nothing of the set is written before everything is ready, so a stop leaves it as it was; a
second run does only what has changed, and leaves alone what somebody has changed in OUT since (`folder_output`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lib_lora_train.collection.caption_files import read_caption
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.bench import Bench, Steps, Task
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.describing import Content, describe
from lib_lora_train.prepare.folder_output import Output, OutputFolder, Written, masks_folder
from lib_lora_train.prepare.folders import HIDDEN, FolderPicture, Found, Names, check_apart, find_pictures, make_place
from lib_lora_train.prepare.health.findings import Report
from lib_lora_train.prepare.health.judge import HealthWishes, Item, judge
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.prepare.models import fetch_models
from lib_lora_train.prepare.rendering import Recipe
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.working import work
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events


@dataclass
class Prepared:
    """How it went. `pictures` are those of OUT, `masks` the folder beside it, None where no masks were asked for;
    `looked_at` is how many originals there are."""

    report: Report | None = None
    pictures: list[Path] = field(default_factory=list)
    masks: Path | None = None
    looked_at: int = 0
    files: Written = field(default_factory=Written)
    problems: list[UserError] = field(default_factory=list)


@dataclass
class FolderPass:
    """Of one folder. `cache` is where knowledge is kept; `trigger` the trigger word, `kind` the kind of subject."""

    found: Found
    cache: Path
    tools: Tools
    settings: PrepareSettings
    kind: str = "character"
    trigger: str = ""
    events: EventSink = ignore_events
    commands: Commands | None = None

    def __post_init__(self) -> None:
        self.bench: Bench = self.tools.bench(self.cache)
        self.problems: list[UserError] = []
        self.tasks: dict[str, Task] = {}
        self._digests = Digests(self.cache / "digests.json")

    def look(self, steps: Steps, rendering: bool) -> None:
        """Finds out what is not known. Raises Stopped, and UserError("prepare.nothing_usable") when no picture is left."""
        for note in self.found.notes:
            self.events(note)
        self._say(self.found.problems)
        for picture in self.found.pictures:
            try:
                self.found.check_link(picture)
                digest = self._digests.of(picture.path, picture.name)
                self.tasks[picture.key] = Task(picture.path, picture.name, digest)
            except UserError as error:
                self._say([error])
            own = read_caption(picture.path.parent, picture.path.name)
            self._say([own.error] if own.error is not None else [])
        self._digests.save()
        self._say(work(self.bench, list(self.tasks.values()), steps, self.events, self.commands, rendering))
        if not any(self._is_usable(task, steps) for task in self.tasks.values()):
            raise UserError("prepare.nothing_usable", self.found.root.name, count=len(self.found.pictures))

    def report(self, steps: Steps, captions: Callable[[FolderPicture], str] | None = None) -> Report:
        """The health report, its keys being paths below the root. What is cut and rendered is judged as it will be."""
        items = []
        for picture in self.found.pictures:
            task = self.tasks.get(picture.key)
            caption = captions(picture) if captions is not None else own_caption(picture)
            recipes = (self.bench.recipes(task, steps) or ()) if task is not None else ()
            contents = [recipe.content for recipe in recipes] or ([task.digest] if task is not None else [""])
            for content in contents:
                look = self.bench.look(content, steps.medium) if content else None
                size = (look.width, look.height) if look is not None else (0, 0)
                measures = look.measures if look is not None else None
                error = self._error_of(picture) or (look.error if look is not None else None)
                items.append(Item(picture.key, picture.name, size, measures, error, caption))
        return judge(items, HealthWishes(self.settings.check.size, self.kind, self.trigger))

    def contents(self, steps: Steps) -> list[tuple[FolderPicture, Recipe]]:
        """Every picture that will be there, with how it is made."""
        found = []
        for picture in self.found.pictures:
            task = self.tasks.get(picture.key)
            for recipe in (self.bench.recipes(task, steps) or ()) if task is not None else ():
                if self.bench.is_rendered(recipe):
                    found.append((picture, recipe))
        return found

    def describe(self, contents: Sequence[tuple[FolderPicture, Recipe]]) -> Callable[[str, str], str | None]:
        """Has taggers and captioners look; returns what makes captions of it. Raises Stopped, UserError."""
        looked_at: dict[str, Content] = {}
        for picture, recipe in contents:
            path = self.bench.picture(recipe) if recipe.key else picture.path
            looked_at[recipe.content] = (recipe.content, picture.name, path)
        settings = self.settings.tag
        failed: list[UserError] = []
        try:
            self._say(describe(list(looked_at.values()), self.cache, self.tools, settings, self.events, self.commands))
        except UserError as error:
            self._say(failed := [error])
        seen = self.tools.seen(self.cache)
        caption = captioning(seen, settings, self.trigger)
        if not failed:
            return caption
        plain = captioning(seen, replace(settings, taggers=[], captioner="none"), self.trigger)
        return lambda content, own: plain(content, own) if (text := caption(content, own)) is None else text

    def fetch(self, steps: Sequence[str]) -> None:
        self._say(fetch_models(self.tools, self.settings, steps, self.events, self.commands))

    def check_stop(self) -> None:
        if self.commands is not None and self.commands.stopping:
            raise Stopped

    def _is_usable(self, task: Task, steps: Steps) -> bool:
        look = self.bench.look(task.digest, steps.medium)
        return look is not None and look.error is None

    def _error_of(self, picture: FolderPicture) -> UserError | None:
        """Why a picture cannot be used; what there is to say of its caption has another name."""
        return next((problem for problem in self.problems if problem.where == picture.name), None)

    def _say(self, problems: Sequence[UserError]) -> None:
        """Each once: a model that could not be downloaded is then also missing where it is used."""
        said = {(problem.code, problem.where) for problem in self.problems}
        unfetched = {problem.where for problem in self.problems if problem.code.startswith("models.")}
        for problem in problems:
            if (problem.code, problem.where) in said or (
                problem.code == "models.missing" and problem.where in unfetched
            ):
                continue
            self.events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))
            self.problems.append(problem)


def own_caption(picture: FolderPicture) -> str:
    """The caption that lies beside a picture."""
    return read_caption(picture.path.parent, picture.path.name).text


def prepare_folder(
    folder: str,
    out: Path,
    tools: Tools,
    settings: PrepareSettings,
    *,
    kind: str = "character",
    trigger: str = "",
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Prepared:
    """From `folder` to `out`. Without a tagger that was asked for there are no tags, which is said.

    Raises Stopped, and UserError: those of the folders, prepare.empty, prepare.nothing_usable, file.write.
    """
    found = find_pictures(folder, "DIR")
    out = out.expanduser().resolve()
    for place in (out, masks_folder(out)) if settings.matte.background == "mask" else (out,):
        check_apart(found.root, place)
    found.check_some()
    tools.check_taggers(settings.tag.taggers)
    make_place(out)
    passing = FolderPass(found, out / HIDDEN, tools, settings, kind, trigger, events, commands)
    tags = bool(settings.tag.taggers or settings.tag.captioner != "none")
    passing.fetch(["check", "crop", "matte", *(["tag"] if tags else [])])
    steps = Steps(settings, settings, settings)
    passing.look(steps, rendering=True)
    contents = passing.contents(steps)
    caption = passing.describe(contents) if tags or trigger or settings.tag.trigger else lambda content, own: None
    passing.check_stop()
    outputs = _outputs(contents, caption)
    prepared = Prepared(problems=passing.problems, looked_at=len(found.pictures))
    first = {output.picture.key: output.caption for output in reversed(outputs)}
    prepared.report = passing.report(steps, lambda picture: first.get(picture.key, ""))
    events(Stage("prepare.stage_writing"))
    prepared.files = OutputFolder(out, passing.bench, events).update(outputs)
    prepared.pictures = [out / output.key for output in outputs]
    prepared.masks = masks_folder(out) if settings.matte.background == "mask" else None
    return prepared


def _outputs(
    contents: Sequence[tuple[FolderPicture, Recipe]], caption: Callable[[str, str], str | None]
) -> list[Output]:
    names, outputs = Names(), []
    for picture, recipe in contents:
        own = own_caption(picture)
        text = caption(recipe.content, own)
        name = names.take(picture.folder, picture.stem, ".png" if recipe.key else picture.path.suffix)
        outputs.append(Output(picture, recipe, picture.folder, name, own if text is None else text))
    return outputs
