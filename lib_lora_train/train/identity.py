"""Whether a saved state and the settings at hand belong to the same run."""

from __future__ import annotations

from collections.abc import Sequence

from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.errors import UserError
from lib_lora_train.settings import RunSettings, TrainSettings
from lib_lora_train.train.facts import picture_digest


def identity(settings: TrainSettings, pictures: Sequence[Picture]) -> dict[str, object]:
    """Settings that must be the same after a stop, by name; `pictures` by their contents."""
    return {
        "network_dim": settings.network.network_dim,
        "network_alpha": settings.network.network_alpha,
        "optimizer_type": settings.optimizer.optimizer_type,
        "seed": settings.run.seed,
        "resolution": settings.dataset.resolution,
        "validation_split": settings.dataset.validation_split,
        "train_data_dir": picture_digest(pictures),
        "network_train_unet_only": settings.network.network_train_unet_only,
        "network_train_text_encoder_only": settings.network.network_train_text_encoder_only,
    }


def batching(run: RunSettings) -> dict[str, int]:
    """Settings that say what a batch is. They may change after a stop; the epoch then starts over."""
    return {"batch": run.train_batch_size, "accumulation": run.gradient_accumulation_steps}


def check_same_run(saved: dict[str, object], now: dict[str, object]) -> None:
    """Raises UserError("state.other_run") naming the first setting that differs, or "state.other_pictures"."""
    for name, value in now.items():
        if name in saved and saved[name] != value:
            if name == "train_data_dir":
                raise UserError("state.other_pictures", name)
            raise UserError("state.other_run", name, then=saved[name], now=value)
