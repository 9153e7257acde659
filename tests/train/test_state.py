import json

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.train.state import Progress, TrainState, load_state, newest_first


def state(step: int = 3, **progress) -> TrainState:
    generator = torch.Generator().manual_seed(step)
    return TrainState(
        progress=Progress(step=step, batch=step, epoch=1, checkpoints=["a.safetensors"], waiting_loss=0.1, **progress),
        network={"x.lora_up.weight": torch.randn(4, 2, generator=generator)},
        gradients={"x.lora_up.weight": torch.randn(4, 2, generator=generator)},
        optimizer_tensors={"0/exp_avg": torch.randn(8, generator=generator).to(torch.bfloat16)},
        optimizer_facts={"steps": [3, None, 0.1]},
        scaler={"scale": 1024.0, "steps_since_change": 5},
        identity={"network_dim": 2},
        batching={"batch": 1},
    )


def test_comes_back_bit_for_bit(tmp_path):
    written = state()
    read = load_state(written.save(tmp_path))
    assert read.progress == written.progress
    assert (read.optimizer_facts, read.scaler, read.identity) == (
        written.optimizer_facts,
        written.scaler,
        written.identity,
    )
    for group in ("network", "gradients", "optimizer_tensors"):
        before, after = getattr(written, group), getattr(read, group)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_only_the_last_one_is_kept_and_found_from_the_run_folder(tmp_path):
    for step in (3, 20, 100):
        state(step).save(tmp_path / "state")
    assert len(list((tmp_path / "state").iterdir())) == 1
    assert load_state(tmp_path).progress.step == 100
    assert load_state(tmp_path / "state").progress.step == 100


def test_the_same_position_twice(tmp_path):
    state(3).save(tmp_path)
    assert load_state(state(3).save(tmp_path)).progress.step == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_state_is_refused_and_an_older_whole_one_is_taken(tmp_path):
    old = state(3).save(tmp_path / "old")
    new = state(20).save(tmp_path / "new")
    place = tmp_path / "state"
    place.mkdir()
    old.rename(place / old.name)
    new = new.rename(place / new.name)
    tensors = new / "state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UserError) as error:
        load_state(new)
    assert error.value.code == "state.damaged"
    assert load_state(tmp_path).progress.step == 3


@pytest.mark.parametrize("cut", ["state.json", "state.safetensors"])
def test_a_state_without_one_of_its_files_is_none(tmp_path, cut):
    folder = state().save(tmp_path)
    (folder / cut).unlink()
    with pytest.raises(UserError):
        load_state(tmp_path)


def test_missing_and_later_versions_are_said(tmp_path):
    with pytest.raises(UserError) as error:
        load_state(tmp_path)
    assert error.value.code == "state.missing"
    folder = state().save(tmp_path)
    facts = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**facts, "version": 99}))
    with pytest.raises(UserError) as error:
        load_state(folder)
    assert error.value.code == "state.version"


def test_a_write_that_fails_keeps_the_old_state(tmp_path, monkeypatch):
    state(3).save(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib_lora_train.train.state.save_file", full)
    with pytest.raises(UserError) as error:
        state(4).save(tmp_path)
    assert error.value.code == "file.write"
    assert "No space left" in error.value.text()
    assert [load_state(path).progress.step for path in newest_first(tmp_path)] == [3]
    assert not list(tmp_path.glob("**/*.tmp"))
