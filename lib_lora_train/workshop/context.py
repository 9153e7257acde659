"""One project's preparation at one moment, read once for all that is asked about it until something changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lib_lora_train.collection.layout import HOLDERS, IMAGES, MASKS
from lib_lora_train.collection.made import MADE
from lib_lora_train.collection.names import identify
from lib_lora_train.prepare.bench import Bench
from lib_lora_train.prepare.captions import Seen, captioning
from lib_lora_train.prepare.health.findings import Report
from lib_lora_train.prepare.report import project_report
from lib_lora_train.prepare.sources import cache_folder
from lib_lora_train.prepare.state import STATE, State, read_state
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.wanted import Entry, Wanted, find_wanted
from lib_lora_train.project import Project
from lib_lora_train.workshop.steps import step_states

_KEPT = 8  # projects
_FOUND = ("looks.json", "crops.json", "mattes.json", "sentences", "guesses", "pictures", "masks", "mattes")
BEHIND = 30.0  # seconds: how old what is shown of a pass may be while it runs


@dataclass
class Knowledge:
    """What was found out about the pictures of a project."""

    project: Project
    tools: Tools

    @cached_property
    def bench(self) -> Bench:
        return self.tools.bench(cache_folder(self.project))

    @cached_property
    def seen(self) -> Seen:
        return self.tools.seen(cache_folder(self.project))


@dataclass
class Context:
    """What is known of a project; each part is read when it is first asked for."""

    project: Project
    knowledge: Knowledge

    @property
    def bench(self) -> Bench:
        return self.knowledge.bench

    @property
    def seen(self) -> Seen:
        return self.knowledge.seen

    @cached_property
    def state(self) -> State:
        return read_state(self.project)

    @cached_property
    def wanted(self) -> Wanted:
        tag = self.state.ran.get("tag")
        caption = captioning(self.seen, tag.tag if tag else None, self.project.trigger_word)
        return find_wanted(self.project, self.state, self.bench, caption)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """By the sources' ids."""
        return {entry.source.id: entry for entry in self.wanted.entries}

    @cached_property
    def ids(self) -> dict[str, str]:
        """Ids of sources by their originals' names."""
        return {entry.source.original: entry.source.id for entry in self.wanted.entries}

    @cached_property
    def counts(self) -> dict[str, int]:
        """What would change, as the overview shows it."""
        return self.wanted.counts()

    @cached_property
    def steps(self) -> dict[str, dict[str, Any]]:
        """How far each step is, as the overview shows it."""
        return step_states(self)

    @cached_property
    def report(self) -> Report:
        return project_report(self.project, self.state, self.bench, self.wanted)


@dataclass(frozen=True)
class _Known:
    """A context with what it was read from, and when. `project` and `found` are stamps."""

    context: Context
    project: str
    found: str
    time: float


class Contexts:
    """The contexts of the projects that were asked for lately. Thread-safe."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._guard = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of(self, project: Project, busy: bool = False) -> Context:
        """Read anew when anything in the project's folders, or among the models, has changed. What was found out about
        pictures is taken over while it is the same; `busy`: a pass finds out more all the time, and what is shown may be
        `BEHIND` it, so that looking at it does not slow it down."""
        own, found = self._project_stamp(project), self._found_stamp(project)
        now = time.monotonic()
        with self._guard:
            known = self._known.get(project.id)
            same = known is not None and known.found == found
            held = known is not None and busy and now - known.time < BEHIND
            if known is None or known.project != own or not (same or held):
                knowledge = known.context.knowledge if known is not None and same else Knowledge(project, self.tools)
                known = _Known(Context(project, knowledge), own, found, now)
                self._known[project.id] = known
            self._known.move_to_end(project.id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known.context

    def _project_stamp(self, project: Project) -> str:
        """Every write here is a rename, and so changes the time of its folder."""
        places = [project.folder / name for name in (STATE, MADE, "project.json", IMAGES)]
        for holder in (*HOLDERS.values(), MASKS):
            root = project.folder / holder
            places += [root, *(sorted(root.iterdir()) if root.is_dir() else [])]
        return _stamp(places, project.trigger_word, project.kind)

    def _found_stamp(self, project: Project) -> str:
        cache = cache_folder(project)
        return _stamp([*(cache / name for name in _FOUND), self.tools.store.folder])


def _stamp(places: Iterable[Path], *more: str) -> str:
    return identify(*more, *(f"{path}:{_time(path)}" for path in places))


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
