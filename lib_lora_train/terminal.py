"""What commands share: exit codes, the terminal's language, and progress that Ctrl+C can end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.progress import Progress
from lib_lora_train.signals import Commands

DONE, BROKEN, USER_ERROR, STOPPED = 0, 1, 2, 130
NOTHING = 1  # of check, prepare and tag: no picture could be used


def terminal_language() -> str:
    """zh-CN where the environment says Chinese, else English."""
    setting = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh-CN" if setting.lower().startswith("zh") else DEFAULT_LANGUAGE


@contextmanager
def watched(stopping: str = "cli.stopping") -> Iterator[tuple[Progress, Commands]]:
    """Progress on standard error, and Ctrl+C: the first stops and saves, the second stops at once.

    `stopping` is the code of what is said after the first.
    """
    progress, commands = Progress(sys.stderr, terminal_language()), Commands()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if commands.stopping:
            raise KeyboardInterrupt
        commands.stop_and_save()
        progress.line(message(stopping, terminal_language()))

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield progress, commands
    finally:
        progress.close()
        signal.signal(signal.SIGINT, before)
