"""The runs that faces show, by their jobs: what is known of each without reading its files again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.jobs import Job
from lib_lora_train.project import open_project
from lib_lora_train.runs.history import run_info
from lib_lora_train.runs.infos import RunInfo
from lib_lora_train.runs.launch import Started
from lib_lora_train.runs.records import read_record
from lib_lora_train.runs.watch import Watch

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_KNOWN_JOBS = 128


class Watches:
    """All methods may be called from any thread. `root` is the projects' folder."""

    def __init__(self, host: Host, root: Path) -> None:
        self._host = host
        self._root = root
        self._guard = threading.Lock()
        self._watches: OrderedDict[str, Watch] = OrderedDict()
        self._ended: OrderedDict[str, RunInfo] = OrderedDict()

    def remember(self, started: Started) -> Started:
        """From now on its events are heard."""
        with self._guard:
            self._watches[started.job.id] = started.watch
            while len(self._watches) > _KNOWN_JOBS:
                self._watches.popitem(last=False)
        return started

    def of(self, job: Job) -> Watch | None:
        """What a job trains; None for one that is no run, or whose project has gone."""
        with self._guard:
            known = self._watches.get(job.id)
        if known is None:  # started a moment ago, or by somebody without a studio
            try:
                project = open_project(self._root, job.folder.parent.parent.name)
                known = Watch(project, job.folder, read_record(job.folder))
            except UserError:
                return None
            with self._guard:
                known = self._watches.setdefault(job.id, known)
        return known

    def ended(self, job: Job, watch: Watch) -> RunInfo:
        """A run whose job has ended; read once. Raises UserError("project.no_run")."""
        with self._guard:
            info = self._ended.get(job.id)
        if info is None:
            info = run_info(self._host, watch.project, watch.run_id)
            with self._guard:
                self._ended[job.id] = info
                while len(self._ended) > _KNOWN_JOBS:
                    self._ended.popitem(last=False)
        return info
