"""What happens to a running training when the WebUI ends: processes that are told to go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, threading, time
from lib_lora_train.host.webui.endings import Ending
work, leave = sys.argv[1] == "busy", sys.argv[2]
signal.signal(signal.SIGINT, lambda number, frame: (print("webui", flush=True), os._exit(7)))
told, ended = threading.Event(), threading.Event()
def job():
    told.wait()
    time.sleep(1)
    print("saved", flush=True)
    ended.set()
threading.Thread(target=job, daemon=True).start()
def close(seconds):
    told.set()
    return ended.wait(seconds)
ending = Ending(lambda: work and not ended.is_set(), close, lambda: print("ending", flush=True))
ending.install()
print("ready", flush=True)
if leave == "call": ending.end()
elif leave == "wait": time.sleep(30)
"""


@contextmanager
def process(state: str, leave: str = "wait") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, state, leave]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None and running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def rest(running: subprocess.Popen[str]) -> list[str]:
    assert running.stdout is not None
    words = running.stdout.read().split()
    running.wait(20)
    return words


@pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX's rules")
class TestSignals:
    def test_ctrl_c_waits_for_the_training_and_is_handed_on(self) -> None:
        with process("busy") as running:
            running.send_signal(signal.SIGINT)
            assert rest(running) == ["ending", "saved", "webui"]
            assert running.returncode == 7

    def test_the_second_ctrl_c_does_not_wait(self) -> None:
        with process("busy") as running:
            running.send_signal(signal.SIGINT)
            assert running.stdout is not None and running.stdout.readline() == "ending\n"
            time.sleep(0.1)
            running.send_signal(signal.SIGINT)
            assert rest(running) == ["webui"]

    def test_ctrl_c_with_nothing_running_is_the_webuis(self) -> None:
        with process("idle") as running:
            running.send_signal(signal.SIGINT)
            assert rest(running) == ["webui"]

    @pytest.mark.parametrize(("state", "words"), [("busy", ["ending", "saved"]), ("idle", [])])
    def test_a_request_to_end_ends_as_without_us(self, state: str, words: list[str]) -> None:
        with process(state) as running:
            running.send_signal(signal.SIGTERM)
            assert rest(running) == words
            assert running.returncode == -signal.SIGTERM


@pytest.mark.parametrize("leave", ["return", "call"])
def test_the_end_of_the_program_waits(leave: str) -> None:
    """At the end of the main program, or told beforehand and then not a second time."""
    with process("busy", leave) as running:
        assert rest(running) == ["ending", "saved"]
        assert running.returncode == 0
