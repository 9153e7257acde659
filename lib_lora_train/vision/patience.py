"""Waiting for a network without being held by it: in a thread of its own, so long and no longer, stopped at any time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lib_lora_train.signals import Commands, Stopped

ENOUGH = (
    1 << 16
)  # bytes that count as "it moves"; for less, a server could hold a job for ever with a byte now and then
_POLL = 0.1
_END = object()


class HubFault(Exception):  # noqa: N818 - told to a person as a UserError, by the one who knows the folder
    """What went wrong, as a message code and its values. `again` says whether another try may help."""

    def __init__(self, code: str, *, again: bool = False, **values: object) -> None:
        super().__init__(code)
        self.code, self.again, self.values = code, again, values


@dataclass
class Patience:
    """How long to wait for nothing: `seconds` in all, given back whenever enough has come."""

    commands: Commands
    seconds: float
    _left: float = field(init=False)
    _moved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._left = self.seconds

    def spend(self, seconds: float) -> None:
        """Raises Stopped; HubFault when nothing is left."""
        if self.commands.stopping:
            raise Stopped
        self._left -= seconds
        if self._left <= 0:
            raise HubFault("models.no_answer")

    def moved(self, count: int) -> None:
        """`count` bytes have come."""
        self._moved += count
        if self._moved >= ENOUGH:
            self._moved, self._left = 0, self.seconds

    def sleep(self, seconds: float) -> None:
        """Raises as `spend`."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            pause = min(rest, _POLL)
            time.sleep(pause)
            self.spend(pause)


def from_thread(
    work: Callable[[Callable[[object], None]], None], fault_of: Callable[[Exception], HubFault], patience: Patience
) -> Iterator:
    """What `work(give)` gives, as it comes; OSErrors and ValueErrors of `work` are raised here as `fault_of` them.

    Whoever stops listening is free at once. The thread notices when it next gives something, or at the time limit of
    the call that it is in.
    """
    items: queue.Queue[object] = queue.Queue(maxsize=8)
    left = threading.Event()

    def give(item: object) -> None:
        while not left.is_set():
            try:
                return items.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise Stopped

    def run() -> None:
        result: object = HubFault("models.no_answer")  # of a fault that nobody thought of
        try:
            work(give)
            result = _END
        except HubFault as fault:
            result = fault
        except (OSError, ValueError) as error:  # the errors of requests are OSErrors; ValueErrors are of addresses
            result = fault_of(error)
        except Stopped:
            pass
        finally:
            with suppress(Stopped):
                give(result)

    threading.Thread(target=run, name="model download", daemon=True).start()
    try:
        while True:
            began, item = time.monotonic(), None
            with suppress(queue.Empty):
                item = items.get(timeout=_POLL)
            patience.spend(time.monotonic() - began)
            if item is _END:
                return
            if isinstance(item, HubFault):
                raise item
            if item is not None:
                yield item
    finally:
        left.set()
