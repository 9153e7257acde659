"""A job's folder: what it is (job.json), what it said (events.jsonl), and whether it lives (job.lock).

Life is told by a lock that the operating system holds for the process and lets go of when it dies, however it
dies. That is safer than a process number, which another process may have by now.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.signals import Event

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

RECORD_VERSION = 1
RECORD, EVENTS, LOCK = "job.json", "events.jsonl", "job.lock"
PATIENCE = 5.0  # seconds
TRIES, PAUSE = 5, 0.01  # whoever only looks whether a lock is held, holds it for a moment
ENDED = ("done", "stopped", "failed")


@dataclass(frozen=True)
class JobRecord:
    """What job.json says. Times are in seconds since 1970; `place` is the place in line, 1 being the next.

    `state` is queued, running, done, stopped, failed or, for one whose process died, interrupted. `error` is what
    UserError.as_record gives.
    """

    id: str
    title: str
    state: str = "queued"
    place: int = 0
    owner: str = ""
    attempt: int = 1
    pid: int = field(default_factory=os.getpid)
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    error: dict[str, object] | None = None

    @property
    def can_resume(self) -> bool:
        """Whether starting again in the same folder goes on with something unfinished."""
        return self.state in ("stopped", "failed", "interrupted")


def write_record(folder: Path, record: JobRecord) -> None:
    """Raises UserError("file.write")."""
    write_json(folder / RECORD, {"version": RECORD_VERSION, **asdict(record)})


def read_job(folder: Path) -> JobRecord | None:
    """The job of a folder as it stands now, from any process; None where there is none.

    One that was waiting or running when its process died is "interrupted". Raises UserError("job.damaged").
    """
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError("job.damaged", folder.name) from error
    try:
        version = content.pop("version")
        record = JobRecord(**content)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError("job.damaged", folder.name) from error
    if version != RECORD_VERSION:
        raise UserError("job.damaged", folder.name)
    if record.state not in ENDED and not FolderLock.held(folder):
        # A job that ended between the two looks has let go of the lock and written its end before that.
        try:
            again = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:  # removed meanwhile
            return None
        if again["state"] in ENDED:
            return read_job(folder)
        return replace(record, state="interrupted", place=0)
    return record


def read_events(folder: Path, offset: int = 0) -> tuple[list[dict[str, object]], int]:
    """Events from byte `offset` on, and the offset to go on from. A line not yet written to its end is left."""
    try:
        with (folder / EVENTS).open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:  # torn by a power cut: the next process wrote on behind it
            continue
    return events, offset + len(whole)


class EventLog:
    """Appends events to events.jsonl. The one file that is not replaced whole: a torn last line costs one event."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._handle: BinaryIO | None = None
        self._lost = False
        self._guard = threading.Lock()

    def append(self, event: Event) -> str | None:
        """Writes one line. Returns the system's reason the first time that fails; from then on writes nothing."""
        with self._guard:
            if self._lost:
                return None
            try:
                if self._handle is None:
                    self._handle = self._open()
                line = {**event.as_dict(), "time": round(time.time(), 2)}
                self._handle.write(json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n")
            except OSError as error:
                self._lost = True
                return error.strerror or str(error)
        return None

    def close(self) -> None:
        with self._guard:
            if self._handle is not None:
                self._handle.close()
                self._handle = None
            self._lost = True

    def _open(self) -> BinaryIO:
        torn = self._path.exists() and self._path.stat().st_size and not self._path.read_bytes().endswith(b"\n")
        handle = self._path.open("ab", buffering=0)  # nothing is kept back that closing would have to write
        if torn:
            handle.write(b"\n")
        return handle


class FolderLock:
    """A job folder's lock, held from `take` to `release` or to the end of the process."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    @classmethod
    def take(cls, folder: Path) -> FolderLock | None:
        """The lock, or None when it is held, here or elsewhere. Makes the folder. Raises UserError("file.write")."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = (folder / LOCK).open("ab")
        except OSError as error:
            raise UserError("file.write", folder.name, reason=error.strerror or str(error)) from error
        # A job writes that it has ended, and lets go of the lock a moment later.
        until = time.monotonic() + (PATIENCE if _has_ended(folder) else TRIES * PAUSE)
        while not _lock(handle):
            if time.monotonic() > until:
                handle.close()
                return None
            time.sleep(PAUSE)
        return cls(handle)

    @classmethod
    def held(cls, folder: Path) -> bool:
        """Whether a living process holds it."""
        try:
            handle = (folder / LOCK).open("ab")
        except FileNotFoundError:
            return False
        except OSError:  # not ours to write: somebody's, and as far as can be told alive
            return True
        with handle:
            return not _lock(handle)

    def release(self) -> None:
        self._handle.close()


def _has_ended(folder: Path) -> bool:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))["state"] in ENDED
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _lock(handle: BinaryIO) -> bool:
    """Takes the lock without waiting; closing the file lets go of it."""
    try:
        if sys.platform == "win32":
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
