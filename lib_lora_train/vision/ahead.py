"""Work on pictures done in threads ahead of a model, in order, with a bounded number of results waiting."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from lib_lora_train.errors import UserError

Key = TypeVar("Key")
Given = TypeVar("Given")
Made = TypeVar("Made")

MOST_WORKERS = 4  # beyond that a disk or a model is what one waits for


def default_workers() -> int:
    """Threads that decode pictures: Pillow lets go of Python's lock while it decodes and resizes."""
    return max(1, min(MOST_WORKERS, os.cpu_count() or 1))


def worked_ahead(
    items: Iterable[tuple[Key, Given]],
    work: Callable[[Given], Made],
    ahead: int,
    workers: int | None = None,
) -> Iterator[tuple[Key, Made | UserError]]:
    """`work(given)` of each item, in the order of the items; a UserError that it raises stands in the result's place.

    At most `ahead` items are begun and not yet taken, however many there are: `items` is read no further. When the
    iterator is closed, what is not begun never is.
    """
    source = iter(items)
    waiting: deque[tuple[Key, Future[Made | UserError]]] = deque()
    pool = ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="lora-train-pictures")
    try:
        while True:
            for key, given in islice(source, max(1, ahead) - len(waiting)):
                waiting.append((key, pool.submit(_done, work, given)))
            if not waiting:
                return
            key, future = waiting.popleft()
            yield key, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
        pool.shutdown(wait=True)


def _done(work: Callable[[Given], Made], given: Given) -> Made | UserError:
    try:
        return work(given)
    except UserError as error:
        return error
