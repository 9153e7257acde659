"""Files brought to what the journal says: a few at once, many by a thread while the page goes on."""

from __future__ import annotations

import logging
import threading

from lib_lora_train.collection.history import History
from lib_lora_train.errors import UserError

LOGGER = logging.getLogger("lib_lora_train.editor")
AT_ONCE = 200  # files: a larger change answers before they are written


class Writer:
    """Of one project. Thread-safe."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        self._done = self._total = 0
        self._trouble: UserError | None = None
        self.left: tuple[str, ...] = ()

    def write(self, count: int) -> None:
        """After a change of `count` files. Raises UserError("file.write") for few of them; many are tried again when
        the project is opened or changed the next time."""
        with self._guard:
            busy = self._thread is not None
            if busy or count > AT_ONCE:
                self._again, self._total = True, max(self._total, count)
                if not busy:
                    self._done, self._total = 0, count
                    self._thread = threading.Thread(target=self._run, name="captions", daemon=True)
                    self._thread.start()
                return
        self.left = self._history.finish().left

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
        while self._goes_on():
            try:
                self.left = self._history.finish(self._tell).left
            except UserError as error:  # a full disk: the journal holds it, and what reads the project next tries again
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
