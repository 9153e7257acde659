"""Called within the WebUI by tests/webui/test_webui_guard.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from modules import sd_hijack, sd_unet, shared
from modules.hypernetworks.hypernetwork import Hypernetwork


def hooked() -> bool:
    """Whether parts of the model are moved by the hooks of --medvram."""
    return any(
        getattr(hook, "__name__", "") == "send_me_to_gpu"
        for module in shared.sd_model.modules()
        for hook in module._forward_pre_hooks.values()
    ) and {"encode", "decode"} <= set(vars(shared.sd_model.first_stage_model))


def put_on() -> dict[str, Any]:
    """As a prompt with a hypernetwork and a picture with tiling leave the WebUI."""
    attentions = [
        module
        for module in shared.sd_model.model.diffusion_model.modules()
        if type(module).__name__ == "CrossAttention"
    ]
    sizes = sorted({module.to_k.in_features for module in attentions})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = Hypernetwork("tests", enable_sizes=sizes, layer_structure=[1, 2, 1], weight_init="KaimingNormal")
    shared.loaded_hypernetworks.append(made)
    sd_hijack.model_hijack.apply_circular(True)
    return is_on()


def is_on() -> dict[str, Any]:
    return {
        "hypernetworks": len(shared.loaded_hypernetworks),
        "tiling": sd_hijack.model_hijack.circular_enabled,
        "attention": sd_hijack.current_optimizer.name,
    }


def take_off() -> dict[str, Any]:
    shared.loaded_hypernetworks.clear()
    sd_hijack.model_hijack.apply_circular(False)
    return is_on()


def other_unet(on: bool) -> None:
    """As an extension with a U-Net of its own leaves the WebUI."""
    sd_unet.current_unet = SimpleNamespace() if on else None
    sd_unet.current_unet_option = SimpleNamespace(label="Tests") if on else None


def forget_the_job() -> None:
    """As the WebUI does at the end of any button that needs no lock."""
    shared.state.job, shared.state.job_count = "", 0
