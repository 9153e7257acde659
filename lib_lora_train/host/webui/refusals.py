"""What the WebUI may be started with or set to that cannot be trained through, each with its sentence."""

from __future__ import annotations

from typing import Any

import torch
from modules import devices, sd_unet, shared

from lib_lora_train.errors import UserError


def check_flags() -> None:
    """What can be said before anything is loaded. Raises UserError."""
    if shared.cmd_opts.lowvram:
        raise UserError("webui.lowvram", "--lowvram")
    if devices.dtype == torch.float32 or devices.force_fp16:
        return
    if shared.cmd_opts.precision == "full":
        # Half-precision weights without autocast: the WebUI itself cannot compute with these.
        raise UserError("webui.precision_full", "--precision full")
    if devices.device.type != "cuda" or devices.cuda_no_autocast():
        raise UserError("webui.needs_no_half", "--no-half", device=devices.device.type)


def check_loaded(sd_model: Any) -> None:
    """What can be said of the model that was brought up. Raises UserError."""
    if sd_model is None:
        raise UserError("webui.load_failed")
    if devices.fp8:
        raise UserError("webui.fp8", "FP8 weight")
    if sd_unet.current_unet is not None:
        raise UserError("webui.other_unet", "SD Unet", name=sd_unet.current_unet_option.label)
