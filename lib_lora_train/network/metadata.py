"""What a LoRA file says of itself: kohya's ss_* entries and the modelspec entries, all of them text.

The WebUI takes alias, hash and model family from them, kohya's tools rank and alpha, model sites tags and base model.
Names and formats are those of sd-scripts' train_network.py; ModelSpec 1.0.1 is Stability AI's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath

from lib_lora_train import __version__
from lib_lora_train.settings.tables import TrainSettings

# family: (ss_base_model_version, modelspec architecture), for epsilon and for v prediction
_FAMILIES = {
    "sd1": (("sd_v1", "stable-diffusion-v1"), ("sd_v1_v", "stable-diffusion-v1")),
    "sd2": (("sd_v2", "stable-diffusion-v2-512"), ("sd_v2_v", "stable-diffusion-v2-768-v")),
    "sdxl": (("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"), ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base")),
}
_SGM = "https://github.com/Stability-AI/generative-models"
# Options of kohya's that this trainer does not have, at the values that mean so; readers expect to see them.
_OFF = {
    "ss_max_validation_steps": None,
    "ss_validate_every_n_epochs": None,
    "ss_validate_every_n_steps": None,
    "ss_resize_interpolation": None,
    "ss_huber_scale": 1.0,
    "ss_lowram": False,
    "ss_full_fp16": False,
    "ss_fp8_base": False,
    "ss_fp8_base_unet": False,
    "ss_adaptive_noise_scale": None,
    "ss_noise_offset_random_strength": False,
    "ss_ip_noise_gamma": None,
    "ss_ip_noise_gamma_random_strength": False,
    "ss_scale_weight_norms": None,
    "ss_face_crop_aug_range": None,
    "ss_color_aug": False,
    "ss_random_crop": False,
}
_PRECISION = {"fp32": "no"}


@dataclass(frozen=True)
class FolderFacts:
    """A folder of training pictures: its name without path, and its tags in lower case with their number."""

    name: str
    repeats: int
    images: int
    tags: Mapping[str, int] = field(default_factory=dict)
    is_reg: bool = False


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run when a file is written.

    Counts of pictures include repeats. `buckets` is the number of showings by (width, height), `optimizer` the name
    with its arguments, `checkpoint` the file or folder name, with `checkpoint_hash` and `checkpoint_sha256` as
    `checkpoint_hashes` computes them or empty. Times are Unix times. `dim` and `alpha` are None when adapters differ.
    """

    settings: TrainSettings
    output_name: str  # the file's stem, different for every file
    family: str
    prediction: str
    session_id: int
    started_at: float
    finished_at: float
    resolution: tuple[int, int]
    dim: int | None
    alpha: float | None
    train_images: int
    reg_images: int
    batches_per_epoch: int
    total_epochs: int
    total_steps: int
    step: int
    epoch: int
    optimizer: str
    gradient_checkpointing: bool = False
    validation_images: int = 0  # held back, without repeats
    processes: int = 1
    folders: tuple[FolderFacts, ...] = ()
    buckets: Mapping[tuple[int, int], int] = field(default_factory=dict)
    mean_aspect_error: float = 0.0
    checkpoint: str = ""
    checkpoint_hash: str = ""
    checkpoint_sha256: str = ""


def build_metadata(facts: RunFacts) -> dict[str, str]:
    """All entries but the hashes of the file itself, which `files.save_lora` adds.

    With `scrub_metadata` in the settings, names of folders and tags are left out.
    """
    values: dict[str, object] = {
        **_of_the_run(facts),
        **_of_the_settings(facts.settings),
        **_of_the_data(facts),
        **_OFF,
    }
    extra = _network_arguments(facts.settings)
    if extra:
        values["ss_network_args"] = json.dumps(extra)
    if facts.checkpoint:
        values["ss_sd_model_name"] = base_name(facts.checkpoint)
    if facts.checkpoint_hash:
        values["ss_sd_model_hash"] = facts.checkpoint_hash
    if facts.checkpoint_sha256:
        values["ss_new_sd_model_hash"] = facts.checkpoint_sha256
    if facts.settings.run.scrub_metadata:
        for key in ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency"):
            del values[key]
    return {key: str(value) for key, value in {**values, **_modelspec(facts)}.items()}


def checkpoint_hashes(path: Path, sha256: str = "") -> tuple[str, str]:
    """The WebUI's old hash (8 digits of SHA-256 over 64 KiB at one MiB) and the SHA-256 of a checkpoint file.

    `sha256` spares the reading where it is known. Both are empty for a folder. Raises OSError.
    """
    if path.is_dir():
        return "", ""
    with path.open("rb") as handle:
        handle.seek(0x100000)
        short = hashlib.sha256(handle.read(0x10000)).hexdigest()[:8]
        if not sha256:
            handle.seek(0)
            digest = hashlib.sha256()
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
            sha256 = digest.hexdigest()
    return short, sha256


def base_name(path: str) -> str:
    """The last part of a path of any system: absolute paths never go into a file."""
    return PureWindowsPath(PurePosixPath(path).name).name


def _of_the_run(facts: RunFacts) -> dict[str, object]:
    run = facts.settings.run
    version, _ = _FAMILIES[facts.family][facts.prediction == "v_prediction"]
    return {
        "ss_session_id": facts.session_id,
        "ss_training_started_at": facts.started_at,
        "ss_training_finished_at": facts.finished_at,
        "ss_output_name": facts.output_name,
        "ss_num_train_images": facts.train_images,
        "ss_num_reg_images": facts.reg_images,
        "ss_num_validation_images": facts.validation_images,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
        "ss_num_epochs": facts.total_epochs,
        "ss_max_train_steps": facts.total_steps,
        "ss_steps": facts.step,
        "ss_epoch": facts.epoch,
        "ss_network_module": "networks.lora",
        "ss_network_dim": facts.dim,
        "ss_network_alpha": facts.alpha,
        "ss_gradient_checkpointing": facts.gradient_checkpointing,
        "ss_total_batch_size": run.train_batch_size * run.gradient_accumulation_steps * facts.processes,
        "ss_v2": facts.family == "sd2",
        "ss_base_model_version": version,
        "ss_optimizer": facts.optimizer,
    }


def _of_the_settings(settings: TrainSettings) -> dict[str, object]:
    dataset, optimizer, loss, run = settings.dataset, settings.optimizer, settings.loss, settings.run
    return {
        "ss_learning_rate": _rate(optimizer.learning_rate),
        "ss_unet_lr": _rate(optimizer.unet_lr),
        "ss_text_encoder_lr": _rate(optimizer.text_encoder_lr),
        "ss_lr_warmup_steps": optimizer.lr_warmup_steps,
        "ss_lr_scheduler": optimizer.lr_scheduler,
        "ss_max_grad_norm": optimizer.max_grad_norm,
        "ss_network_dropout": settings.network.network_dropout or None,
        "ss_gradient_accumulation_steps": run.gradient_accumulation_steps,
        "ss_mixed_precision": _PRECISION.get(run.mixed_precision, run.mixed_precision),
        "ss_seed": run.seed,
        "ss_training_comment": run.training_comment or None,
        # kohya writes None where clip skip is not given, and readers show that as 1
        "ss_clip_skip": settings.model.clip_skip if settings.model.clip_skip > 1 else None,
        "ss_max_token_length": settings.model.max_token_length if settings.model.max_token_length > 75 else None,
        "ss_cache_latents": True,
        "ss_noise_offset": loss.noise_offset or None,
        "ss_multires_noise_iterations": loss.multires_noise_iterations or None,
        "ss_multires_noise_discount": loss.multires_noise_discount,
        "ss_zero_terminal_snr": loss.zero_terminal_snr,
        "ss_min_snr_gamma": loss.min_snr_gamma or None,
        "ss_debiased_estimation": loss.debiased_estimation_loss,
        "ss_prior_loss_weight": loss.prior_loss_weight,
        "ss_loss_type": loss.loss_type,
        "ss_huber_schedule": loss.huber_schedule,
        "ss_huber_c": loss.huber_c,
        "ss_caption_dropout_rate": dataset.caption_dropout_rate,
        "ss_caption_dropout_every_n_epochs": dataset.caption_dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": dataset.caption_tag_dropout_rate,
        "ss_batch_size_per_device": run.train_batch_size,
        "ss_flip_aug": dataset.flip_aug,
        "ss_shuffle_caption": dataset.shuffle_caption,
        "ss_keep_tokens": dataset.keep_tokens,
        "ss_validation_split": dataset.validation_split,
        "ss_validation_seed": dataset.validation_seed,
        "ss_enable_bucket": dataset.enable_bucket,
        "ss_bucket_no_upscale": dataset.bucket_no_upscale,
        "ss_min_bucket_reso": dataset.min_bucket_reso,
        "ss_max_bucket_reso": dataset.max_bucket_reso,
    }


def _of_the_data(facts: RunFacts) -> dict[str, object]:
    folders = [(base_name(folder.name), folder) for folder in facts.folders]
    counted = {name: {"n_repeats": folder.repeats, "img_count": folder.images} for name, folder in folders}
    regular = {name for name, folder in folders if folder.is_reg}
    numbered = enumerate(sorted(facts.buckets.items()))
    buckets = {str(n): {"resolution": list(size), "count": count} for n, (size, count) in numbered}
    return {
        "ss_resolution": str(facts.resolution),
        "ss_dataset_dirs": json.dumps({name: counts for name, counts in counted.items() if name not in regular}),
        "ss_reg_dataset_dirs": json.dumps({name: counts for name, counts in counted.items() if name in regular}),
        "ss_tag_frequency": json.dumps({name: dict(folder.tags) for name, folder in folders}),
        "ss_bucket_info": json.dumps({"buckets": buckets, "mean_img_ar_error": facts.mean_aspect_error}),
    }


def _rate(text: str) -> float | str | None:
    """A number as kohya writes it ("0.0001"); a rate with steps stays as the user wrote it."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _network_arguments(settings: TrainSettings) -> dict[str, str]:
    """What kohya's users pass by --network_args, as text."""
    network = settings.network
    chosen = {"rank_dropout": network.rank_dropout, "module_dropout": network.module_dropout}
    return {name: str(value) for name, value in chosen.items() if value}


def _modelspec(facts: RunFacts) -> dict[str, object]:
    loss, run = facts.settings.loss, facts.settings.run
    _, architecture = _FAMILIES[facts.family][facts.prediction == "v_prediction"]
    spec: dict[str, object] = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": _SGM if facts.family == "sdxl" else "diffusers",
        "modelspec.implementation_version": f"lib_lora_train/{__version__}",
        "modelspec.title": facts.output_name,
        "modelspec.resolution": f"{facts.resolution[0]}x{facts.resolution[1]}",
        "modelspec.date": datetime.fromtimestamp(int(facts.finished_at), timezone.utc).isoformat(),
        "modelspec.prediction_type": "v" if facts.prediction == "v_prediction" else "epsilon",
    }
    if facts.settings.model.clip_skip > 1:
        spec["modelspec.encoder_layer"] = facts.settings.model.clip_skip
    if (loss.min_timestep, loss.max_timestep) != (0, 1000):
        spec["modelspec.timestep_range"] = f"{loss.min_timestep},{loss.max_timestep}"
    if run.trigger_word:
        spec["modelspec.trigger_phrase"] = run.trigger_word
    return spec
