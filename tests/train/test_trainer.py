"""Whole runs on the tiny checkpoint: what they leave behind, and that every way out is clean."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, Log, Sampled, Saved, Stage, Step
from tests.helpers.runs import equal, run, tiny_settings, weights, write_pictures

PINNED_LOSSES = [1.104225, 1.104842, 1.060732, 1.108841, 1.017214, 1.105371]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def plain(tiny_checkpoint, pictures, tmp_path_factory):
    """One undisturbed run; its settings, events and result."""
    out = tmp_path_factory.mktemp("plain")
    settings = tiny_settings(tiny_checkpoint, pictures, out, save_every_n_epochs=1)
    events = []
    return settings, events, run(settings, events.append)


def test_a_run_leaves_what_it_should(plain):
    settings, events, result = plain
    out = Path(settings.run.output_dir)
    assert result.outcome == "done" and (result.steps, result.epochs) == (12, 3)
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "zuna-000001.safetensors", "zuna-000002.safetensors", "zuna.safetensors",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (out / "zuna-run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 13))
    assert [event.final for event in events if isinstance(event, Saved)] == [False, False, True]
    assert len(list((out / "zuna-run" / "state").iterdir())) == 1
    assert not list(out.rglob("*.tmp"))


def test_every_adapter_has_learned(plain):
    _, _, result = plain
    ups = {key: value for key, value in weights(result.lora).items() if key.endswith("lora_up.weight")}
    assert len(ups) > 20 and all(value.abs().max() > 0 for value in ups.values())
    assert any("lora_te_" in key for key in ups) and any("lora_unet_" in key for key in ups)


def test_the_first_losses_are_pinned(plain):
    """They change when the data order, the draws, the schedule, the loss or the optimizer change."""
    _, events, _ = plain
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[:6] == pytest.approx(PINNED_LOSSES, rel=2e-3)


def test_the_same_settings_give_the_same_bits(plain, tmp_path):
    settings, _, result = plain
    again = run(tiny_settings(Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path))
    assert equal(weights(result.lora), weights(again.lora))


def test_samples_change_no_bit_of_the_training(plain, tmp_path):
    settings, _, result = plain
    torch.manual_seed(99)
    events = []
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path,
        sample_prompts="zuna, smile\na girl --w 64 --h 128", sample_every_n_steps=1, sample_steps=2,
    )  # fmt: skip
    again = run(changed, events.append)
    assert equal(weights(result.lora), weights(again.lora))
    samples = [event for event in events if isinstance(event, Sampled)]
    assert len(samples) == 2 * 13
    assert Image.open(samples[1].path).size == (64, 128)
    assert "zuna, smile" in Image.open(samples[0].path).text["parameters"]


def test_only_one_part_is_trained_when_asked(tiny_checkpoint, pictures, tmp_path):
    unet = run(
        tiny_settings(tiny_checkpoint, pictures, tmp_path / "u", network_train_unet_only=True, max_train_epochs=1)
    )
    text = run(
        tiny_settings(
            tiny_checkpoint, pictures, tmp_path / "t", network_train_text_encoder_only=True, max_train_epochs=1
        )
    )
    assert all(key.startswith("lora_unet_") for key in weights(unet.lora))
    assert all(key.startswith("lora_te_") for key in weights(text.lora))


def test_steps_end_a_run_in_the_middle_of_an_epoch(tiny_checkpoint, pictures, tmp_path):
    result = run(tiny_settings(tiny_checkpoint, pictures, tmp_path, max_train_epochs=0, max_train_steps=5))
    assert result.steps == 5


def test_keeps_the_last_n(tiny_checkpoint, pictures, tmp_path):
    run(tiny_settings(tiny_checkpoint, pictures, tmp_path, max_train_epochs=5, save_every_n_epochs=1, save_last_n=2))
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "zuna-000003.safetensors", "zuna-000004.safetensors", "zuna.safetensors",
    ]  # fmt: skip


def test_recomputed_blocks_change_nothing_but_rounding(plain, tmp_path):
    settings, _, result = plain
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, checkpointed_blocks=1000
    )
    again = weights(run(changed).lora)
    for key, value in weights(result.lora).items():
        torch.testing.assert_close(again[key], value, rtol=1e-3, atol=1e-4)


def test_stop_without_saving_leaves_no_file(tiny_checkpoint, pictures, tmp_path):
    commands = Commands()
    result = run(
        tiny_settings(tiny_checkpoint, pictures, tmp_path),
        lambda event: isinstance(event, Step) and commands.stop(),
        commands,
    )
    assert result.outcome == "stopped" and result.lora is None and result.steps == 1
    assert not list(tmp_path.glob("*.safetensors"))


def test_stop_and_save_in_the_middle_of_a_sample_still_saves(tiny_checkpoint, pictures, tmp_path):
    commands = Commands()

    def listen(event):
        if isinstance(event, Stage) and event.code == "host.stage_drawing":
            commands.stop_and_save()

    settings = tiny_settings(
        tiny_checkpoint,
        pictures,
        tmp_path,
        sample_prompts="zuna\na girl --w 64 --h 64",
        sample_every_n_steps=2,
        sample_at_first=False,
    )
    result = run(settings, listen, commands)
    assert (result.outcome, result.steps) == ("stopped", 2)
    assert result.lora.exists() and result.state.exists()


def test_save_now_and_sample_now(tiny_checkpoint, pictures, tmp_path):
    commands, events = Commands(), []

    def listen(event):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            commands.save_now()
            commands.sample_now()

    run(tiny_settings(tiny_checkpoint, pictures, tmp_path, sample_prompts="zuna", sample_steps=1), listen, commands)
    assert (tmp_path / "zuna-step00000003.safetensors").exists()
    assert [event.step for event in events if isinstance(event, Sampled)] == [0, 3, 12]


def test_a_taken_name_is_never_overwritten(plain):
    settings, _, result = plain
    before = result.lora.read_bytes()
    with pytest.raises(UserError) as error:
        run(settings)
    assert error.value.code == "train.exists"
    assert result.lora.read_bytes() == before


def test_continue_from_a_file(plain, tmp_path):
    settings, _, result = plain
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path,
        network_weights=str(result.lora), max_train_epochs=0, max_train_steps=1, learning_rate="0", text_encoder_lr="0", optimizer_args=["weight_decay=0"],
    )  # fmt: skip
    assert equal(weights(run(changed).lora), weights(result.lora))


@pytest.mark.parametrize("from_file", [True, False])
def test_continue_with_one_part_and_the_files_rank(plain, tmp_path, from_file):
    settings, _, result = plain
    events = []
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path,
        network_weights=str(result.lora), dim_from_weights=from_file, network_dim=8 if from_file else 4,
        network_train_unet_only=True, max_train_epochs=1,
    )  # fmt: skip
    found = weights(run(changed, events.append).lora)
    assert all(key.startswith("lora_unet_") for key in found)
    assert {value.shape[0] for key, value in found.items() if key.endswith("lora_down.weight")} == {4}
    assert "train.weights_left_out" in [getattr(event, "code", "") for event in events]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"checkpoint": ""}, "checkpoint"),
        ({"network_train_unet_only": True, "network_train_text_encoder_only": True}, "network_train_text_encoder_only"),
        ({"resume": "x", "network_weights": "y"}, "network_weights"),
        ({"output_dir": ""}, "output_dir"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"zero_terminal_snr": True}, "zero_terminal_snr"),
        ({"min_timestep": 500, "max_timestep": 400}, "min_timestep"),
        ({"optimizer_args": ["speed=3"]}, "optimizer_args"),
    ],
)
def test_impossible_settings_name_their_field(tiny_checkpoint, pictures, tmp_path, changes, where):
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, **changes)
    with pytest.raises(UserError) as error:
        run(settings)
    assert error.value.where == where


@pytest.mark.parametrize("place", ["denoise", "encode_prompts"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_never_reach_a_file(tiny_checkpoint, pictures, tmp_path, monkeypatch, place, bad):
    from lib_lora_train.host import embedded

    model_class = embedded.EmbeddedModel
    honest, calls = getattr(model_class, place), []

    def faulty(self, *args, **kwargs):
        calls.append(1)
        answer = honest(self, *args, **kwargs)
        if len(calls) == 6:
            return answer * bad if place == "denoise" else type(answer)(answer.context * bad, answer.pooled)
        return answer

    monkeypatch.setattr(model_class, place, faulty)
    settings = tiny_settings(tiny_checkpoint, pictures, tmp_path, save_every_n_steps=1)
    with pytest.raises(UserError) as error:
        run(settings)
    assert error.value.code == "train.non_finite" and "step 5" in error.value.sentence()
    assert "zuna-step00000004.safetensors" in error.value.sentence()
    files = list(tmp_path.rglob("*.safetensors"))
    assert files
    for path in files:
        assert all(value.isfinite().all() for value in weights(path).values() if value.is_floating_point())


def test_out_of_memory_says_what_would_fit(tiny_checkpoint, pictures, tmp_path, monkeypatch):
    from lib_lora_train.host import embedded

    def full(self, *args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(embedded.EmbeddedModel, "denoise", full)
    with pytest.raises(UserError) as error:
        run(tiny_settings(tiny_checkpoint, pictures, tmp_path))
    assert error.value.code == "train.out_of_memory"
    assert error.value.remedy()


def test_out_of_memory_while_encoding_is_said_too(tiny_checkpoint, pictures, tmp_path, monkeypatch):
    from lib_lora_train.host import embedded

    def full(self, *args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(embedded.EmbeddedModel, "encode_images", full)
    with pytest.raises(UserError) as error:
        run(tiny_settings(tiny_checkpoint, pictures, tmp_path))
    assert error.value.code == "train.out_of_memory_before"


def test_fp16_on_a_processor_is_computed_in_fp32_and_said(plain, tmp_path):
    settings, _, result = plain
    events = []
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, mixed_precision="fp16"
    )
    assert equal(weights(run(changed, events.append).lora), weights(result.lora))
    assert "train.cpu_fp32" in [getattr(event, "code", "") for event in events]


def test_a_full_disk_is_said_and_the_last_good_file_stays(tiny_checkpoint, pictures, tmp_path, monkeypatch):
    from lib_lora_train.train import trainer

    honest, calls = trainer.save_lora, []

    def full(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 2:
            raise UserError("file.write", path.name, reason="No space left on device")
        return honest(path, *args, **kwargs)

    monkeypatch.setattr(trainer, "save_lora", full)
    with pytest.raises(UserError) as error:
        run(tiny_settings(tiny_checkpoint, pictures, tmp_path, save_every_n_epochs=1))
    assert error.value.code == "file.write"
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["zuna-000001.safetensors"]


def test_a_sample_that_fails_is_said_and_training_goes_on(tiny_checkpoint, pictures, tmp_path, monkeypatch):
    from lib_lora_train.train import trainer

    def broken(*args, **kwargs):
        raise UserError("file.write", "sample.png", reason="No space left on device")

    monkeypatch.setattr(trainer, "draw_samples", broken)
    events = []
    result = run(tiny_settings(tiny_checkpoint, pictures, tmp_path, sample_prompts="zuna"), events.append)
    assert result.outcome == "done"
    assert "train.sample_failed" in [event.code for event in events if isinstance(event, Log)]
