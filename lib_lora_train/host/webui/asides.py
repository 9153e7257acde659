"""What the WebUI's pipeline changes beside the picture, and how all of it is as before afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, sd_hijack, sd_models, shared
from torch import nn

from lib_lora_train.host.webui.kept import attributes_kept, overridden, random_states_kept
from lib_lora_train.signals import Stopped

_STATE = (
    "skipped",
    "interrupted",
    "stopping_generation",
    "job",
    "job_no",
    "job_count",
    "sampling_step",
    "sampling_steps",
    "current_latent",  # the live preview is made of it by other threads, whenever the page asks
    "current_image_sampling_step",
    "textinfo",
)
# "Approx cheap" needs no file; others are downloaded on first use, and without a network the picture would fail.
_OPTIONS = {"sd_lora": "None", "sd_hypernetwork": "None", "show_progress_type": "Approx cheap"}
# The arrow button brings back the user's last prompt, not ours; and the console's bar counts the user's pictures.
_FLAGS = {"no_prompt_history": True, "disable_console_progressbars": True}


@contextmanager
def undisturbed(sd_model: nn.Module, stop: Callable[[], bool]) -> Iterator[None]:
    """Inside the block the WebUI draws with `sd_model`, whatever its settings ask for meanwhile.

    No LoRA or hypernetwork of the settings is added to a prompt. Stopped is raised from the sampling when `stop` says
    so. Afterwards random states, settings, the shared state and the model's own small changes are as before.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(random_states_kept(devices.device))
        stack.enter_context(attributes_kept(shared.state, _STATE))
        stack.enter_context(options_set(_options(sd_model)))
        stack.enter_context(overridden(vars(shared.cmd_opts), _FLAGS))
        stack.enter_context(_pinned(sd_model))
        stack.enter_context(_watched(sd_model, stop))
        stack.enter_context(_vae_kept(sd_model))
        stack.enter_context(attributes_kept(sd_model, ["alphas_cumprod"]))  # the settings can ask for another one
        stack.callback(sd_hijack.model_hijack.apply_circular, sd_hijack.model_hijack.circular_enabled)
        yield


@contextmanager
def options_set(wanted: Mapping[str, Any]) -> Iterator[None]:
    """Other settings inside the block. A setting that the user changes meanwhile stays as they have set it."""
    path = Path(shared.config_filename)
    before = _stamp(path)
    try:
        with overridden(shared.opts.data, wanted):
            yield
    finally:
        if _stamp(path) != before:
            shared.opts.save(shared.config_filename)  # somebody saved the settings, ours among them


def _options(sd_model: nn.Module) -> dict[str, Any]:
    wanted: dict[str, Any] = dict(_OPTIONS)
    if shared.opts.auto_vae_precision_bfloat16:
        # What is rounded to bfloat16 cannot be put back, what is widened to fp32 can.
        wanted |= {"auto_vae_precision_bfloat16": False, "auto_vae_precision": True}
    if sd_model.is_sdxl:
        wanted["sdxl_clip_l_skip"] = False  # trained on the last layer but one, always
    return wanted


def _stamp(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


@contextmanager
def _pinned(sd_model: nn.Module) -> Iterator[None]:
    """The pipeline asks again and again for the checkpoint of the dropdown; in this thread it has `sd_model`.

    Setting the option for that time instead would undo a choice that the user makes meanwhile, or follow it.
    """
    original = sd_models.reload_model_weights
    thread: int | None = threading.get_ident()

    def reload_model_weights(*args: Any, **kwargs: Any) -> nn.Module:
        return sd_model if threading.get_ident() == thread else original(*args, **kwargs)

    sd_models.reload_model_weights = reload_model_weights
    try:
        yield
    finally:
        thread = None  # where another extension has put its own around ours, ours only passes on from now on
        if sd_models.reload_model_weights is reload_model_weights:
            sd_models.reload_model_weights = original


@contextmanager
def _watched(sd_model: nn.Module, stop: Callable[[], bool]) -> Iterator[None]:
    """Looks at `stop` and at the page's Interrupt before every call of the U-Net."""
    own, original = vars(sd_model).get("apply_model"), sd_model.apply_model

    def apply_model(*args: Any, **kwargs: Any) -> Any:
        if stop():
            raise Stopped
        if shared.state.stopping_generation:  # "after the current picture", which in a run of one picture is now
            shared.state.interrupted = True
        return original(*args, **kwargs)

    sd_model.apply_model = apply_model
    try:
        yield
    finally:
        if vars(sd_model).get("apply_model") is apply_model:
            del sd_model.apply_model
            if own is not None:
                sd_model.apply_model = own


@contextmanager
def _vae_kept(sd_model: nn.Module) -> Iterator[None]:
    """Where the VAE's fp16 overflows the WebUI widens it for good; the weights go back to fp16 without a loss."""
    wanted, own = devices.dtype_vae, next(sd_model.first_stage_model.parameters()).dtype
    try:
        yield
    finally:
        if devices.dtype_vae != wanted:
            devices.dtype_vae = wanted
            sd_model.first_stage_model.to(own)
