"""The plain name: written once, never over anything."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import HostPaths
from lib_lora_train.runs.publishing import publish, published_file
from lib_lora_train.runs.records import RunRecord
from lib_lora_train.settings import TrainSettings


def record(base: str = "爱丽丝 v1.5") -> RunRecord:
    return RunRecord(TrainSettings(), "爱丽丝", "character", "alice", "model", f"{base}-r01", base, 0.0, 10, {})


@pytest.fixture
def place(tmp_path: Path):
    host = SimpleNamespace(paths=HostPaths(tmp_path / "projects", tmp_path / "loras", tmp_path / "models"))
    run = tmp_path / "projects/p/runs/r01"
    run.mkdir(parents=True)
    lora = tmp_path / "loras/p/alice-r01-000003.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"weights")
    return host, run, lora


def test_the_file_gets_its_plain_name_and_a_card(place, tmp_path: Path) -> None:
    host, run, lora = place
    assert published_file(host, run) == ""
    assert publish(host, run, record(), lora, "sd1") == "爱丽丝 v1.5"
    target = tmp_path / "loras/爱丽丝 v1.5.safetensors"
    assert target.read_bytes() == lora.read_bytes() == b"weights"
    card = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["activation text"] == "alice" and card["preferred weight"] == 1.0 and card["sd version"] == "SD1"
    assert str(tmp_path) not in json.dumps(card)
    assert published_file(host, run) == lora.name
    target.unlink()
    assert published_file(host, run) == ""


@pytest.mark.parametrize("taken", ["爱丽丝 v1.5.safetensors", "other/爱丽丝 V1.5.SAFETENSORS", "爱丽丝 v1.5.ckpt"])
def test_a_name_that_is_taken_stays_as_it_is(place, tmp_path: Path, taken: str) -> None:
    host, run, lora = place
    before = tmp_path / "loras" / taken
    before.parent.mkdir(parents=True, exist_ok=True)
    before.write_bytes(b"older")
    assert publish(host, run, record(), lora, "sd1") is None
    assert before.read_bytes() == b"older" and published_file(host, run) == ""
    assert not list((tmp_path / "loras").glob("*.json"))


def test_a_card_that_somebody_wrote_stays(place, tmp_path: Path) -> None:
    host, run, lora = place
    card = tmp_path / "loras/爱丽丝 v1.5.json"
    card.write_text('{"notes": "mine"}', encoding="utf-8")
    assert publish(host, run, record(), lora, "sd1")
    assert card.read_text(encoding="utf-8") == '{"notes": "mine"}'


def test_nothing_half_written_is_left_when_the_copy_fails(place, tmp_path: Path) -> None:
    host, run, lora = place
    lora.unlink()
    with pytest.raises(UserError) as caught:
        publish(host, run, record(), lora, "sd1")
    assert caught.value.code == "file.write"
    assert not [path for path in (tmp_path / "loras").iterdir() if path.is_file()]
