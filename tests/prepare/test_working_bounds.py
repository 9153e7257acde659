"""How much is held at a time: pictures are decoded once each, and of large ones never two at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.dataset.images import OpenedImage, open_image
from lib_lora_train.prepare import fixing, working
from lib_lora_train.prepare.bench import Bench, Steps, Task
from lib_lora_train.prepare.fixing import Fixing
from lib_lora_train.prepare.sources import read_sources
from lib_lora_train.prepare.state import read_state
from lib_lora_train.signals import Commands, Event, Stage, Stopped, ignore_events
from lib_lora_train.vision.store import ModelStore
from tests.helpers.pictures import encoded, gradient
from tests.helpers.preparing import photo_project, settings, tools


class Hands:
    """Counts the pictures that are decoded, and how many are held at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._guard = threading.Lock()
        self.opened: list[str] = []
        self.held = self.most = 0
        monkeypatch.setattr(working, "open_image", self._open)
        real = working._Shift._examine

        def examine(shift: Any, task: Task, opened: OpenedImage) -> None:
            time.sleep(0.02)  # long enough for the others to come
            real(shift, task, opened)
            with self._guard:
                self.held -= 1

        monkeypatch.setattr(working._Shift, "_examine", examine)

    def _open(self, path: Path, where: str = "") -> OpenedImage:
        with self._guard:
            self.opened.append(path.name)
            self.held += 1
            self.most = max(self.most, self.held)
        return open_image(path, where)


def tasks(folder: Path, count: int) -> list[Task]:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").write_bytes(encoded(gradient(96, 64 + number), "PNG"))
    return [Task(folder / f"{number}.png", f"{number}.png", f"{number:064x}") for number in range(count)]


@pytest.mark.parametrize("large", [False, True])
def test_pictures_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    monkeypatch.setattr(working.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(working, "LARGE_PIXELS", 1000 if large else 10**9)
    hands = Hands(monkeypatch)
    bench = Bench(tmp_path / "bench", ModelStore(tmp_path / "models", offline=True), "cpu")
    chosen = settings(crop={"crop": "size", "width": 64, "height": 64})
    assert working.work(bench, tasks(tmp_path / "pictures", 12), Steps(check=chosen, crop=chosen)) == []
    assert sorted(hands.opened) == sorted(f"{number}.png" for number in range(12))
    assert hands.most == 1 if large else 1 < hands.most <= working.MOST_WORKERS


@pytest.mark.parametrize("stop_after", [None, 3])
def test_a_fix_writes_its_crops_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None
) -> None:
    project, kit, commands = photo_project(tmp_path, 5), tools(tmp_path / "models"), Commands()
    written: list[int] = []
    real = fixing.changed_state
    monkeypatch.setattr(fixing, "changed_state", lambda given: (written.append(1), real(given))[1])

    def events(event: Event) -> None:
        if isinstance(event, Stage) and event.code == "prepare.stage_fixing" and event.done == stop_after:
            commands.stop()
        ignore_events(event)

    originals = frozenset(source.original for source in read_sources(project))
    job = Fixing(project, kit, settings(), originals, events, commands)
    if stop_after is None:
        job.run("trim")
    else:
        with pytest.raises(Stopped):
            job.run("trim")
    assert len(written) == 1
    assert len(read_state(project).hands) == (5 if stop_after is None else stop_after + 1)
