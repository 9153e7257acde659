"""What counts tokens: asked of the host once per checkpoint, beside what goes on, since it may take seconds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host, TokenCounter

_PATIENCE = 0.3  # seconds that somebody waits for it; then they go on without


class Tokens:
    """The counter of the model that is loaded, or would be. Thread-safe."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._guard = threading.Lock()
        self._of: str | None = None  # the checkpoint that `_counter` belongs to
        self._counter: TokenCounter | None = None
        self._thread: threading.Thread | None = None

    def counter(self, patience: float = _PATIENCE) -> TokenCounter | None:
        """None where there is none, and while it is being made; then that of another checkpoint is none either."""
        name = self._checkpoint()
        with self._guard:
            if self._of == name and self._thread is None:
                return self._counter
            if self._thread is None:
                self._of, self._counter = name, None
                self._thread = threading.Thread(target=self._make, args=(name,), name="tokens", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(patience)
        with self._guard:
            return self._counter if self._of == name and self._thread is None else None

    def _checkpoint(self) -> str:
        current = self._host.current() or next(iter(self._host.checkpoints()), None)
        return current.name if current is not None else ""

    def _make(self, name: str) -> None:
        counter = None
        try:
            counter = self._host.token_counter()
        finally:
            with self._guard:
                self._counter, self._thread = counter, None


def trouble_of(counter: TokenCounter | None) -> UserError | None:
    return counter.trouble if counter is not None else None
