"""Short training runs on the tiny checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.settings import (
    DatasetSettings,
    ModelSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    TrainSettings,
)
from lib_lora_train.signals import Commands, ignore_events
from lib_lora_train.train.trainer import TrainResult, train

CAPTIONS = (
    "zuna, a girl, red hair, smile",
    "zuna, blue eyes, hat",
    "zuna, a boy, solo",
    "zuna, smile",
    "zuna, red hat, solo",
)
SIZES = ((128, 128), (128, 128), (128, 128), (192, 128), (128, 192))


def write_pictures(folder: Path, repeats: int = 1) -> Path:
    """Five pictures in three buckets, in kohya's folder; returns the folder above."""
    place = folder / f"{repeats}_zuna"
    place.mkdir(parents=True)
    draws = np.random.default_rng(5)
    for number, (size, caption) in enumerate(zip(SIZES, CAPTIONS, strict=True)):
        coarse = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(caption, encoding="utf-8")
    return folder


def tiny_settings(checkpoint: Path, pictures: Path, out: Path, /, **changes) -> TrainSettings:
    """Three epochs of five pictures at batch 2 (four batches an epoch), with everything random switched on.

    `changes` are settings by name, whatever their group.
    """
    settings = TrainSettings(
        model=ModelSettings(checkpoint=str(checkpoint)),
        dataset=DatasetSettings(
            train_data_dir=str(pictures),
            resolution="128",
            min_bucket_reso=64,
            max_bucket_reso=256,
            bucket_reso_steps=32,
            shuffle_caption=True,
            keep_tokens=1,
            caption_tag_dropout_rate=0.2,
            caption_dropout_rate=0.1,
            flip_aug=True,
        ),
        network=NetworkSettings(network_dim=4, network_alpha=2),
        optimizer=OptimizerSettings(learning_rate="1e-2", text_encoder_lr="5e-3"),
        run=RunSettings(
            output_dir=str(out),
            output_name="zuna",
            max_train_epochs=3,
            train_batch_size=2,
            mixed_precision="fp32",
            save_precision="fp32",
            seed=11,
        ),
    )
    for name, value in changes.items():
        groups = [group for group in vars(settings).values() if hasattr(group, name)]
        assert len(groups) == 1, f"{name} is in {len(groups)} groups"
        setattr(groups[0], name, value)
    return settings


def tiny_host(folder: Path) -> EmbeddedHost:
    return EmbeddedHost(HostPaths(projects=folder, loras=folder, models=folder))


class StopsAfter(Commands):
    """Stops and saves (or pauses) when it was asked `batches` times, that is after so many batches."""

    def __init__(self, batches: int, action: str = "stop_and_save") -> None:
        super().__init__()
        self._left = batches
        self._action = action

    def take_save(self) -> bool:
        self._left -= 1
        if self._left == 0:
            getattr(self, self._action)()
        return super().take_save()


def run(settings: TrainSettings, events=ignore_events, commands: Commands | None = None) -> TrainResult:
    """Trains with a host of its own, so that nothing is shared between runs."""
    torch.set_num_threads(1)
    return train(tiny_host(Path(settings.run.output_dir)), settings, events, commands)


def resumed(settings: TrainSettings) -> TrainSettings:
    """The same settings, going on from the run's state."""
    again = copy.deepcopy(settings)
    again.run.resume = str(Path(settings.run.output_dir) / f"{settings.run.output_name}-run")
    return again


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
