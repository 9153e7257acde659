"""`pytest -p tests.helpers.late_machine`: threads, the pieces of work in pools and the disk are late by up to
`LORA_TRAIN_LATE_MACHINE` ms (50 unless it says otherwise), each time by its own lot, and threads take turns at almost
any moment. What is right only on a machine with little to do fails then."""

from __future__ import annotations

import concurrent.futures.thread
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def late(act: Callable[..., Any], most: float, draw: random.Random) -> Callable[..., Any]:
    """`act`, up to `most` seconds late."""

    def wait_and_act(*args: Any, **kwargs: Any) -> Any:
        time.sleep(draw.random() * most)
        return act(*args, **kwargs)

    return wait_and_act


def pytest_configure() -> None:
    most, draw = float(os.environ.get("LORA_TRAIN_LATE_MACHINE", "50")) / 1000, random.Random()
    for kind in (threading.Thread, concurrent.futures.thread._WorkItem):
        kind.run = late(kind.run, most, draw)  # type: ignore[attr-defined,method-assign]
    os.fsync = late(os.fsync, most, draw)
    sys.setswitchinterval(1e-5)
