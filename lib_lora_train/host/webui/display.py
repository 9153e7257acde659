"""The WebUI's own progress bar: what a session does, as any of its generations would show it.

The WebUI's shared state is written here and never read: buttons of other tabs and other extensions write it too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modules import progress, shared
from PIL import Image

from lib_lora_train.host.webui.settings_page import language
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.signals import Event, Sampled, Stage, Step

TASK = "task(lora-train)"  # always the same, so that a page opened in the middle of a run finds its bar
JOB = "LoRA Train"
_UNKNOWN = -1  # a job count of which the WebUI makes no progress


class Display:
    """One bar, for whichever session has the lock or waits for it."""

    def __init__(self) -> None:
        self._running = False
        self._steps = 0  # of the training that is under way; pictures drawn in between do not move the bar

    def wait(self) -> None:
        """The task stands in the WebUI's queue."""
        _forget_finished()
        progress.add_task_to_queue(TASK)

    def stop_waiting(self) -> None:
        progress.pending_tasks.pop(TASK, None)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside the block, which needs the lock, this is what the WebUI is busy with."""
        _forget_finished()
        shared.state.begin(job=JOB)
        progress.start_task(TASK)
        self._running, self._steps = True, 0
        try:
            yield
        finally:
            self._running = False
            progress.finish_task(TASK)
            _clear_buttons()
            shared.state.textinfo = None
            shared.state.end()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside the block pictures are drawn: Interrupt and Skip count there only, and for what is drawn then."""
        _clear_buttons()
        try:
            yield
        finally:
            _clear_buttons()

    def tell(self, event: Event) -> None:
        """Shows an event of the running job."""
        if not self._running:
            return
        if isinstance(event, Step):
            self._steps = event.total_steps
            self._set(event.step, event.total_steps, _text("webui.bar_step", event.step, event.total_steps, event.loss))
            shared.state.time_start = time.time() - event.elapsed  # the bar's own estimate then is right after a pause
        elif isinstance(event, Stage):
            text = message(event.code, language() or DEFAULT_LANGUAGE)
            if event.total:
                text = f"{text} {event.done}/{event.total}"
            if self._steps:
                shared.state.textinfo = text
            else:
                self._set(event.done, event.total, text)
        elif isinstance(event, Sampled):
            _show(event.path)

    def _set(self, done: int, total: int, text: str) -> None:
        state = shared.state
        state.job, state.job_no, state.job_count, state.textinfo = JOB, done, total or _UNKNOWN, text


def _clear_buttons() -> None:
    shared.state.interrupted = shared.state.skipped = shared.state.stopping_generation = False


def _text(code: str, done: int, total: int, loss: float) -> str:
    return message(code, language() or DEFAULT_LANGUAGE, done=done, total=total, loss=f"{loss:.4f}")


def _forget_finished() -> None:
    """A page that asks after a task that has ended once is told so, also when it runs again."""
    progress.finished_tasks[:] = [task for task in progress.finished_tasks if task != TASK]


def _show(path: Path) -> None:
    try:
        with Image.open(path) as picture:
            shared.state.assign_current_image(picture.convert("RGB"))
    except OSError:  # removed since, perhaps: it is a picture to look at, and no more
        return
