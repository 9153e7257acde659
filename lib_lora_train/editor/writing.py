"""Files brought to what the journal says: a few at once, many by a thread while the page goes on."""

from __future__ import annotations

import logging
import threading
import time

from lib_lora_train.collection.history import History
from lib_lora_train.errors import UserError

LOGGER = logging.getLogger("lib_lora_train.editor")
AT_ONCE = 200  # files: a larger change answers before they are written
_HEAD_START = 0.4  # seconds that the answer has for itself: side by side, both would take longer


class Writer:
    """Of one project. Thread-safe."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        self._done = self._total = 0
        self.left: tuple[str, ...] = ()  # keys of files that another program had changed
        self.trouble: UserError | None = None  # why the files do not follow

    def write(self, count: int, held: bool) -> None:
        """After a change of `count` files. They are written before this returns where they are few and the caller
        holds the project's pictures (`held`); nobody else is waited for here.

        Raises UserError("file.write") for few files; what is not written is tried again when the project is read or
        changed the next time.
        """
        with self._guard:
            if self._thread is not None or count > AT_ONCE or not held:
                self._begin(count)
                return
        self.left, self.trouble = self._history.follow().left, None

    def catch_up(self) -> None:
        """What a process that died left to be written."""
        with self._guard:
            self._begin(0)

    def _begin(self, count: int) -> None:
        self._again = True
        if self._thread is None:
            self._done = self._total = 0
            self._thread = threading.Thread(target=self._run, name="captions", daemon=True)
            self._thread.start()
        self._total = max(self._total, count)

    @property
    def progress(self) -> dict[str, int] | None:
        """How many files of how many are written; None when nothing is under way."""
        with self._guard:
            return None if self._thread is None else {"done": self._done, "total": self._total}

    def close(self, timeout: float | None = None) -> bool:
        """Waits until everything is written."""
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        time.sleep(_HEAD_START)
        while self._goes_on():
            try:
                self.left, self.trouble = self._history.finish(self._tell).left, None
            except UserError as error:  # a full disk, say: the journal holds it, and it is tried again
                self.trouble = error
                LOGGER.warning("captions are not written yet: %s", error)

    def _goes_on(self) -> bool:
        with self._guard:
            goes_on, self._again = self._again, False
            if not goes_on:
                self._thread = None
            return goes_on

    def _tell(self, done: int, total: int) -> None:
        with self._guard:
            self._done, self._total = done, total
