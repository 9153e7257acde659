"""What counts tokens: asked of the host beside what goes on, since it may have to look for checkpoints and read files."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host, TokenCounter

_LOOKED = 3.0  # seconds between two looks at which checkpoint it is
_PATIENCE = 0.3  # seconds that somebody waits for the first answer; then they go on without


class Tokens:
    """The counter of the model that is loaded, or would be. Thread-safe."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._guard = threading.Lock()
        self._counter: TokenCounter | None = None
        self._thread: threading.Thread | None = None
        self._looked: float | None = None

    def counter(self, patience: float = _PATIENCE) -> TokenCounter | None:
        """None where there is none, and while the first one is being made."""
        with self._guard:
            first = self._looked is None
            if self._thread is None and (first or time.monotonic() - (self._looked or 0.0) > _LOOKED):
                self._thread = threading.Thread(target=self._ask, name="tokens", daemon=True)
                self._thread.start()
            thread = self._thread
        if first and thread is not None:
            thread.join(patience)
        with self._guard:
            return self._counter

    def _ask(self) -> None:
        found = self._counter
        try:
            found = self._host.token_counter()
        finally:
            with self._guard:
                self._counter, self._thread, self._looked = found, None, time.monotonic()
