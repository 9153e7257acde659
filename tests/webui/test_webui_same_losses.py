"""The same run on a full-size Stable Diffusion 1.5 here and on the embedded host: the same losses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.full_size import write_random_sd15
from tests.helpers.pictures import gradient
from tests.helpers.serving import ROOT, wait_for
from tests.helpers.webui import Webui, losses

STEPS = 10
CAPTIONS = ("zuna, red hair (short)", "zuna, [blue] eyes:1.2", "zuna BREAK smile AND hat", "zuna, " + "tag, " * 60)
SETTINGS = {
    "dataset": {"resolution": "128", "min_bucket_reso": 64, "max_bucket_reso": 192},
    "network": {"network_dim": 4, "network_alpha": 4.0},
    "optimizer": {"learning_rate": "1e-3"},
    "run": {"mixed_precision": "fp32", "max_train_epochs": 0, "max_train_steps": STEPS, "train_batch_size": 1},
}


@pytest.fixture
def full_size(own_webui: Callable[..., Webui], tmp_path: Path) -> tuple[Webui, Path]:
    """A WebUI with a full-size checkpoint of random weights, and its file; 2 GB on the disk, 6 GB of memory."""
    path = write_random_sd15(tmp_path / "checkpoints" / "full.safetensors", torch.float16)
    webui = own_webui("--ckpt-dir", str(path.parent))
    wait_for(lambda: webui.state()["loaded"], bool, 180)
    return webui, path


def test_ten_losses(full_size: tuple[Webui, Path], tmp_path: Path) -> None:
    webui, checkpoint = full_size
    rest = webui.rest
    project = rest.new_project("Zuna", trigger="zuna")
    rest.add_pictures(project, [(gradient(128, 96 + 32 * number), text) for number, text in enumerate(CAPTIONS)])
    run = rest.start(project, {**SETTINGS, "model": {"checkpoint": "full"}})
    rest.wait_for_end(project, run, seconds=1200)
    here = losses(webui, project, run)
    dataset = next(webui.data.rglob(f"{project}/dataset"))
    webui.stop()  # its memory is wanted

    alone = embedded(checkpoint, dataset, vocabulary(webui, checkpoint), tmp_path / "out")
    assert len(here) == len(alone) == STEPS
    assert here == pytest.approx(alone, rel=1e-4)
    assert len(set(here)) == STEPS


def vocabulary(webui: Webui, checkpoint: Path) -> Path:
    """CLIP's, from where the WebUI has it, to where the embedded host looks."""
    folder = checkpoint.with_suffix(".tokenizer")
    folder.mkdir()
    for name in ("vocab.json", "merges.txt"):
        found = next(webui.installation.checkpoints.rglob(name))
        (folder / name).write_bytes(found.read_bytes())
    return folder


def embedded(checkpoint: Path, dataset: Path, vocabulary: Path, out: Path) -> list[float]:
    """The losses of the command line's `train` with the same settings."""
    assert vocabulary.is_dir()
    document = {
        **SETTINGS,
        "model": {"checkpoint": str(checkpoint)},
        "dataset": {**SETTINGS["dataset"], "train_data_dir": str(dataset)},
        "run": {**SETTINGS["run"], "output_dir": str(out), "output_name": "zuna", "trigger_word": "zuna"},
    }
    config = out.with_suffix(".json")
    config.write_text(json.dumps({"version": 1, **document}), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "lib_lora_train", "train", "--config_file", str(config)], cwd=ROOT, check=True
    )
    lines = (out / "zuna-run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]
