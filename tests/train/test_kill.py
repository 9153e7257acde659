"""kill -9 at any moment: no broken file under a final name, and the resumed run ends with the same bits.

`LORA_TRAIN_KILLS` sets how many moments are tried.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from lib_lora_train.train.state import newest_first
from tests.helpers.runs import equal, resumed, run, tiny_settings, weights, write_pictures

KILLS = int(os.environ.get("LORA_TRAIN_KILLS", "6"))


@pytest.fixture(scope="module")
def server():
    """Processes forked from one that has imported everything and run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers.runs"])
    return context


def settings_for(checkpoint: Path, pictures: Path, out: Path):
    return tiny_settings(checkpoint, pictures, out, save_every_n_steps=1, save_last_n=2, max_train_epochs=2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_kill_minus_nine_loses_nothing(server, tiny_checkpoint, tmp_path):
    pictures = write_pictures(tmp_path / "pictures")
    straight = settings_for(tiny_checkpoint, pictures, tmp_path / "straight")
    expected = weights(run(straight).lora)
    draws = random.Random(3)
    for number in range(KILLS):
        out = tmp_path / f"killed{number}"
        settings = settings_for(tiny_checkpoint, pictures, out)
        _train_and_kill(server, settings, out / "zuna-run", draws.uniform(0, 0.8))
        for path in out.rglob("*.safetensors"):
            if not any(part.startswith(".") for part in path.relative_to(out).parts):
                assert weights(path), f"kill {number} left {path.name} broken"
        result = run(resumed(settings))
        assert result.outcome == "done"
        assert equal(weights(result.lora), expected), f"kill {number} changed the result"
        assert not list((out / "zuna-run" / "state").glob(".*")), "what the killed writer left was not swept"


def _train_and_kill(server, settings, run_folder: Path, delay: float) -> None:
    """Kills the training `delay` seconds after its first state was written; from then on it may be anywhere."""
    process = server.Process(target=run, args=(settings,))
    process.start()
    deadline = time.monotonic() + 300
    while process.is_alive() and time.monotonic() < deadline and not newest_first(run_folder):
        time.sleep(0.005)
    time.sleep(delay)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
