"""What can be wrong with settings before anything is loaded, and how much strangers may ask for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib_lora_train.dataset.buckets import Size
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.runs.estimate import count_steps, showings
from lib_lora_train.runs.managed import as_prompts, without
from lib_lora_train.runs.naming import find_lora
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import parse_resolution, validate
from lib_lora_train.train.schedules import RateSchedule

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host


@dataclass(frozen=True)
class RunLimits:
    """The most that somebody without a login may ask of a server that others can reach."""

    steps: int = 10_000
    side: int = 1024  # px, of training and of samples
    batch: int = 8  # times accumulation
    rank: int = 128
    samples: int = 8  # prompts
    sample_steps: int = 50


def check_trainable(host: Host, project: Project, settings: TrainSettings, shown: Counter[Size] | None = None) -> int:
    """Refuses what would end a run before its first step; returns how many steps it will take.

    `shown` is what `showings` gives, where that is known already. Raises UserError naming the setting, or "run.no_pictures".
    """
    from lib_lora_train.train.loss import check_loss_settings

    network = settings.network
    validate(settings)
    check_loss_settings(settings.loss)
    RateSchedule(settings.optimizer, total_steps=1)  # raises for a rate that cannot be read
    if network.network_train_unet_only and network.network_train_text_encoder_only:
        raise UserError("train.nothing_trained", "network_train_text_encoder_only")
    if network.network_weights:
        find_lora(host, network.network_weights)
    read_prompts(settings)
    host.describe(settings.model.checkpoint)
    shown = showings(project, settings) if shown is None else shown
    if not shown:
        raise UserError("run.no_pictures", project.title)
    return count_steps(shown, settings)


def read_prompts(settings: TrainSettings) -> list:
    """The sample prompts of settings, as text. Raises UserError("train.sample_prompt")."""
    from lib_lora_train.train.sampling import read_sample_prompts

    copied = without(settings, frozenset())
    copied.run.sample_prompts = as_prompts(copied.run.sample_prompts)
    return read_sample_prompts(copied)


def check_limits(settings: TrainSettings, limits: RunLimits, steps: int) -> None:
    """Raises UserError("run.limit") naming the first setting that asks for more than a stranger may have."""
    run, prompts = settings.run, read_prompts(settings)
    sides = parse_resolution(settings.dataset.resolution)
    asked = {
        "max_train_epochs" if run.max_train_epochs else "max_train_steps": (steps, limits.steps),
        "resolution": (max(sides), limits.side),
        "train_batch_size": (run.train_batch_size * run.gradient_accumulation_steps, limits.batch),
        "network_dim": (settings.network.network_dim, limits.rank),
        "sample_prompts": (len(prompts), limits.samples),
    }
    for prompt in prompts:
        asked["sample_steps"] = max(asked.get("sample_steps", (0, 0)), (prompt.steps, limits.sample_steps))
        largest = max(prompt.width, prompt.height)
        asked["sample_prompts --w --h"] = max(asked.get("sample_prompts --w --h", (0, 0)), (largest, limits.side))
    for name, (value, limit) in asked.items():
        if value > limit:
            raise UserError("run.limit", name, value=value, limit=limit)
