"""One pass from a folder of pictures to a folder that can be trained on, as the command line and the demo do it.

    OUT/<folder>/<name>.png .txt            what is trained on
    OUT_masks/<folder>/<name>.png           masks, where they were asked for
    OUT/.lora_train/prepared.json           which original, crop and model each came from

The originals are only read. Nothing is written to OUT before everything is ready, so a stop leaves it as it was; a
second run does only what has changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora_train.collection.caption_files import read_caption
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_json, write_text
from lib_lora_train.prepare.bench import Bench, Steps, Task
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.describing import Content, describe
from lib_lora_train.prepare.folders import HIDDEN, FolderPicture, Found, Names, check_apart, find_pictures
from lib_lora_train.prepare.health.findings import Report
from lib_lora_train.prepare.health.judge import HealthWishes, Item, judge
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.prepare.models import fetch_models
from lib_lora_train.prepare.rendering import Recipe
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.working import work
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

RECORD, RECORD_VERSION = "prepared.json", 1
MASKS_ENDING = "_masks"


@dataclass
class Prepared:
    """How it went. `written` are files of OUT that are new or changed, `unchanged` pictures that were right already."""

    report: Report | None = None
    pictures: list[Path] = field(default_factory=list)
    written: int = 0
    unchanged: int = 0
    problems: list[UserError] = field(default_factory=list)


@dataclass(frozen=True)
class _Output:
    """A file to be: where from, and what tells it from every other one."""

    picture: FolderPicture
    recipe: Recipe
    folder: str
    name: str
    caption: str

    @property
    def key(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name


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
                if picture.path.is_symlink() and not picture.path.resolve().is_relative_to(self.found.root):
                    raise UserError("dataset.link", picture.name)
                digest = self._digests.of(picture.path, picture.name)
                self.tasks[picture.key] = Task(picture.path, picture.name, digest)
            except UserError as error:
                self._say([error])
        self._digests.save()
        self._say(work(self.bench, list(self.tasks.values()), steps, self.events, self.commands, rendering))
        if not any(self._is_usable(task, steps) for task in self.tasks.values()):
            raise UserError("prepare.nothing_usable", self.found.root.name, count=len(self.found.pictures))

    def report(self, steps: Steps, captions: Callable[[FolderPicture], str] | None = None) -> Report:
        """The health report, its keys being paths below the root."""
        items = []
        for picture in self.found.pictures:
            task = self.tasks.get(picture.key)
            look = self.bench.look(task.digest, steps.medium) if task is not None else None
            caption = captions(picture) if captions is not None else own_caption(picture)
            size = (look.width, look.height) if look is not None else (0, 0)
            measures, error = (look.measures, look.error) if look is not None else (None, self._error_of(picture))
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
        self._say(describe(list(looked_at.values()), self.cache, self.tools, settings, self.events, self.commands))
        return captioning(self.tools.seen(self.cache), settings, self.trigger)

    def fetch(self, steps: Sequence[str]) -> None:
        self._say(fetch_models(self.tools, self.settings, steps, self.events, self.commands))

    def check_stop(self) -> None:
        if self.commands is not None and self.commands.stopping:
            raise Stopped

    def _is_usable(self, task: Task, steps: Steps) -> bool:
        look = self.bench.look(task.digest, steps.medium)
        return look is not None and look.error is None

    def _error_of(self, picture: FolderPicture) -> UserError | None:
        return next((problem for problem in self.problems if problem.where == picture.name), None)

    def _say(self, problems: Sequence[UserError]) -> None:
        for problem in problems:
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
    """From `folder` to `out`. Raises Stopped, and UserError: those of the folders, prepare.nothing_usable, file.write."""
    found = find_pictures(folder, "DIR")
    out = out.resolve()
    check_apart(found.root, out)
    passing = FolderPass(found, out / HIDDEN, tools, settings, kind, trigger, events, commands)
    tags = bool(settings.tag.taggers or settings.tag.captioner != "none")
    passing.fetch(["check", "crop", "matte", *(["tag"] if tags else [])])
    steps = Steps(settings, settings, settings)
    passing.look(steps, rendering=True)
    contents = passing.contents(steps)
    caption = passing.describe(contents) if tags or trigger or settings.tag.trigger else lambda content, own: None
    passing.check_stop()
    outputs = _outputs(contents, caption)
    prepared = Prepared(problems=passing.problems)
    first = {output.picture.key: output.caption for output in reversed(outputs)}
    prepared.report = passing.report(steps, lambda picture: first.get(picture.key, ""))
    events(Stage("prepare.stage_writing"))
    _write(out, passing, outputs, prepared)
    return prepared


def _outputs(
    contents: Sequence[tuple[FolderPicture, Recipe]], caption: Callable[[str, str], str | None]
) -> list[_Output]:
    names, outputs = Names(), []
    for picture, recipe in contents:
        own = own_caption(picture)
        text = caption(recipe.content, own)
        name = names.take(picture.folder, picture.stem, ".png" if recipe.key else picture.path.suffix)
        outputs.append(_Output(picture, recipe, picture.folder, name, own if text is None else text))
    return outputs


def _write(out: Path, passing: FolderPass, outputs: Sequence[_Output], prepared: Prepared) -> None:
    """Brings OUT up to date, file by file, each whole; what an earlier run made and nobody wants any more goes aside."""
    record = _read_record(out)
    bench, fresh = passing.bench, {}
    masks = out.with_name(out.name + MASKS_ENDING)
    for key, entry in record.items():
        if key not in {output.key for output in outputs} and _is_ours(out / key, entry):
            _set_aside(out, key)
    for output in outputs:
        target, before = out / output.key, record.get(output.key)
        prepared.pictures.append(target)
        made = output.recipe.content
        if before is not None and before["content"] == made and _is_ours(target, before):
            prepared.unchanged += 1
        else:
            _copy(bench.picture(output.recipe) if output.recipe.key else output.picture.path, target)
            prepared.written += 1
        if output.recipe.mask_key:
            _copy(bench.mask(output.recipe.mask_key), (masks / output.key).with_suffix(".png"))
        version = _write_caption(target, output.caption, before, passing)
        fresh[output.key] = _entry(output, target, version)
    write_json(out / HIDDEN / RECORD, {"version": RECORD_VERSION, "pictures": fresh})


def _write_caption(target: Path, caption: str, before: dict[str, Any] | None, passing: FolderPass) -> str:
    """The version of the caption that is there now; words that somebody wrote into OUT stay."""
    there = read_caption(target.parent, target.name)
    if there.version and (before is None or before["caption"] != there.version) and there.text != caption:
        passing.events(Log("prepare.caption_stays", {"where": target.name}, "warning"))
        return ""
    if caption.strip() and there.text != caption:
        write_text(target.with_suffix(".txt"), caption)
    if not caption.strip():
        target.with_suffix(".txt").unlink(missing_ok=True)
        return ""
    return hashlib.sha256(caption.encode("utf-8")).hexdigest()[:16]


def _entry(output: _Output, target: Path, version: str) -> dict[str, Any]:
    information, recipe = target.stat(), output.recipe
    behind = recipe.background
    return {
        "original": output.picture.key,
        "sha256": recipe.digest,
        "crop": recipe.crop.as_dict(),
        "background": None if behind is None else {**vars(behind.settings), "mask": behind.matte},
        "content": recipe.content,
        "caption": version,
        "size": information.st_size,
        "time": information.st_mtime_ns,
    }


def _is_ours(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file is as an earlier run has left it."""
    try:
        information = path.stat()
    except OSError:
        return False
    return (information.st_size, information.st_mtime_ns) == (entry["size"], entry["time"])


def _set_aside(out: Path, key: str) -> None:
    target = out / HIDDEN / "removed" / key
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in (out / key, (out / key).with_suffix(".txt")):
            if path.exists():
                path.replace(target.with_name(path.name))
    except OSError as error:
        raise UserError("file.write", key, reason=error.strerror or "?") from error


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _read_record(out: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads((out / HIDDEN / RECORD).read_text(encoding="utf-8"))
        if content["version"] != RECORD_VERSION:
            return {}
        return {
            str(key): entry
            for key, entry in content["pictures"].items()
            if {"content", "caption", "size", "time"} <= set(entry) and _is_below(key)
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _is_below(key: str) -> bool:
    """A record may come with somebody else's folder."""
    parts = key.split("/")
    return all(part not in ("", ".", "..") and part == Path(part).name for part in parts)
