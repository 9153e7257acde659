"""Encoding once: what goes into the VAE, what is drawn from it, what is kept on disk, and when the VAE fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib_lora_train.dataset.buckets import CropPlan
from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.latents import LatentCache, cache_latents
from lib_lora_train.dataset.pixels import fit
from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from lib_lora_train.signals import Commands, Log, Stage, Stopped
from tests.helpers.pictures import encode_stub, gradient, write_picture

SCALE = 0.18215


class Recorder:
    """An encoder that notes what it is given, and fails in half precision on pictures whose mean is above a limit."""

    def __init__(self, limit: float = 2.0, full_limit: float = 2.0) -> None:
        self.batches: list[torch.Tensor] = []
        self.precise: list[bool] = []
        self.limit, self.full_limit = limit, full_limit

    def __call__(self, pixels, full_precision=False):
        self.batches.append(pixels)
        self.precise.append(full_precision)
        mean, std = encode_stub(pixels)
        bad = pixels.mean(dim=(1, 2, 3)) > (self.full_limit if full_precision else self.limit)
        mean[bad] = float("nan")
        return mean, std


def folder_of(tmp_path: Path, count: int = 3, size: tuple[int, int] = (96, 64)) -> Path:
    folder = tmp_path / "data" / "2_cat"
    for index in range(count):
        write_picture(folder / f"{index}.png", "cat", size, shift=index + 1)
    return folder.parent


def run(
    root: Path, encode=encode_stub, disk: Path | None = None, seed: int = 1, key: str = "vae", **values
) -> LatentCache:
    events = values.pop("events", lambda event: None)
    settings = DatasetSettings(train_data_dir=str(root), **{"resolution": "64", **values})
    return cache_latents(scan(settings), settings, encode, SCALE, seed, key, disk, events)


def same(one: LatentCache, other: LatentCache) -> bool:
    pairs = zip(one.entries, other.entries, strict=True)
    return all(
        torch.equal(a.latents, b.latents) and (a.flipped is None or torch.equal(a.flipped, b.flipped)) for a, b in pairs
    )


def test_pixels_are_scaled_cropped_and_in_range():
    pixels = fit(gradient(192, 128), CropPlan((64, 64), (96, 64), (16, 0, 80, 64)))
    assert (pixels.shape, pixels.dtype) == ((3, 64, 64), torch.float32)
    assert pixels.is_contiguous()
    assert -1 <= pixels.min() < -0.9 < 0.9 < pixels.max() <= 1
    column = pixels[0].mean(dim=0)  # red runs along x from -1 to 1 over the 96 columns
    expected = torch.linspace(-1, 1, 96)[16:80]
    assert (column - expected).abs().max() < 0.02


def test_whole_picture_keeps_its_values_exactly():
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = fit(Image.fromarray(values), CropPlan((64, 64), (64, 64), (0, 0, 64, 64)))
    restored = ((pixels.permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.array_equal(restored, values)
    assert fit(Image.new("RGB", (64, 64), "white"), CropPlan((64, 64), (64, 64), (0, 0, 64, 64))).unique().tolist() == [
        1.0
    ]


def test_a_latent_is_a_sample_of_the_posterior(tmp_path):
    recorder = Recorder()
    cache = run(folder_of(tmp_path, 1), recorder, flip_aug=True)
    entry = cache.entries[0]
    for flipped, (latents, pixels) in enumerate(zip((entry.latents, entry.flipped), recorder.batches, strict=True)):
        mean, std = encode_stub(pixels)
        noise = torch.randn((4, 8, 8), generator=torch_generator(1, "posterior", entry.picture.content_hash, flipped))
        assert torch.equal(latents, (mean[0] + std[0] * noise) * SCALE)
    assert torch.equal(recorder.batches[1], recorder.batches[0].flip(-1))


def test_noise_depends_on_seed_and_picture_alone(tmp_path):
    root = folder_of(tmp_path)
    first = run(root)
    torch.manual_seed(5)
    write_picture(root / "2_cat" / "00.png", "cat", shift=77)  # sorts before "1.png"
    second = run(root)
    by_name = {entry.picture.path.name: entry.latents for entry in second.entries}
    assert all(torch.equal(entry.latents, by_name[entry.picture.path.name]) for entry in first.entries)
    assert not torch.equal(run(root, seed=2).entries[0].latents, second.entries[0].latents)


def test_batches_hold_one_bucket_and_few_pictures(tmp_path):
    root = folder_of(tmp_path, 6)
    for index in range(3):
        write_picture(root / "2_cat" / f"tall{index}.png", "cat", (64, 256), shift=50 + index)
    recorder = Recorder()
    cache = run(root, recorder, min_bucket_reso=32, bucket_reso_steps=32, max_bucket_reso=128)
    assert sorted(tuple(batch.shape) for batch in recorder.batches) == [
        (2, 3, 64, 64), (3, 3, 128, 32), (4, 3, 64, 64),
    ]  # fmt: skip
    assert [entry.picture.path.name for entry in cache.entries] == [f"{n}.png" for n in range(6)] + [
        f"tall{n}.png" for n in range(3)
    ]
    assert all(entry.latents.shape[1:] == (entry.bucket[1] // 8, entry.bucket[0] // 8) for entry in cache.entries)


def test_disk_keeps_what_memory_has(tmp_path):
    root, disk = folder_of(tmp_path), tmp_path / "disk"
    (root / "masks" / "2_cat").mkdir(parents=True)
    Image.new("L", (96, 64), 128).save(root / "masks" / "2_cat" / "0.png")
    values = {"flip_aug": True, "masked_loss": True}
    memory = run(root, **values)
    first = run(root, disk=disk, **values)
    assert len(list(disk.iterdir())) == 6
    recorder = Recorder()
    second = run(root, recorder, disk, **values)
    assert recorder.batches == []
    assert same(memory, first)
    assert same(first, second)
    assert [entry.mask is None for entry in second.entries] == [False, True, True]
    assert torch.equal(first.entries[0].mask, second.entries[0].mask)
    assert not same(second, run(root, disk=disk, seed=9, **values))  # the sample is the run's, not the file's


@pytest.mark.parametrize("change", ["content", "bucket", "vae", "mask", "flip"])
def test_the_key_covers_all_that_matters(tmp_path, change):
    root, disk = folder_of(tmp_path, 1), tmp_path / "disk"
    mask = root / "masks" / "2_cat" / "0.png"
    mask.parent.mkdir(parents=True)
    Image.new("L", (96, 64), 200).save(mask)
    run(root, disk=disk, masked_loss=True)
    values = {"masked_loss": True}
    if change == "content":
        write_picture(root / "2_cat" / "0.png", "cat", shift=99)
    elif change == "mask":
        Image.new("L", (96, 64), 100).save(mask)
    elif change == "flip":
        values["flip_aug"] = True
    elif change == "bucket":
        values["resolution"] = "128"
    recorder = Recorder()
    run(root, recorder, disk, key="other" if change == "vae" else "vae", **values)
    assert len(recorder.batches) == (2 if change == "flip" else 1)


@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "swapped", "nan", "huge"])
def test_damaged_files_are_made_anew(tmp_path, damage):
    root, disk = folder_of(tmp_path, 2), tmp_path / "disk"
    good = run(root, disk=disk)
    one, other = sorted(disk.iterdir())
    whole = one.read_bytes()
    if damage == "nan":
        at = len(whole) - 400
        one.write_bytes(whole[:at] + b"\x00\x00\xc0\x7f" + whole[at + 4 :])
    else:
        one.write_bytes(
            {
                "cut": whole[:-7],
                "empty": b"",
                "junk": b"\xff" * 500,
                "swapped": other.read_bytes(),
                "huge": whole + b"\x00" * 1_000_000,
            }[damage]
        )
    events = []
    recorder = Recorder()
    assert same(good, run(root, recorder, disk, events=events.append))
    assert [tuple(batch.shape) for batch in recorder.batches] == [(1, 3, 64, 64)]
    assert [event.code for event in events if isinstance(event, Log)] == ["latents.stored_damaged"]
    assert one.read_bytes() == whole


def test_a_disk_that_cannot_be_written_does_not_stop_the_run(tmp_path):
    root = folder_of(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    events = []
    assert same(run(root), run(root, disk=blocked / "disk", events=events.append))
    assert [event.code for event in events if isinstance(event, Log)] == ["latents.not_kept"]


def test_non_finite_latents_are_tried_again_in_full_precision(tmp_path):
    root = folder_of(tmp_path)
    write_picture(root / "2_cat" / "white.png", "cat", shift=1)
    Image.new("RGB", (96, 64), "white").save(root / "2_cat" / "white.png")
    events = []
    recorder = Recorder(limit=0.9)
    cache = run(root, recorder, events=events.append)
    assert recorder.precise == [False, True]
    assert recorder.batches[1].shape[0] == 1
    assert all(entry.latents.isfinite().all() for entry in cache.entries)
    logs = [event for event in events if isinstance(event, Log)]
    assert [(log.code, log.values["where"], log.level) for log in logs] == [
        ("latents.full_precision", "2_cat/white.png", "warning")
    ]


def test_still_non_finite_names_the_file(tmp_path):
    root = folder_of(tmp_path)
    Image.new("RGB", (96, 64), "white").save(root / "2_cat" / "1.png")
    with pytest.raises(UserError) as caught:
        run(root, Recorder(limit=0.9, full_limit=0.9))
    assert (caught.value.code, caught.value.where) == ("latents.not_finite", "2_cat/1.png")


def test_a_picture_that_breaks_late_is_left_out_and_said(tmp_path):
    root = folder_of(tmp_path)
    path = root / "2_cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    events = []
    cache = run(root, events=events.append)
    assert [entry.picture.path.name for entry in cache.entries] == ["0.png", "2.png"]
    assert [(problem.code, problem.where) for problem in cache.problems] == [("image.truncated", "2_cat/1.png")]
    assert [(event.code, event.level) for event in events if isinstance(event, Log)] == [("image.truncated", "warning")]


def test_regularization_is_balanced_again_when_training_pictures_break(tmp_path):
    root = folder_of(tmp_path)
    for index in range(2):
        write_picture(tmp_path / "reg" / "1_animal" / f"{index}.png", shift=80 + index)
    path = root / "2_cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    cache = run(root, reg_data_dir=str(tmp_path / "reg"))
    assert [entry.picture.repeats for entry in cache.entries] == [2, 2, 2, 2]


def test_all_broken(tmp_path):
    root = folder_of(tmp_path, 1)
    path = root / "2_cat" / "0.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError) as caught:
        run(root)
    assert (caught.value.code, caught.value.values["first"]) == ("dataset.all_broken", "2_cat/0.png")


def test_a_picture_changed_since_the_scan_is_planned_anew(tmp_path):
    root = folder_of(tmp_path, 2)
    settings = DatasetSettings(train_data_dir=str(root), resolution="64", bucket_reso_steps=32, min_bucket_reso=32)
    found = scan(settings)
    write_picture(root / "2_cat" / "0.png", "cat", (40, 160))
    cache = cache_latents(found, settings, encode_stub, SCALE, 1, "vae")
    assert [entry.bucket for entry in cache.entries] == [(32, 128), found.pictures[1].crop.bucket]
    assert cache.entries[0].picture.size == (40, 160)


def test_progress_ends_at_all_and_stop_is_obeyed(tmp_path):
    root = folder_of(tmp_path, 5)
    events = []
    run(root, events=events.append)
    stages = [event for event in events if isinstance(event, Stage)]
    assert (stages[-1].done, stages[-1].total) == (5, 5)
    assert [stage.done for stage in stages] == sorted(stage.done for stage in stages)
    commands = Commands()
    settings = DatasetSettings(train_data_dir=str(root), resolution="64")
    found = scan(settings)

    def encode(pixels, full_precision=False):
        commands.stop()
        return encode_stub(pixels)

    with pytest.raises(Stopped):
        cache_latents(found, settings, encode, SCALE, 1, "vae", commands=commands)


def test_size_ids_follow_the_crop_and_the_mirror(tmp_path):
    entry = run(folder_of(tmp_path, 1, (99, 64)), flip_aug=True).entries[0]
    assert entry.picture.crop == CropPlan((64, 64), (99, 64), (17, 0, 81, 64))
    assert entry.size_ids(False) == (64, 99, 0, 17, 64, 64)
    assert entry.size_ids(True) == (64, 99, 0, 18, 64, 64)


def test_with_a_real_vae(tmp_path, tiny_checkpoint):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(tiny_checkpoint, subfolder="vae")

    def encode(pixels, full_precision=False):
        posterior = vae.encode(pixels).latent_dist
        return posterior.mean, posterior.std

    cache = run(folder_of(tmp_path, 2), encode, tmp_path / "disk", flip_aug=True)
    again = run(tmp_path / "data", Recorder(limit=-9, full_limit=-9), tmp_path / "disk", flip_aug=True)
    assert same(cache, again)
    for entry in cache.entries:
        assert entry.latents.shape == entry.flipped.shape == (4, 8, 8)
        assert not entry.latents.requires_grad
        assert not torch.equal(entry.flipped, entry.latents.flip(-1))  # pixels are mirrored, not latents
