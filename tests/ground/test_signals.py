"""Events out, commands in."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from lib_lora_train.signals import Commands, Log, Saved, Stage, Step


def test_events_become_plain_data() -> None:
    step = Step(1, 10, 1, 2, 0.5, 0.4, {"unet": 1e-4}, 1.0, 2.0, 0, 0.5, 4.5)
    for event in (Log("cli.stopped", {"a": 1}), Stage("x", 1, 2), step, Saved(Path("a/b.safetensors"), 3, 1, True)):
        data = json.loads(json.dumps(event.as_dict()))
        assert data["event"] == type(event).__name__
    assert Saved(Path("b"), 3, 1).as_dict() == {"event": "Saved", "path": "b", "step": 3, "epoch": 1, "final": False}


def test_stop_and_save() -> None:
    commands = Commands()
    assert not commands.stopping and not commands.saves_on_stop
    commands.stop()
    assert commands.stopping and not commands.saves_on_stop
    commands.stop_and_save()
    assert commands.stopping and commands.saves_on_stop


def test_save_and_sample_are_taken_once() -> None:
    commands = Commands()
    commands.save_now()
    commands.sample_now()
    assert (commands.take_save(), commands.take_save()) == (True, False)
    assert (commands.take_sample(), commands.take_sample()) == (True, False)


def test_pause_waits_and_stop_wakes() -> None:
    for wake in (Commands.resume, Commands.stop, Commands.stop_and_save):
        commands = Commands()
        commands.pause()
        assert commands.paused and not commands.wait_while_paused(0.01)
        waiter = threading.Thread(target=commands.wait_while_paused)
        waiter.start()
        wake(commands)
        waiter.join(5)
        assert not waiter.is_alive() and not commands.paused
