"""kohya's options that are not settings here: what becomes of each, declared.

An option is translated when it says the same in other words, ignored with a note when it only changes how fast or
with how much memory kohya's scripts run, and accepted at its neutral value alone when what it does is not offered.
Everything else is an error: an option that is silently dropped would change the result.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

ALL_BLOCKS = 1000  # more than any model has

# name: kind of its value on the command line
IGNORED: dict[str, str] = {
    "cache_latents": "flag",  # latents are always encoded once
    "cache_text_encoder_outputs": "flag",  # done whenever nothing in the captions changes
    "cache_text_encoder_outputs_to_disk": "flag",
    "skip_cache_check": "flag",
    "vae_batch_size": "value",
    "no_half_vae": "flag",  # a VAE that overflows is repeated in fp32 by itself
    "xformers": "flag",
    "sdpa": "flag",
    "mem_eff_attn": "flag",
    "torch_compile": "flag",
    "lowram": "flag",
    "highvram": "flag",
    "max_data_loader_n_workers": "value",
    "persistent_data_loader_workers": "flag",
    "ddp_timeout": "value",
    "log_prefix": "value",
    "log_with": "value",
    "console_log_level": "value",
    "console_log_simple": "flag",
    "v2": "flag",  # read from the checkpoint
    "save_state_on_train_end": "flag",  # a state is saved with every checkpoint, the last one too
    "tokenizer_cache_dir": "value",
    "metadata_title": "value",
    "metadata_author": "value",
    "metadata_description": "value",
    "metadata_license": "value",
    "metadata_tags": "value",
    "validate_every_n_epochs": "value",  # the loss on pictures held back is computed with every file that is saved
    "validate_every_n_steps": "value",
    "max_validation_steps": "value",  # and always on all of them
}

# name: (kind on the command line, values at which it does nothing)
NEUTRAL: dict[str, tuple[str, tuple[object, ...]]] = {
    "network_module": ("value", ("networks.lora",)),
    "save_model_as": ("value", ("safetensors",)),
    "caption_separator": ("value", (",",)),
    "sample_sampler": ("value", ("ddim",)),
    "no_metadata": ("flag", (False,)),
    "color_aug": ("flag", (False,)),
    "random_crop": ("flag", (False,)),
    "alpha_mask": ("flag", (False,)),
    "weighted_captions": ("flag", (False,)),
    "enable_wildcard": ("flag", (False,)),
    "secondary_separator": ("value", ("",)),
    "token_warmup_min": ("value", (1,)),
    "token_warmup_step": ("value", (0,)),
    "full_fp16": ("flag", (False,)),
    "full_bf16": ("flag", (False,)),
    "fp8_base": ("flag", (False,)),
    "scale_weight_norms": ("value", (0,)),
    "scale_v_pred_loss_like_noise_pred": ("flag", (False,)),
    "v_pred_like_loss": ("value", (0,)),
    "ip_noise_gamma": ("value", (0,)),
    "adaptive_noise_scale": ("value", (0,)),
    "noise_offset_random_strength": ("flag", (False,)),
    "ip_noise_gamma_random_strength": ("flag", (False,)),
    "vae": ("value", ("",)),
    "in_json": ("value", ("",)),
    "dataset_config": ("value", ("",)),
    "base_weights": ("list", ([],)),
    "lr_scheduler_type": ("value", ("",)),
    "lr_scheduler_args": ("list", ([],)),
    "save_n_epoch_ratio": ("value", (0,)),
    "save_last_n_steps": ("value", (0,)),
    "stop_text_encoder_training": ("value", (0,)),
    "initial_epoch": ("value", (0, 1)),
    "initial_step": ("value", (0,)),
    "skip_until_initial_step": ("flag", (False,)),
}


def _if_true(name: str, value: object) -> Callable[[object], dict[str, object]]:
    def translate(given: object) -> dict[str, object]:
        return {name: value} if _as_flag(given) else {}

    return translate


def _gradient_checkpointing(given: object) -> dict[str, object]:
    return {"checkpointed_blocks": ALL_BLOCKS if _as_flag(given) else 0}


def _network_args(given: object) -> dict[str, object]:
    """kohya takes the two dropouts of the adapter as network arguments."""
    translated: dict[str, object] = {}
    for item in given if isinstance(given, list) else [given]:
        name, _, value = str(item).partition("=")
        if name not in ("rank_dropout", "module_dropout"):
            raise UserError("settings.network_args", "network_args", argument=str(item))
        try:
            translated[name] = float(value)
        except ValueError as error:
            raise UserError("settings.number", f"network_args.{name}", value=repr(value)) from error
    return translated


# name: (kind on the command line, what it says in settings of ours)
TRANSLATED: dict[str, tuple[str, Callable[[object], dict[str, object]]]] = {
    "v_parameterization": ("flag", _if_true("prediction", "v_prediction")),
    "use_8bit_adam": ("flag", _if_true("optimizer_type", "AdamW8bit")),
    "use_lion_optimizer": ("flag", _if_true("optimizer_type", "Lion")),
    "gradient_checkpointing": ("flag", _gradient_checkpointing),
    "network_args": ("list", _network_args),
    "caption_extention": ("value", lambda given: {"caption_extension": given}),
}

# kohya's words for values of settings that are otherwise the same
VALUES: dict[str, dict[str, str]] = {
    "mixed_precision": {"no": "fp32"},
    "save_precision": {"float": "fp32"},
}

# Settings that kohya's scripts do not know.
OWN = frozenset(
    {
        "prediction",
        "dataset_repeats",
        "class_tokens",
        "checkpointed_blocks",
        "rank_dropout",
        "module_dropout",
        "sample_steps",
        "sample_cfg",
        "trigger_word",
        "scrub_metadata",
        "grid_after_training",
    }
)


def translate(name: str, value: object) -> tuple[dict[str, object], Log | None] | None:
    """What an option of kohya's says in settings of ours, with a note when it is ignored; None: not one we know.

    Raises UserError("settings.unsupported") for an option that would change the result in a way not offered here.
    """
    if name in TRANSLATED:
        return TRANSLATED[name][1](value), None
    if name in IGNORED:
        return {}, Log("settings.ignored", {"name": name})
    if name not in NEUTRAL:
        return None
    neutral = NEUTRAL[name][1]
    if value is None or any(value == item or str(value).lower() == str(item).lower() for item in neutral):
        return {}, None
    allowed = ", ".join(str(item) for item in neutral if item not in ("", [])) or "-"
    raise UserError("settings.unsupported", name, value=str(value), allowed=allowed)


def nearest(name: str, known: list[str]) -> str:
    """The known name that `name` was most likely meant to be."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _as_flag(given: object) -> bool:
    return given is True or str(given).lower() in ("true", "1", "yes")
