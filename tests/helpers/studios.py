"""Projects with pictures, and hosts to train them on, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.project import Project, create_project
from lib_lora_train.settings import TrainSettings
from tests.helpers.runs import CAPTIONS, SIZES, tiny_settings

CHECKPOINT = "tiny"


def studio_host(folder: Path, checkpoint: Path, name: str = CHECKPOINT) -> EmbeddedHost:
    """A host on the processor that lists one checkpoint."""
    paths = HostPaths(projects=folder / "projects", loras=folder / "loras", models=folder / "models")
    return EmbeddedHost(paths, device="cpu", named={name: checkpoint})


def filled_project(root: Path, title: str = "Zuna", repeats: int = 1, owner: str = "") -> Project:
    """A project with five pictures in three buckets, with captions."""
    project = create_project(root, title, "character", "zuna", owner)
    write_concept(project, f"dataset/{repeats}_zuna")
    return project


def write_concept(project: Project, folder: str, count: int = len(SIZES)) -> Path:
    """Pictures with captions in a folder of the project, different in every folder."""
    place = project.path(folder)
    place.mkdir(parents=True)
    draws = np.random.default_rng(len(folder))
    for number in range(count):
        coarse = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        size, caption = SIZES[number % len(SIZES)], CAPTIONS[number % len(CAPTIONS)]
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text(caption, encoding="utf-8")
    return place


def run_settings(**changes: object) -> TrainSettings:
    """Settings of a run of twelve steps in three epochs on the tiny checkpoint, as a form would hold them; no grid
    follows it."""
    settings = tiny_settings(Path(CHECKPOINT), Path(), Path(), save_every_n_epochs=1)
    settings.run.output_dir = settings.run.output_name = settings.dataset.train_data_dir = ""
    settings.run.grid_after_training = False
    for name, value in changes.items():
        groups = [group for group in vars(settings).values() if hasattr(group, name)]
        setattr(groups[0], name, value)
    return settings
