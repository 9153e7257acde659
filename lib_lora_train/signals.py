"""What a running job says and what it can be told: the only two ways between the work and the faces.

The work sends events and polls commands; the page, the REST routes, the command line and the tests all use these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """Base of all events. `as_dict` is what goes into files and over the wire."""

    def as_dict(self) -> dict[str, object]:
        values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True)
class Log(Event):
    """A line in words: a message code and its values, so that each reader sees it in their own language."""

    code: str
    values: dict[str, object] = field(default_factory=dict)
    level: str = "info"  # info, warning or error


@dataclass(frozen=True)
class Stage(Event):
    """What the job is doing now ("caching latents", "training", ...), by message code, with done of total."""

    code: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Step(Event):
    """One optimizer step. Rates are per second; memory in bytes; times in seconds."""

    step: int
    total_steps: int
    epoch: int
    total_epochs: int
    loss: float
    loss_smoothed: float
    learning_rates: dict[str, float]
    gradient_norm: float
    steps_per_second: float
    memory: int
    elapsed: float
    remaining: float


@dataclass(frozen=True)
class Saved(Event):
    """A LoRA file was written."""

    path: Path
    step: int
    epoch: int
    final: bool = False


@dataclass(frozen=True)
class Validated(Event):
    """The loss on the pictures that are held back was computed, with the weights of `file`; "" before the first step."""

    step: int
    epoch: int
    loss: float
    pictures: int
    file: str


@dataclass(frozen=True)
class Sampled(Event):
    """A sample picture was written."""

    path: Path
    step: int
    prompt: str
    seed: int


EventSink = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """For callers who do not listen."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Work was cut short because `Commands.stopping` was set; the job ends as stopped, not as failed."""


class Commands:
    """What a job is told while it runs; thread-safe. The work polls between steps and clears what it has done."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._save_on_stop = threading.Event()
        self._save = threading.Event()
        self._sample = threading.Event()
        self._running = threading.Event()
        self._running.set()

    def stop(self) -> None:
        """Ends the job after the step in progress without saving."""
        self._stop.set()
        self._running.set()

    def stop_and_save(self) -> None:
        """Ends the job after the step in progress; the LoRA and the state are saved first."""
        self._save_on_stop.set()
        self.stop()

    def save_now(self) -> None:
        self._save.set()

    def sample_now(self) -> None:
        self._sample.set()

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def saves_on_stop(self) -> bool:
        return self._save_on_stop.is_set()

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    def wait_while_paused(self, timeout: float | None = None) -> bool:
        """Returns True as soon as the job may go on (or must stop)."""
        return self._running.wait(timeout)

    def wait_for_stop(self, timeout: float) -> bool:
        """Returns True as soon as the job must stop, False after `timeout` seconds."""
        return self._stop.wait(timeout)

    def take_save(self) -> bool:
        """True once for each `save_now`."""
        return _take(self._save)

    def take_sample(self) -> bool:
        """True once for each `sample_now`."""
        return _take(self._sample)


def _take(flag: threading.Event) -> bool:
    was_set = flag.is_set()
    flag.clear()
    return was_set
