"""A training that runs when the WebUI ends is ended first, and saved.

The WebUI leaves at the first Ctrl+C without waiting for anything; a request to end (SIGTERM) kills it where it stands.
Both are answered here first, in the main thread, and handed on afterwards. The second one does not wait.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, "FrameType | None"], Any] | int | None


class Ending:
    """`running` tells whether something runs; `close` ends it and waits for so many seconds, True when it has ended."""

    def __init__(self, running: Callable[[], bool], close: Callable[[float], bool], say: Callable[[], None]) -> None:
        self._running = running
        self._close = close
        self._say = say
        self._begun = threading.Event()
        self._before: dict[int, Handler] = {}

    def install(self) -> None:
        """In the main thread, once: in front of the handlers there are."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._handle)
        atexit.register(self.end)

    def end(self) -> None:
        """Returns when nothing runs any more. Whoever comes second does not wait."""
        if self._begun.is_set() or not self._running():
            return
        self._begun.set()
        self._say()
        while not self._close(_POLL_SECONDS):
            continue

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.end()
        before = self._before[number]
        if callable(before):
            before(number, frame)
        elif before != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


_POLL_SECONDS = 0.2  # Windows hears Ctrl+C only between two looks
