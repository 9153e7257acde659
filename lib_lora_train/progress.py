"""Events as lines on a terminal: a bar while training, one line for everything else."""

from __future__ import annotations

import shutil
import time
import unicodedata
from typing import TextIO

from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.signals import Event, Log, Sampled, Saved, Stage, Step, Validated

BAR_WIDTH = 12  # a whole line then fits into 80 columns
REDRAW_SECONDS = 0.1  # on a terminal
LINE_SECONDS = 10.0  # into a file or a pipe, where every redraw would be a line


class Progress:
    """An event sink that writes to a stream, usually standard error."""

    def __init__(self, stream: TextIO, language: str = DEFAULT_LANGUAGE) -> None:
        self._stream = stream
        self._language = language
        self._terminal = stream.isatty()
        self._pause = REDRAW_SECONDS if self._terminal else LINE_SECONDS
        self._last_drawn = float("-inf")
        self._last_stage = ""
        self._bar_length = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Step):
            self._draw(step_line(event, self._language), last=event.step >= event.total_steps)
        elif isinstance(event, Stage):
            self._stage(event)
        elif isinstance(event, Log):
            self.line(message(event.code, self._language, **event.values))
        elif isinstance(event, Saved):
            self.line(message("cli.saved", self._language, name=event.path.name, step=event.step))
        elif isinstance(event, Validated):
            self.line(message("cli.validated", self._language, step=event.step, loss=f"{event.loss:.4f}"))
        elif isinstance(event, Sampled):
            self.line(message("cli.sampled", self._language, name=event.path.name, step=event.step))

    def line(self, text: str) -> None:
        """One whole line; the bar gives way to it."""
        self._clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leaves the bar standing and the cursor below it."""
        if self._bar_length:
            self._stream.write("\n")
            self._stream.flush()
            self._bar_length = 0

    def _stage(self, event: Stage) -> None:
        name = message(event.code, self._language)
        if event.code != self._last_stage:
            self._last_stage, self._last_drawn = event.code, float("-inf")
            if not event.total:
                self.line(name)
        if event.total:
            self._draw(f"{name} {bar(event.done, event.total)} {event.done}/{event.total}", event.done >= event.total)

    def _draw(self, text: str, last: bool) -> None:
        now = time.monotonic()
        if not last and now - self._last_drawn < self._pause:
            return
        self._last_drawn = now
        if not self._terminal:
            self.line(text)
            return
        self._clear()
        text = text[: shutil.get_terminal_size().columns - 1]  # one that wraps could not be taken back
        self._stream.write(text)
        self._bar_length = columns(text)
        if last:
            self.close()
        self._stream.flush()

    def _clear(self) -> None:
        if self._bar_length:
            self._stream.write("\r" + " " * self._bar_length + "\r")
            self._bar_length = 0


def columns(text: str) -> int:
    """How wide a terminal draws `text`: Chinese characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def bar(done: int, total: int) -> str:
    """`[######......]`"""
    filled = BAR_WIDTH * min(done, total) // max(total, 1)
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]"


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def speed(steps_per_second: float) -> str:
    """Steps per second, or seconds per step when slower than one a second."""
    if steps_per_second >= 1 or steps_per_second <= 0:
        return f"{steps_per_second:.2f} it/s"
    return f"{1 / steps_per_second:.2f} s/it"


def step_line(event: Step, language: str = DEFAULT_LANGUAGE) -> str:
    """Place, smoothed loss, speed, time left."""
    return message(
        "cli.step",
        language,
        step=event.step,
        steps=event.total_steps,
        bar=bar(event.step, event.total_steps),
        epoch=event.epoch,
        epochs=event.total_epochs,
        loss=f"{event.loss_smoothed:.4f}",
        speed=speed(event.steps_per_second),
        left=clock(event.remaining),
    )
