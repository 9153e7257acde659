"""A line of long work beside the training, one piece at a time, and how far each piece is."""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from lib_lora_train.access import Exposure, Visitor, check_owner, is_mine
from lib_lora_train.errors import UserError, in_language
from lib_lora_train.job_files import FolderLock, read_events, read_job
from lib_lora_train.jobs import MAX_WAITING, Job, Registry
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.signals import Commands, Event, EventSink, Log, Stage

_KNOWN, _NOTES = 64, 20

Work = Callable[[EventSink, Commands], None]


class Pace:
    """How long what is under way will take, from how it went so far. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._stage: Stage | None = None
        self._since = time.monotonic()
        self._first = 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Stage):
            return
        with self._guard:
            if self._stage is None or self._stage.code != event.code or event.done < self._stage.done:
                self._since, self._first = time.monotonic(), event.done
            self._stage = event

    def shown(self, language: str) -> dict[str, object]:
        """Stage in words, done and total, and the seconds that are left; None while nobody can tell."""
        with self._guard:
            stage, since, first = self._stage, self._since, self._first
        if stage is None:
            return {"stage": "", "done": 0, "total": 0, "remaining": None}
        done = stage.done - first
        left = (time.monotonic() - since) / done * (stage.total - stage.done) if done > 0 and stage.total else None
        return {"stage": message(stage.code, language), "done": stage.done, "total": stage.total, "remaining": left}


class Line:
    """All methods may be called from any thread. A piece of work is known by its folder."""

    def __init__(self, exposure: Exposure) -> None:
        self.registry = Registry()
        self._exposure = exposure
        self._guard = threading.Lock()
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def put(
        self,
        title: str,
        folder: Path,
        visitor: Visitor,
        work: Work,
        then: Callable[[], None] | None = None,
        room: int = MAX_WAITING,
    ) -> Job:
        """Puts `work` in line; `then` is called when it is done, and its UserError becomes the job's. `room` is how many
        may wait for it to be put in line.

        Raises UserError: job.busy while one of the folder is waiting or running, job.queue_full, file.write.
        """
        pace = Pace()

        def do(events: EventSink, commands: Commands) -> str:
            def tell(event: Event) -> None:
                pace(event)
                events(event)

            work(tell, commands)
            if then is not None:
                then()
            return "done"

        with self._guard:
            if folder.is_dir() and not FolderLock.held(folder):  # what the one before said is over
                shutil.rmtree(folder, ignore_errors=True)
            job = self.registry.start(title, folder, do, visitor.name, room)
            self._paces[job.id] = pace
            while len(self._paces) > _KNOWN:
                self._paces.popitem(last=False)
        return job

    def in_folder(self, folder: Path) -> Job | None:
        """The one that runs or waits there."""
        running = self.registry.running()
        living = [*([running] if running else []), *self.registry.waiting()]
        return next((job for job in living if job.folder == folder), None)

    def end(self, job: Job | None, visitor: Visitor) -> None:
        """Raises UserError: access.not_owner."""
        if job is not None:
            check_owner(self._exposure, visitor, job.owner, job.title)
            self.registry.stop(job)

    def living(self, job: Job | None, visitor: Visitor) -> dict[str, object] | None:
        """As the overview shows it."""
        if job is None:
            return None
        with self._guard:
            pace = self._paces.get(job.id) or Pace()
        return {
            "id": job.id,
            "state": job.state,
            **pace.shown(visitor.language),
            "stopping": job.commands.stopping,
            "mine": is_mine(self._exposure, visitor, job.owner),
        }

    def ended(self, folder: Path, language: str = DEFAULT_LANGUAGE) -> dict[str, object] | None:
        """How the one before in a folder ended; None when there was none, or it is not over."""
        try:
            record = read_job(folder) if folder.is_dir() else None
        except UserError:
            return None
        if record is None or record.state in ("queued", "running"):
            return None
        error = in_language(record.error, language) if record.error else None
        notes = _notes(folder, language)
        return {"state": record.state, "error": error, "notes": notes, "ended": record.ended or record.created}


def _notes(folder: Path, language: str) -> list[str]:
    """What was said as a warning, each once."""
    said = []
    for event in read_events(folder)[0]:
        if event.get("event") == Log.__name__ and event.get("level") == "warning":
            try:
                said.append(message(str(event["code"]), language, **dict(event["values"])))
            except (KeyError, TypeError, ValueError, IndexError):  # written by another version
                continue
    return list(dict.fromkeys(said))[:_NOTES]
