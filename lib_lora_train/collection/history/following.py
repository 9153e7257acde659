"""Bringing the files to the truth: slice by slice, so that others can use the journal in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lib_lora_train.collection.history.head import Head
from lib_lora_train.collection.history.keys import Places
from lib_lora_train.collection.history.store import Store
from lib_lora_train.collection.history.writing import Target, Writer, fold_steps, sweep
from lib_lora_train.errors import UserError

_SLICE_SECONDS, _SLICE = 0.15, 64  # how long others wait at most, about; files between two looks at the clock
_BREATH = 0.002  # seconds in which somebody who waits gets the lock

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How many files were written or removed, and the keys of those left as they are."""

    written: int = 0
    left: tuple[str, ...] = ()


def targets_of(store: Store, head: Head, places: Places) -> dict[str, Target]:
    """What each file is to hold, after the steps since all of them last held the truth; the lock must be held."""
    steps = []
    for step in head.steps:
        try:
            steps.append((step, store.changes(step.name)))
        except UserError:  # put aside; what it had already changed stays
            continue
    return fold_steps(steps, places)


def bring(store: Store, places: Places, progress: Progress | None) -> Outcome:
    """Raises UserError("file.write") when some files cannot be written; nothing is settled then."""
    writer, head, targets = Writer(places), Head(), {}
    waiting: list[tuple[str, Target]] = []
    outcome = None
    try:
        while outcome is None:
            with store.locked():
                now = store.mended()
                if now.steps != head.steps:  # at first, and when somebody did or undid something meanwhile
                    targets = targets_of(store, now, places)
                    head, waiting = store.mended(), list(targets.items())
                    sweep(places, targets)
                    writer.begin()
                until = time.monotonic() + _SLICE_SECONDS
                while waiting and time.monotonic() < until:
                    writer.write(waiting[:_SLICE])
                    waiting = waiting[_SLICE:]
                if not waiting:
                    outcome = _settle(store, places, targets, writer)
            if progress is not None:
                progress(len(targets) - len(waiting), len(targets))
            time.sleep(0 if outcome else _BREATH)
    finally:
        writer.close()
    return outcome


def _settle(store: Store, places: Places, targets: Mapping[str, Target], writer: Writer) -> Outcome:
    writer.sync()
    if writer.failed is not None:
        raise writer.failed
    head, left = store.mended(), set(writer.left)
    for name in {step.name for step in head.steps}:
        changes = store.changes(name)
        keys = {places.current(change.key, text) for change in changes for text in (change.before, change.after)}
        store.note_left(name, sorted(keys & left))
    store.write(replace(head, steps=()))
    store.forget_texts()
    return Outcome(writer.written, tuple(key for key in targets if key in left))
