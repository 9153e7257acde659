"""One project's preparation at one moment, read once for all that is asked about it until something changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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

_KEPT = 8  # projects


@dataclass
class Context:
    """What is known of a project; each part is read when it is first asked for."""

    project: Project
    tools: Tools

    @cached_property
    def state(self) -> State:
        return read_state(self.project)

    @cached_property
    def bench(self) -> Bench:
        return self.tools.bench(cache_folder(self.project))

    @cached_property
    def seen(self) -> Seen:
        return self.tools.seen(cache_folder(self.project))

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
    def report(self) -> Report:
        return project_report(self.project, self.state, self.bench, self.wanted)


class Contexts:
    """The contexts of the projects that were asked for lately. Thread-safe."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._guard = threading.Lock()
        self._known: OrderedDict[str, tuple[str, Context]] = OrderedDict()

    def of(self, project: Project) -> Context:
        """Read anew when anything in the project's folders, or among the models, has changed."""
        stamp = self._stamp(project)
        with self._guard:
            known = self._known.get(project.id)
            if known is None or known[0] != stamp:
                known = self._known[project.id] = (stamp, Context(project, self.tools))
            self._known.move_to_end(project.id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known[1]

    def _stamp(self, project: Project) -> str:
        """Every write here is a rename, and so changes the time of its folder."""
        cache = cache_folder(project)
        places = [project.folder / name for name in (STATE, MADE, "project.json", IMAGES)]
        places += [cache / name for name in ("looks.json", "crops.json", "mattes.json", "sentences", "guesses")]
        for holder in (*HOLDERS.values(), MASKS):
            root = project.folder / holder
            places += [root, *(sorted(root.iterdir()) if root.is_dir() else [])]
        places.append(self.tools.store.folder)
        return identify(project.trigger_word, project.kind, *(f"{path}:{_time(path)}" for path in places))


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
