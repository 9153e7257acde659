"""Pictures that are held back: which ones, that nothing is learned from them, and the loss on them."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.held_back import held_back_count, held_back_places, usual_share
from lib_lora_train.dataset.latents import CachedPicture
from lib_lora_train.dataset.listing import Concept
from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.host.base import CheckpointInfo, Conditioning
from lib_lora_train.network.rewriting import read_metadata
from lib_lora_train.runs.validation import read_validation
from lib_lora_train.settings import DatasetSettings, LossSettings, TrainSettings
from lib_lora_train.signals import Commands, Log, Saved, Stage, Validated
from lib_lora_train.train.noise import NoiseSchedule
from lib_lora_train.train.validation import Validation, validation_timesteps
from tests.helpers.pictures import write_picture
from tests.helpers.runs import StopsAfter, equal, resumed, run, tiny_settings, weights, write_pictures

SPLIT = {"validation_split": 0.4, "validation_seed": 3}  # two of five pictures: HELD
PINNED = [1.096532, 1.081241, 1.060024, 1.035280]
HELD = {1, 4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def held(tiny_checkpoint, pictures, tmp_path_factory):
    """One undisturbed run that holds two pictures back; its settings, events and result."""
    out = tmp_path_factory.mktemp("held")
    settings = tiny_settings(tiny_checkpoint, pictures, out, save_every_n_epochs=1, network_dropout=0.2, **SPLIT)
    events = []
    return settings, events, run(settings, events.append)


def lines_of(settings: TrainSettings) -> list[dict]:
    path = Path(settings.run.output_dir) / "zuna-run" / "validation.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------------- which ones


@examples(max_examples=200)
@given(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_choice_is_kohyas(count, share, seed):
    """Theirs: the files of a folder, shuffled by Python's generator; the last round(n * split) are for validation and
    the first ceil(n * (1 - split)) for training, where one may be in both."""
    files = list(range(count))
    random.seed(seed)
    random.shuffle(files)
    validated = files[len(files) - round(len(files) * share) :]
    trained = files[: math.ceil(len(files) * (1 - share))]
    found = held_back_places(count, share, seed)
    assert found == set(validated) and len(found) == held_back_count(count, share)
    left = set(files) - found
    assert left <= set(trained) and len(set(trained) - left) <= 1


def test_the_choice_is_pinned():
    assert held_back_places(5, 0.4, 3) == HELD
    assert sorted(held_back_places(20, 0.2, 42)) == [0, 3, 7, 8]
    assert [held_back_count(count, 0.1) for count in (4, 5, 6, 15, 25, 40)] == [0, 0, 1, 2, 2, 4]


def test_a_share_is_advised_where_there_are_enough():
    assert [usual_share([count]) for count in (0, 39, 40, 160, 200, 300, 5000)] == [0, 0, 0.1, 0.1, 0.08, 0.05, 0.01]
    assert usual_share([5] * 10) == 0 and usual_share([20, 20]) == 0.1, "of small folders nothing could be held back"


def test_each_folder_gives_its_share_and_regularization_none(tmp_path):
    for folder, count in (("2_hero", 10), ("1_hat", 5), ("reg/1_girl", 40)):
        for index in range(count):
            write_picture(tmp_path / folder / f"{index}.png", shift=hash((folder, index)) % 200)
    settings = DatasetSettings(
        train_data_dir=str(tmp_path), reg_data_dir=str(tmp_path / "reg"), resolution="64",
        validation_split=0.2, validation_seed=1,
    )  # fmt: skip
    events = []
    found = scan(settings, events.append)
    held = sorted(picture.where for picture in found.held_back)
    expected = {f"2_hero/{place}.png" for place in held_back_places(10, 0.2, 1)}
    assert set(held) == expected | {f"1_hat/{place}.png" for place in held_back_places(5, 0.2, 1)}
    trained = [picture for picture in found.pictures if not picture.is_regularization]
    assert len(trained) == 12 and not {picture.where for picture in trained} & set(held)
    # Regularization is balanced against what is trained: 8 pictures twice and 4 once.
    assert sum(picture.repeats for picture in found.pictures if picture.is_regularization) == 8 * 2 + 4
    said = [event for event in events if isinstance(event, Log) and event.code == "dataset.held_back"]
    assert [event.values for event in said] == [{"count": 3, "total": 15}]


def test_without_a_seed_of_its_own_it_is_the_runs(pictures):
    settings = DatasetSettings(train_data_dir=str(pictures), resolution="128", validation_split=0.4)
    for seed in (3, 4, 11):
        own = replace(settings, validation_seed=seed)
        assert scan(settings, seed=seed).held_back == scan(own, seed=99).held_back
    assert scan(settings, seed=3).held_back != scan(settings, seed=4).held_back


def test_too_small_a_share_is_said_and_all_is_refused(pictures):
    settings = DatasetSettings(train_data_dir=str(pictures), resolution="128", validation_split=0.1)
    found = scan(settings)
    assert found.held_back == [] and len(found.pictures) == 5
    assert "dataset.none_held_back" in [note.code for note in found.notes]
    with pytest.raises(UserError) as caught:
        scan(replace(settings, validation_split=1.0))
    assert (caught.value.code, caught.value.where) == ("dataset.all_held_back", "validation_split")


# ---------------------------------------------------------------------- a run


def test_nothing_is_learned_from_them_and_no_draw_is_disturbed(held, pictures, tmp_path):
    """The same bits as a run on a folder that has only the other pictures, although the loss was computed in between."""
    settings, _, result = held
    shutil.copytree(pictures, tmp_path / "data")
    for number in HELD:
        for path in (tmp_path / "data" / "1_zuna").glob(f"{number}.*"):
            path.unlink()
    alone = tiny_settings(
        Path(settings.model.checkpoint), tmp_path / "data", tmp_path / "out", save_every_n_epochs=1, network_dropout=0.2
    )
    torch.manual_seed(8)
    before = torch.get_rng_state()
    other = run(alone)
    assert equal(weights(result.lora), weights(other.lora))
    assert torch.equal(torch.get_rng_state(), before)
    assert not (tmp_path / "out" / "zuna-run" / "validation.jsonl").exists()


def test_the_loss_is_computed_before_the_first_step_and_with_every_file(held):
    settings, events, result = held
    lines = lines_of(settings)
    assert [(line["step"], line["epoch"], line["file"]) for line in lines] == [
        (0, 0, ""), (2, 1, "zuna-000001.safetensors"), (4, 2, "zuna-000002.safetensors"), (6, 3, "zuna.safetensors"),
    ]  # fmt: skip
    assert result.steps == 6, "three pictures in two buckets at batch 2"
    losses = [line["loss"] for line in lines]
    assert all(0 < loss < 3 for loss in losses) and len(set(losses)) == 4
    assert {line["key"] for line in lines} == {lines[0]["key"]} and {line["pictures"] for line in lines} == {2}
    said = [event for event in events if isinstance(event, Saved | Validated)]
    assert [type(event) for event in said] == [Validated, *[Saved, Validated] * 3]
    assert [event.loss for event in said if isinstance(event, Validated)] == losses
    found = read_validation(Path(settings.run.output_dir) / "zuna-run")
    assert [(each.step, each.loss, each.file) for each in found] == [
        (line["step"], line["loss"], line["file"]) for line in lines
    ]


def test_the_first_losses_are_pinned(held):
    """They change when noise, timesteps, latents or the loss change."""
    settings, _, _ = held
    assert [line["loss"] for line in lines_of(settings)] == pytest.approx(PINNED, rel=2e-3)


def test_the_same_weights_have_the_same_loss_whatever_the_batch(held, tmp_path):
    """The noise is the picture's own: nothing but rounding depends on what is computed together."""
    settings, _, _ = held
    checkpoint, data = Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir)
    still = {"learning_rate": "0", "text_encoder_lr": "0", "optimizer_args": ["weight_decay=0"], **SPLIT}
    for batch in (1, 4):
        changed = tiny_settings(
            checkpoint, data, tmp_path / str(batch), save_every_n_epochs=1, train_batch_size=batch, **still
        )
        run(changed)
        losses = [line["loss"] for line in lines_of(changed)]
        assert len(losses) == 4 and len(set(losses)) == 1
        assert losses[0] == pytest.approx(lines_of(settings)[0]["loss"], rel=1e-5)


@pytest.mark.parametrize("changes", [{"network_train_unet_only": True}, {"network_train_unet_only": True, "shuffle_caption": False, "caption_tag_dropout_rate": 0.0, "caption_dropout_rate": 0.0}])  # fmt: skip
def test_captions_are_those_that_were_written(held, tmp_path, changes):
    """Before the first step the loss is the same however captions vary, and whether they are encoded ahead."""
    settings, _, _ = held
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, max_train_epochs=1, **changes,
        **SPLIT,
    )  # fmt: skip
    run(changed)
    assert lines_of(changed)[0]["loss"] == pytest.approx(lines_of(settings)[0]["loss"], rel=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_a_stop_changes_no_loss(held, tmp_path, batch):
    settings, _, result = held
    again = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, save_every_n_epochs=1,
        network_dropout=0.2, **SPLIT,
    )  # fmt: skip
    assert run(again, commands=StopsAfter(batch)).outcome == "stopped"
    end = run(resumed(again))
    assert equal(weights(result.lora), weights(end.lora))
    assert lines_of(again) == lines_of(settings), "who stops does not wait for a loss"


def test_what_a_killed_run_wrote_too_much_goes(held, tmp_path):
    settings, _, _ = held
    again = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, save_every_n_epochs=1,
        network_dropout=0.2, **SPLIT,
    )  # fmt: skip
    run(again, commands=StopsAfter(3))
    path = tmp_path / "zuna-run" / "validation.jsonl"
    later = json.dumps({**lines_of(again)[-1], "step": 5, "loss": 9.9})
    path.write_text(path.read_text() + later + "\n" + later[:20])
    run(resumed(again))
    assert lines_of(again) == lines_of(settings)


def test_another_share_is_another_run(held, tmp_path):
    settings, _, _ = held
    other = resumed(settings)
    other.dataset.validation_split = 0.2
    with pytest.raises(UserError) as caught:
        run(other)
    assert (caught.value.code, caught.value.where) == ("state.other_run", "validation_split")


def test_metadata_counts_what_was_trained(held):
    _, _, result = held
    said = read_metadata(result.lora)
    assert (said["ss_num_train_images"], said["ss_num_validation_images"]) == ("3", "2")
    assert (said["ss_validation_split"], said["ss_validation_seed"]) == ("0.4", "3")
    assert json.loads(said["ss_dataset_dirs"]) == {"1_zuna": {"n_repeats": 1, "img_count": 3}}
    assert json.loads(said["ss_tag_frequency"])["1_zuna"]["zuna"] == 3
    assert said["ss_num_batches_per_epoch"] == "2"


def test_held_back_pictures_that_are_broken_end_no_run(pictures, tiny_checkpoint, tmp_path):
    shutil.copytree(pictures, tmp_path / "data")
    for number in HELD:
        path = tmp_path / "data" / "1_zuna" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:-30])
    events = []
    settings = tiny_settings(tiny_checkpoint, tmp_path / "data", tmp_path / "out", max_train_epochs=1, **SPLIT)
    result = run(settings, events.append)
    assert result.outcome == "done" and not (tmp_path / "out" / "zuna-run" / "validation.jsonl").exists()
    assert [event.code for event in events if isinstance(event, Log) and event.level == "warning"].count(
        "image.truncated"
    ) == 2
    assert read_metadata(result.lora)["ss_num_validation_images"] == "0"


def test_a_loss_that_is_not_finite_is_said_and_left_out(held, tmp_path, monkeypatch):
    settings, _, _ = held
    monkeypatch.setattr(Validation, "loss", lambda *args: math.nan)
    events = []
    changed = tiny_settings(
        Path(settings.model.checkpoint), Path(settings.dataset.train_data_dir), tmp_path, max_train_epochs=1, **SPLIT
    )
    assert run(changed, events.append).outcome == "done"
    codes = [event.code for event in events if isinstance(event, Log)]
    assert codes.count("train.validation_not_finite") == 2
    assert not (tmp_path / "zuna-run" / "validation.jsonl").exists()


# ---------------------------------------------------------------------- the number itself


class Model:
    """Answers with a constant, and notes what it was asked."""

    device = torch.device("cpu")

    def __init__(self, answer: float = 0.0) -> None:
        self.answer, self.timesteps, self.noisy, self.grad = answer, [], [], []

    def denoise(self, noisy, timesteps, cond, size_ids=None):
        self.timesteps.append(timesteps.tolist())
        self.noisy.append(noisy)
        self.grad.append(torch.is_grad_enabled())
        assert cond.context.shape[0] == len(noisy) == len(size_ids)
        return torch.full_like(noisy, self.answer)


class Network:
    def __init__(self) -> None:
        self.training = True

    def eval(self) -> None:
        self.training = False

    def train(self) -> None:
        self.training = True


def encode(captions):
    return Conditioning(torch.zeros(len(captions), 77, 8))


def entry(name: str, size=(64, 64), mask: torch.Tensor | None = None) -> CachedPicture:
    from lib_lora_train.dataset.buckets import CropPlan

    concept = Concept("1_zuna", Path("x"), 7, "zuna")
    crop = CropPlan(size, size, (0, 0, *size))
    latents = torch.full((4, size[1] // 8, size[0] // 8), 0.5)
    return CachedPicture(Picture(Path(name), name, concept, "zuna", 7, size, crop, name), latents, None, mask)


def loss_of(entries, settings: TrainSettings, model: Model, commands: Commands | None = None, events=None):
    schedule = NoiseSchedule(torch.linspace(0.99, 0.01, 1000), "epsilon", False, torch.device("cpu"))
    found = Validation(entries, settings, CheckpointInfo("m", Path("m")))
    network = Network()
    loss = found.loss(model, network, encode, schedule, (events if events is not None else []).append, commands or Commands())  # fmt: skip
    assert network.training
    return loss


def noise_of(name: str, timestep: int, seed: int, shape=(1, 4, 8, 8)) -> torch.Tensor:
    return torch.randn(shape, generator=torch_generator(seed, "validation noise", name, timestep))


def test_the_loss_by_hand():
    settings = TrainSettings()
    settings.dataset.validation_seed, settings.run.train_batch_size = 5, 3
    model = Model()
    found = loss_of([entry("a"), entry("b"), entry("c", (64, 128))], settings, model)
    each = [
        float(noise_of(name, timestep, 5, shape).square().mean())
        for name, shape in (("a", (1, 4, 8, 8)), ("b", (1, 4, 8, 8)), ("c", (1, 4, 16, 8)))
        for timestep in (200, 400, 600, 800)
    ]
    assert found == pytest.approx(sum(each) / 12, rel=1e-6)
    # One bucket at a time, at most a training batch at once, no gradients.
    assert model.timesteps == [[200, 400, 600], [800, 200, 400], [600, 800], [200, 400, 600], [800]]
    assert not any(model.grad)
    kept = torch.linspace(0.99, 0.01, 1000)[200]
    expected = kept.sqrt() * 0.5 + (1 - kept).sqrt() * noise_of("a", 200, 5)
    torch.testing.assert_close(model.noisy[0][:1], expected)


def test_it_is_weighted_and_masked_as_in_training():
    settings = TrainSettings(loss=LossSettings(min_snr_gamma=5.0))
    half = torch.zeros(1, 8, 8)
    half[:, :4] = 1
    kept = torch.linspace(0.99, 0.01, 1000)[[200, 400, 600, 800]]
    snr = kept / (1 - kept)
    each = [float((noise_of("a", t, 42) * half).square().mean()) for t in (200, 400, 600, 800)]
    expected = sum(one * float(value.clamp(max=5) / value) for one, value in zip(each, snr, strict=True)) / 4
    assert loss_of([entry("a", mask=half)], settings, Model()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0, 1000, (200, 400, 600, 800)), (0, 500, (100, 200, 300, 400)), (100, 133, (106, 113, 119, 126)), (998, 1000, (998, 998, 999, 999))],
)  # fmt: skip
def test_timesteps_are_even_between_the_first_and_the_last(first, last, expected):
    assert validation_timesteps(LossSettings(min_timestep=first, max_timestep=last)) == expected


def test_nothing_held_back_costs_nothing():
    model = Model()
    assert loss_of([], TrainSettings(), model) is None and model.timesteps == []


def test_a_stop_does_not_wait():
    commands, events = Commands(), []
    commands.stop_and_save()
    assert loss_of([entry("a")], TrainSettings(), Model(), commands, events) is None and events == []
    told = []
    loss_of([entry("a"), entry("b")], TrainSettings(), Model(), events=told)
    assert [(event.code, event.done, event.total) for event in told if isinstance(event, Stage)] == [
        ("train.stage_validating", done, 8) for done in range(8)
    ]


def test_the_key_tells_what_can_be_compared():
    def key(entries=None, **changes) -> str:
        settings = TrainSettings()
        for name, value in changes.items():
            group = next(group for group in vars(settings).values() if hasattr(group, name))
            setattr(group, name, value)
        return Validation(entries or [entry("a"), entry("b")], settings, CheckpointInfo("m", Path("m"))).key

    assert key() == key(learning_rate="1", network_dim=4, train_batch_size=4, output_name="x", shuffle_caption=True)
    others = [
        key([entry("a"), entry("c")]), key([entry("a"), entry("b", (64, 128))]), key(loss_type="l1"), key(seed=1),
        key(min_snr_gamma=5.0), key(clip_skip=2), key(validation_seed=9), key(caption_prefix="x"),
    ]  # fmt: skip
    assert len({key(), *others}) == len(others) + 1
