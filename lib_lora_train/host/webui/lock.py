"""Waiting for a lock that others take too, so that a stop command ends the wait at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from lib_lora_train.signals import Commands, Stopped

_POLL_SECONDS = 0.05


class PlainLock(Protocol):
    """What the WebUI's lock can do: it knows no timeout, and does not care which thread gives it back."""

    def acquire(self, blocking: bool = True) -> object: ...

    def release(self) -> None: ...


class HostLock:
    """The WebUI's queue lock as this extension takes it: in turn with everybody else, and never twice."""

    def __init__(self, lock: PlainLock) -> None:
        self._lock = lock
        self._holder: int | None = None

    @contextmanager
    def held(self, commands: Commands, waiting: Callable[[], None]) -> Iterator[None]:
        """Inside the block nobody else has the lock. `waiting` is called once if it is not free.

        Raises Stopped when a stop command comes during the wait, RuntimeError when this thread has the lock already.
        """
        if self._holder == threading.get_ident():
            raise RuntimeError("the host's lock is held by this thread already")
        if not self._lock.acquire(blocking=False):
            waiting()
            self._wait(commands)
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()

    def wanted(self) -> bool:
        """Whether somebody stands in the line of a lock that has one; of another lock nobody can tell."""
        return bool(getattr(self._lock, "_pending_threads", ()))

    def _wait(self, commands: Commands) -> None:
        turn = _Turn(self._lock)
        threading.Thread(target=turn.take, name="lora-train-lock", daemon=True).start()
        try:
            while not turn.taken.wait(_POLL_SECONDS):
                if commands.stopping:
                    raise Stopped
        except BaseException:
            turn.give_up()
            raise


class _Turn:
    """A place in line that can be given up; the thread that stands in it then passes the lock on."""

    def __init__(self, lock: PlainLock) -> None:
        self.taken = threading.Event()
        self._lock = lock
        self._given_up = False
        self._deciding = threading.Lock()

    def take(self) -> None:
        self._lock.acquire()
        with self._deciding:
            if self._given_up:
                self._lock.release()
            else:
                self.taken.set()

    def give_up(self) -> None:
        with self._deciding:
            self._given_up = True
            if self.taken.is_set():
                self._lock.release()
