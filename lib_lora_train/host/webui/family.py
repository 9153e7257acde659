"""Which family the loaded model belongs to, and what of its kind cannot be trained on."""

from __future__ import annotations

from torch import nn

from lib_lora_train.errors import UserError


def family_of(sd_model: nn.Module, where: str) -> str:
    """sd1, sd2 or sdxl. `where` names the checkpoint.

    Raises UserError("checkpoint.kind", "checkpoint.unknown", "host.inpainting") for the others.
    """
    if getattr(sd_model, "is_sd3", False):
        raise UserError("checkpoint.kind", where, kind="SD3")
    if getattr(sd_model, "is_ssd", False):
        raise UserError("checkpoint.kind", where, kind="SSD-1B")
    unet = getattr(getattr(sd_model, "model", None), "diffusion_model", None)
    if unet is None or not hasattr(unet, "input_blocks"):
        raise UserError("checkpoint.unknown", where)
    channels = unet.input_blocks[0][0].in_channels
    if channels != 4:
        raise UserError("host.inpainting", where, channels=channels)
    if getattr(sd_model, "is_sdxl", False):
        return _sdxl(sd_model, where)
    if sd_model.model.conditioning_key != "crossattn":
        raise UserError("checkpoint.kind", where, kind=str(sd_model.model.conditioning_key))
    encoder = getattr(sd_model.cond_stage_model, "wrapped", sd_model.cond_stage_model)
    if hasattr(encoder, "transformer") and hasattr(encoder.transformer, "text_model"):
        return "sd1"
    if hasattr(getattr(encoder, "model", None), "transformer"):
        return "sd2"
    raise UserError("checkpoint.kind", where, kind="Alt-Diffusion")


def _sdxl(sd_model: nn.Module, where: str) -> str:
    inner = [getattr(embedder, "wrapped", embedder) for embedder in sd_model.conditioner.embedders]
    if hasattr(inner[0], "model"):
        raise UserError("checkpoint.kind", where, kind="SDXL refiner")
    if len(inner) < 2 or not hasattr(inner[0], "transformer") or not hasattr(inner[1], "model"):
        raise UserError("checkpoint.unknown", where)
    return "sdxl"
