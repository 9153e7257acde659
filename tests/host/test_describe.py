"""What is known of a checkpoint before it is loaded, and of the memory it will be trained in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import HostPaths, Memory
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.host.hints import HINTS, TrainingHints, hints_path, read_hints
from lib_lora_train.host.machine import _limited, _meminfo, ram

DEMO = Path(__file__).parents[2] / "demo" / "checkpoint"


def make_host(folder: Path, **options) -> EmbeddedHost:
    return EmbeddedHost(HostPaths(folder, folder, folder), device="cpu", **options)


def test_the_demo_checkpoint_describes_itself(tmp_path: Path) -> None:
    facts = make_host(tmp_path, named={"demo": DEMO}).describe("demo")
    assert (facts.info.name, facts.info.path) == ("demo", DEMO)
    assert (facts.family, facts.prediction, facts.native) == ("sd1", "epsilon", 128)
    assert facts.unet_config["block_out_channels"] == [48, 64, 64, 64]
    assert facts.parameters == {"unet": 3_727_700, "vae": 978_103, "text_encoder": 153_536}


def test_parameters_are_those_that_are_loaded(tmp_path: Path, tiny_checkpoint: Path) -> None:
    host = make_host(tmp_path)
    facts = host.describe(str(tiny_checkpoint))
    loaded = host.load(str(tiny_checkpoint), torch.float32, lambda event: None)
    assert facts.parameters == {
        name: sum(value.numel() for value in module.parameters()) for name, module in loaded.modules().items()
    }
    assert facts.native == 64


def test_a_description_is_kept_until_a_file_changes(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    host, read = make_host(tmp_path), []
    import lib_lora_train.host.embedded as embedded

    real = embedded.read_facts
    monkeypatch.setattr(embedded, "read_facts", lambda path: read.append(path) or real(path))
    assert host.describe(str(folder)) == host.describe(str(folder))
    assert len(read) == 1
    (folder / HINTS).write_text('{"rate_factor": 3}', encoding="utf-8")
    assert host.describe(str(folder)).hints == TrainingHints(rate_factor=3.0)
    config = json.loads((folder / "unet/config.json").read_text(encoding="utf-8"))
    (folder / "unet/config.json").write_text(json.dumps(config | {"sample_size": [32, 24]}), encoding="utf-8")
    assert host.describe(str(folder)).native == 192


@pytest.mark.parametrize("size", [None, "64", 0, -8, 10**9, [], [64, "x"], True, 1.5])
def test_an_odd_size_is_the_familys(tmp_path: Path, tiny_checkpoint: Path, size: object) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    config = json.loads((folder / "unet/config.json").read_text(encoding="utf-8"))
    (folder / "unet/config.json").write_text(json.dumps(config | {"sample_size": size}), encoding="utf-8")
    assert make_host(tmp_path).describe(str(folder)).native == 512


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.safetensors").write_bytes(b"x")
    host = make_host(tmp_path, folders=[tmp_path])
    for name, code in (("notes", "host.damaged"), ("", "host.checkpoint_missing"), ("none", "host.checkpoint_missing")):
        with pytest.raises(UserError) as caught:
            host.describe(name)
        assert caught.value.code == code


def test_a_listed_name_wins_over_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` may be started where a folder "demo" lies."""
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    host = make_host(tmp_path, named={"demo": DEMO}, folders=[DEMO.parent])
    assert host.find("demo") == DEMO
    assert host.find(str(tmp_path / "demo")) == host.find("./demo") == tmp_path / "demo"
    assert [info.name for info in host.checkpoints()] == ["demo"]  # once, though it lies in a folder that is listed


# ---------------------------------------------------------------------- hints


def test_hints_lie_in_the_folder_or_beside_the_file(tmp_path: Path) -> None:
    assert hints_path(tmp_path) == tmp_path / "training_hints.json"
    file = tmp_path / "model.v2.safetensors"
    assert hints_path(file) == tmp_path / "model.v2.training_hints.json"
    assert read_hints(file) == TrainingHints()
    hints_path(file).write_text('{"clip_skip": 2, "sample_cfg": 3}', encoding="utf-8-sig")
    assert read_hints(file) == TrainingHints(clip_skip=2, sample_cfg=3.0)


@pytest.mark.parametrize(
    "content",
    [
        "", "[", "[]", "7", '{"rate_factor": 0}', '{"rate_factor": 1e9}', '{"rate_factor": NaN}', '{"rate_factor": Infinity}',
        '{"rate_factor": 1' + '0' * 400 + '}', '{"clip_skip": 1' + '0' * 5000 + '}',
        '{"rate_factor": "20"}', '{"rate_factor": true}', '{"rate_factor": null}', '{"clip_skip": 1.5}',
        '{"clip_skip": 0}', '{"sample_cfg": -1}', '{"lora": "x"}', '{"../x": 1}', "[" * 5000, '{"a": "' + "x" * 70_000,
        "\ud800",
    ],
)  # fmt: skip
def test_hints_that_are_not_as_they_must_be_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / HINTS).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as caught:
        read_hints(tmp_path)
    assert caught.value.code == "host.hints" and caught.value.where == HINTS
    assert len(caught.value.text()) < 400


# ---------------------------------------------------------------------- memory


def test_memory_of_this_computer(tmp_path: Path) -> None:
    memory = make_host(tmp_path).memory()
    assert memory == Memory(memory.free, memory.total, "cpu", False, "")
    assert 0 < memory.free <= memory.total
    if hasattr(os, "sysconf"):
        assert memory.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert ram()[1] == memory.total


def test_meminfo_is_read(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       2000 kB\nMemFree:  5 kB\nMemAvailable:   1500 kB\nodd\n", encoding="ascii")
    assert _meminfo(path) == (1500 * 1024, 2000 * 1024)
    path.write_text("MemTotal: 5 kB\n", encoding="ascii")
    assert _meminfo(path) is None and _meminfo(tmp_path / "none") is None


def test_a_container_has_no_more_than_its_limit(tmp_path: Path) -> None:
    assert _limited((900, 1000), tmp_path) == (900, 1000)
    for name, text in (("memory.max", "max"), ("memory.current", "300"), ("memory.stat", "anon 5\ninactive_file 50\n")):
        (tmp_path / name).write_text(text, encoding="ascii")
    assert _limited((900, 1000), tmp_path) == (900, 1000)
    (tmp_path / "memory.max").write_text("500", encoding="ascii")
    assert _limited((900, 1000), tmp_path) == (250, 500)
    assert _limited((100, 400), tmp_path) == (100, 400)
    (tmp_path / "memory.current").write_text("800", encoding="ascii")
    assert _limited((900, 1000), tmp_path) == (0, 500)
