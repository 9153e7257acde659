"""Long work: one job runs, the others wait in line; all of it can be watched, told things, and read from disk.

Faces hold a `Registry`. A job's work runs in a thread of its own, so that closing a page, reloading it or losing
the connection changes nothing. What a job is and what it said also stands in its folder (`job_files.py`), where
another process can read it, and where a job that died is recognised.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lib_lora_train.errors import UserError
from lib_lora_train.job_files import ENDED, EventLog, FolderLock, JobRecord, read_job, write_record
from lib_lora_train.signals import Commands, Event, EventSink, Log, Stopped

LOGGER = logging.getLogger("lib_lora_train.jobs")
MAX_WAITING = 8
OUTCOMES = ("done", "stopped")  # what work may return; raising Stopped says the latter too

Work = Callable[[EventSink, Commands], str]


def _nothing_before(job: Job) -> None:
    """A job begins as soon as its turn comes."""


def _nothing_after(job: Job, outcome: str) -> None:
    """Nothing follows a job."""


class Subscription:
    """Events of one job from now on, for one reader. A reader that falls far behind loses the oldest."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._changed = threading.Condition()
        self._closed = False

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None when the job has ended and all was read, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._closed, timeout)
            return self._events.popleft() if self._events else None

    @property
    def ended(self) -> bool:
        """Nothing is left to read and nothing more will come."""
        with self._changed:
            return self._closed and not self._events

    def put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Job:
    """One piece of work and its folder. `commands` is how it is told to stop, save, sample, pause and go on."""

    def __init__(self, title: str, folder: Path, work: Work, owner: str, lock: FolderLock, attempt: int) -> None:
        self.id = secrets.token_hex(8)
        self.title = title
        self.folder = folder
        self.work = work
        self.owner = owner
        self.commands = Commands()
        self.finished = threading.Event()
        self.lock = lock
        self.record = JobRecord(id=self.id, title=title, owner=owner, attempt=attempt, created=time.time())
        self._guard = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._latest: dict[str, Event] = {}
        self._log = EventLog(folder)

    @property
    def state(self) -> str:
        """queued, running, done, stopped or failed."""
        return self.record.state

    @property
    def latest(self) -> dict[str, Event]:
        """The newest event of each kind by its name ("Step", "Stage", ...), the newest of all last."""
        with self._guard:
            return dict(self._latest)

    def subscribe(self) -> Subscription:
        subscription = Subscription()
        with self._guard:
            self._subscriptions.append(subscription)
            if self.finished.is_set():
                subscription.close()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        with self._guard:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        subscription.close()

    def send(self, event: Event) -> None:
        """To every subscriber and to the disk; a full disk ends the recording, not the work."""
        with self._guard:
            readers = list(self._subscriptions)
            self._latest.pop(type(event).__name__, None)  # put in again, so that their order is that of the events
            self._latest[type(event).__name__] = event
        problem = self._log.append(event)
        for subscription in readers:
            subscription.put(event)
            if problem is not None:
                subscription.put(Log("job.log_lost", {"reason": problem}, "warning"))

    def enter(self, state: str, place: int = 0, error: dict[str, object] | None = None) -> None:
        """Notes a new state in memory, then on disk. Raises UserError("file.write")."""
        now = time.time()
        started = now if state == "running" else self.record.started
        ended = now if state in ENDED else None
        self.record = replace(self.record, state=state, place=place, error=error, started=started, ended=ended)
        write_record(self.folder, self.record)

    def move(self, state: str, place: int = 0, error: dict[str, object] | None = None) -> None:
        """As `enter`, but the state counts even when the disk is full."""
        try:
            self.enter(state, place, error)
        except UserError as problem:
            LOGGER.warning("job %s: %s", self.id, problem)

    def close(self) -> None:
        """After the last event: lets go of the folder and wakes everyone who waits."""
        self._log.close()
        self.lock.release()
        with self._guard:
            self.finished.set()
            for subscription in self._subscriptions:
                subscription.close()

    def wait(self, timeout: float | None = None) -> bool:
        """True once the job has ended."""
        return self.finished.wait(timeout)


class Registry:
    """The jobs of one process. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._running: Job | None = None
        self._waiting: list[Job] = []
        self._ended: deque[Job] = deque(maxlen=100)
        self._closing = False
        self._before: Callable[[Job], None] = _nothing_before
        self._after: Callable[[Job, str], None] = _nothing_after

    def around(self, before: Callable[[Job], None], after: Callable[[Job, str], None]) -> None:
        """Calls `before` in each job's thread before its work: it may wait, and raise Stopped. `after` is told how a job
        has ended, "done", "stopped" or "failed", before that is recorded, and of one that is taken out of the line; not
        of those that never ran when the registry is closed. What goes wrong in it changes nothing about the job."""
        with self._guard:
            self._before, self._after = before, after

    def start(self, title: str, folder: Path, work: Work, owner: str = "", room: int = MAX_WAITING) -> Job:
        """Runs `work(events, commands)` now, or when those before it have ended.

        `folder` is the job's own, and is made when missing; one whose job has ended or died may be used again, to
        resume. `room` is how many may wait for it to be put in line. Raises UserError: job.queue_full, job.busy when the folder's job is waiting or running, here or in
        another process, job.damaged, file.write.
        """
        with self._guard:
            if self._closing or len(self._waiting) >= room:
                raise UserError("job.queue_full", title, waiting=len(self._waiting))
            before = read_job(folder)
            lock = FolderLock.take(folder)
            if lock is None:
                raise UserError("job.busy", folder.name)
            job = Job(title, folder, work, owner, lock, attempt=before.attempt + 1 if before else 1)
            try:
                if self._running is None:
                    job.enter("running")
                else:
                    job.enter("queued", place=len(self._waiting) + 1)
            except UserError:
                job.close()
                raise
            if self._running is None:
                self._launch(job)
            else:
                self._waiting.append(job)
            return job

    def running(self) -> Job | None:
        with self._guard:
            return self._running

    def waiting(self) -> list[Job]:
        """In the order in which they will run."""
        with self._guard:
            return list(self._waiting)

    def ended(self) -> list[Job]:
        """Those that ended lately in this process, the last one last."""
        with self._guard:
            return list(self._ended)

    def find(self, job_id: str) -> Job:
        """Raises UserError("job.unknown")."""
        with self._guard:
            for job in (self._running, *self._waiting, *self._ended):
                if job is not None and job.id == job_id:
                    return job
        raise UserError("job.unknown", job_id)

    def stop(self, job: Job, save: bool = False) -> None:
        """Ends a running job, or takes a waiting one out of the line."""
        with self._guard:
            waited = job in self._waiting
            if waited:
                self._waiting.remove(job)
                job.move("stopped")
                self._ended.append(job)
                job.close()
                self._renumber()
        if waited:
            if not self._closing:
                self._follow(job, "stopped")
        elif save:
            job.commands.stop_and_save()
        else:
            job.commands.stop()

    def move(self, job: Job, place: int) -> None:
        """Gives a waiting job another place in line, 1 being the next. Raises UserError("job.not_waiting")."""
        with self._guard:
            if job not in self._waiting:
                raise UserError("job.not_waiting", job.title)
            self._waiting.remove(job)
            self._waiting.insert(max(place, 1) - 1, job)
            self._renumber()

    def close(self, timeout: float | None = None, save: bool = False) -> bool:
        """Takes no more jobs, stops all, and waits for the running one; True when it has ended.

        With `save` the running one saves first.
        """
        with self._guard:
            self._closing = True
            running = self._running
            for job in list(self._waiting):
                self.stop(job)
        if running is None:
            return True
        self.stop(running, save)
        return running.wait(timeout)

    def _launch(self, job: Job) -> None:
        self._running = job
        threading.Thread(target=self._work, args=(job,), name=f"job-{job.id}", daemon=True).start()

    def _work(self, job: Job) -> None:
        with _Boundary(job, self._follow):
            self._before(job)
            outcome = job.work(job.send, job.commands)
            if outcome not in OUTCOMES:
                raise ValueError(f"a job's work returns one of {OUTCOMES}, not {outcome!r}")
            self._follow(job, outcome)
            job.move(outcome)
        with self._guard:
            self._ended.append(job)
            self._running = None
            job.close()
            if self._waiting:
                following = self._waiting.pop(0)
                following.move("running")
                self._launch(following)
                self._renumber()

    def _follow(self, job: Job, outcome: str) -> None:
        with _Aside(job):
            self._after(job, outcome)

    def _renumber(self) -> None:
        for place, job in enumerate(self._waiting, start=1):
            if job.record.place != place:
                job.move("queued", place=place)


class _Boundary:
    """Where work ends, however it ends: an error becomes the job's state and goes no further.

    The user reads a UserError's words; of anything else they read that it happened, and the log has the trace.
    """

    def __init__(self, job: Job, after: Callable[[Job, str], None]) -> None:
        self._job = job
        self._after = after

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return True
        if isinstance(error, Stopped):
            self._after(self._job, "stopped")
            self._job.move("stopped")
            return True
        if isinstance(error, UserError):
            shown = error
        else:
            LOGGER.error("job %s (%s) failed", self._job.id, self._job.title, exc_info=(kind, error, trace))
            shown = UserError("job.failed", self._job.title, kind=type(error).__name__)
        details = shown.as_record()
        self._job.send(Log("job.ended_by_error", {"error": shown.text(), "details": details}, "error"))
        self._after(self._job, "failed")
        self._job.move("failed", error=details)
        return True


class _Aside:
    """What is done beside a job's work, and has no say in how the job ended: what goes wrong is in the log."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            LOGGER.error("after job %s (%s)", self._job.id, self._job.title, exc_info=(kind, error, trace))
        return True
