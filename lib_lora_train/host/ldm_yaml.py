"""The `.yaml` beside a single file, in the form of the original v1-inference file, as the WebUI reads it."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.dataset.buckets import LATENT_STEP
from lib_lora_train.host.architecture import OURS, Architecture, Config

_LDM = "ldm.models.diffusion.ddpm.LatentDiffusion"
_UNET = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
_VAE = "ldm.models.autoencoder.AutoencoderKL"
_TEXT = "ldm.modules.encoders.modules.FrozenCLIPEmbedder"
# Ours, for what the original's classes cannot build; they are there wherever this extension is.
_NARROW = "lib_lora_train.host.webui.narrow"
_GROUPS = 32  # of the original's normalisations
_SIDE = 64  # latents that it was made for, along a side


def to_yaml_options(model: Architecture, text_folder: Path | None = None) -> Config:
    """The content of a `.yaml`. `architecture.from_ldm` reads it back.

    Models that are narrower than the original's classes can be get classes of this project instead. `text_folder`
    holds config and vocabulary of a text encoder that is not CLIP's large one; None leaves the original's.
    """
    unet, vae, text = model.unet, model.vae, model.text_encoder
    attention = model.shape.unet_attention
    unet_params: Config = {
        "image_size": 32,  # unused by the model, but asked for by its constructor
        "in_channels": unet["in_channels"],
        "out_channels": unet["out_channels"],
        "model_channels": unet["block_out_channels"][0],
        "attention_resolutions": [2**level for level, attends in reversed(list(enumerate(attention))) if attends],
        "num_res_blocks": unet["layers_per_block"],
        "channel_mult": _multiples(unet["block_out_channels"]),
        "num_heads": unet["attention_head_dim"],
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": unet["cross_attention_dim"],
        "use_checkpoint": False,
        "legacy": False,
    }
    ddconfig: Config = {
        "double_z": True,
        "z_channels": vae["latent_channels"],
        "resolution": 256,
        "in_channels": vae["in_channels"],
        "out_ch": vae["out_channels"],
        "ch": vae["block_out_channels"][0],
        "ch_mult": _multiples(vae["block_out_channels"]),
        "num_res_blocks": vae["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    for params, config in ((unet_params, unet), (ddconfig, vae)):
        if config["norm_num_groups"] != _GROUPS:
            params["norm_num_groups"] = config["norm_num_groups"]
    fractions = any(not isinstance(multiple, int) for multiple in unet_params["channel_mult"])
    narrow_unet = fractions or "norm_num_groups" in unet_params
    params: Config = {
        "linear_start": model.scheduler["beta_start"],
        "linear_end": model.scheduler["beta_end"],
        "num_timesteps_cond": 1,
        "timesteps": model.scheduler["num_train_timesteps"],
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 64,
        "channels": vae["latent_channels"],
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "scale_factor": vae["scaling_factor"],
        "use_ema": False,
        "unet_config": {"target": f"{_NARROW}.NarrowUNet" if narrow_unet else _UNET, "params": unet_params},
        "first_stage_config": {
            "target": f"{_NARROW}.NarrowAutoencoder" if "norm_num_groups" in ddconfig else _VAE,
            "params": {
                "embed_dim": vae["latent_channels"],
                "ddconfig": ddconfig,
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        "cond_stage_config": {"target": _TEXT},
    }
    if text_folder is not None:
        params["cond_stage_config"]["params"] = {"version": str(text_folder.resolve())}
    if model.scheduler["prediction_type"] == "v_prediction":
        params["parameterization"] = "v"
    ours: Config = {}
    if unet["sample_size"] != _SIDE:
        ours["native"] = LATENT_STEP * unet["sample_size"]
    if text["num_attention_heads"] != max(1, text["hidden_size"] // 64):
        ours["num_attention_heads"] = text["num_attention_heads"]
    return {"model": {"target": _LDM, "params": params}, **({OURS: ours} if ours else {})}


def _multiples(channels: list[int]) -> list[int | float]:
    return [size // channels[0] if size % channels[0] == 0 else size / channels[0] for size in channels]
