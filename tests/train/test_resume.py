"""A run that stops anywhere and goes on ends with the same bits as one that never stopped."""

import gc
from pathlib import Path

import pytest
import torch

from lib_lora_train.errors import UserError
from lib_lora_train.network.modules import Adapter
from lib_lora_train.settings.tables import OPTIMIZERS, SCHEDULES
from tests.helpers.runs import StopsAfter, equal, resumed, run, tiny_settings, weights, write_pictures

PACKAGES = {
    "AdamW8bit": "bitsandbytes",
    "Prodigy": "prodigyopt",
    "DAdaptAdam": "dadaptation",
    "DAdaptAdaGrad": "dadaptation",
    "DAdaptLion": "dadaptation",
    "DAdaptSGD": "dadaptation",
    "AdamWScheduleFree": "schedulefree",
    "RAdamScheduleFree": "schedulefree",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def interrupted(settings, at: list[int]) -> dict:
    """The final weights of a run that was stopped after each of `at` batches and resumed each time."""
    result = run(settings, commands=StopsAfter(at[0]))
    for batches in at[1:]:
        assert result.outcome == "stopped"
        result = run(resumed(settings), commands=StopsAfter(batches))
    assert result.outcome == "stopped"
    return weights(run(resumed(settings)).lora)


@pytest.fixture(scope="module")
def whole(tiny_checkpoint, pictures, tmp_path_factory):
    """Undisturbed with accumulation over three batches: an epoch of four batches has steps of 3 and 1."""
    settings = tiny_settings(
        tiny_checkpoint, pictures, tmp_path_factory.mktemp("whole"), gradient_accumulation_steps=3, network_dropout=0.1
    )
    return weights(run(settings).lora)


@pytest.mark.parametrize("batch", range(1, 12))
def test_after_every_batch(whole, tiny_checkpoint, pictures, tmp_path, batch):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, gradient_accumulation_steps=3, network_dropout=0.1)
    assert equal(whole, interrupted(settings, [batch]))


def test_twice_in_the_middle_of_an_accumulation(whole, tiny_checkpoint, pictures, tmp_path):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, gradient_accumulation_steps=3, network_dropout=0.1)
    assert equal(whole, interrupted(settings, [2, 4]))


@pytest.mark.parametrize("batch", [2, 6])
def test_a_pause_is_no_interruption_either(whole, tiny_checkpoint, pictures, tmp_path, batch):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, gradient_accumulation_steps=3, network_dropout=0.1)
    commands, stages = StopsAfter(batch, "pause"), []

    def listen(event):
        if getattr(event, "code", "") == "train.stage_paused":
            stages.append(event)
            commands.resume()

    result = run(settings, listen, commands)
    assert result.outcome == "done" and len(stages) == 1
    assert equal(whole, weights(result.lora))


def test_a_pause_holds_no_memory_of_the_device(tiny_checkpoint, pictures, tmp_path):
    """What is kept to go on with lies in the computer's memory."""
    commands, held = StopsAfter(2, "pause"), []

    def listen(event):
        if getattr(event, "code", "") == "train.stage_paused":
            gc.collect()
            held.extend(one for one in gc.get_objects() if issubclass(type(one), torch.optim.Optimizer | Adapter))
            commands.resume()

    gc.collect()
    before = {id(one) for one in gc.get_objects() if issubclass(type(one), torch.optim.Optimizer | Adapter)}
    run(tiny_settings(tiny_checkpoint, pictures, tmp_path, max_train_epochs=1), listen, commands)
    assert [one for one in held if id(one) not in before] == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(tiny_checkpoint, pictures, tmp_path, optimizer):
    if optimizer in PACKAGES:
        pytest.importorskip(PACKAGES[optimizer], reason=f"{optimizer} needs the package {PACKAGES[optimizer]}")
    rate = "1.0" if optimizer.startswith(("Prodigy", "DAdapt")) else "1e-2"
    changes = {
        "optimizer_type": optimizer, "learning_rate": rate, "text_encoder_lr": rate, "max_train_epochs": 2,
        "gradient_accumulation_steps": 2,
    }  # fmt: skip
    straight = run(tiny_settings(tiny_checkpoint, pictures, tmp_path / "straight", **changes))
    stopped = tiny_settings(tiny_checkpoint, pictures, tmp_path / "stopped", **changes)
    assert equal(weights(straight.lora), interrupted(stopped, [3]))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(tiny_checkpoint, pictures, tmp_path, schedule):
    changes = {
        "lr_scheduler": schedule, "lr_warmup_steps": 2, "lr_scheduler_num_cycles": 2, "lr_scheduler_power": 2.0,
        "learning_rate": "1e-2:3, 5e-3", "max_train_epochs": 2,
    }  # fmt: skip
    straight = run(tiny_settings(tiny_checkpoint, pictures, tmp_path / "straight", **changes))
    stopped = tiny_settings(tiny_checkpoint, pictures, tmp_path / "stopped", **changes)
    assert equal(weights(straight.lora), interrupted(stopped, [3]))


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"network_dim": 2}, "network_dim"), ({"seed": 12}, "seed"), ({"optimizer_type": "Lion"}, "optimizer_type")],
)
def test_another_runs_state_is_refused_naming_the_field(tiny_checkpoint, pictures, tmp_path, changes, field):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path)
    run(settings, commands=StopsAfter(2))
    other = resumed(tiny_settings(tiny_checkpoint, pictures, tmp_path, **changes))
    with pytest.raises(UserError) as error:
        run(other)
    assert (error.value.code, error.value.where) == ("state.other_run", field)


def test_a_resumed_run_has_one_line_per_step(tiny_checkpoint, pictures, tmp_path):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, save_every_n_steps=2)
    run(settings, commands=StopsAfter(5))
    run(resumed(settings))
    lines = (Path(tmp_path) / "zuna-run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 12


def test_another_batch_size_starts_the_epoch_over_and_says_so(tiny_checkpoint, pictures, tmp_path):
    """So that a run that was out of memory can go on with a smaller batch."""
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path)
    run(settings, commands=StopsAfter(6))
    events = []
    again = resumed(settings)
    again.run.train_batch_size = 1
    result = run(again, events.append)
    assert "train.epoch_restarted" in [getattr(event, "code", "") for event in events]
    assert result.outcome == "done" and result.epochs == 3
