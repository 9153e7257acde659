"""Names of weights: the original Stable Diffusion (LDM) layout against that of diffusers, for SD1.x, both ways.

A single file holds three parts under their own prefixes. Inside a part the two layouts differ in module names only
(and in the shape of the autoencoder's attention weights), so a table of module pairs says everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."

_UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"nin_shortcut": "conv_shortcut"}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


@dataclass(frozen=True)
class Shape:
    """What the names depend on: how many levels and layers, and which levels of the U-Net attend to the text."""

    unet_layers: int
    unet_attention: tuple[bool, ...]
    vae_layers: int
    vae_levels: int


def _joined(ldm: str, diffusers: str, inner: Mapping[str, str]) -> dict[str, str]:
    return {f"{ldm}.{ours}": f"{diffusers}.{theirs}" for ours, theirs in inner.items()}


def unet_modules(layers: int, attention: tuple[bool, ...]) -> dict[str, str]:
    """LDM module name to diffusers module name. `attention` has one entry per level, highest resolution first."""
    pairs = dict(_UNET_ENDS)
    last = len(attention) - 1
    for level, attends in enumerate(attention):
        for layer in range(layers):
            block = 1 + level * (layers + 1) + layer
            pairs |= _joined(f"input_blocks.{block}.0", f"down_blocks.{level}.resnets.{layer}", _UNET_RESNET)
            if attends:
                pairs[f"input_blocks.{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
        if level < last:
            pairs[f"input_blocks.{(level + 1) * (layers + 1)}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
    pairs |= _joined("middle_block.0", "mid_block.resnets.0", _UNET_RESNET)
    pairs["middle_block.1"] = "mid_block.attentions.0"
    pairs |= _joined("middle_block.2", "mid_block.resnets.1", _UNET_RESNET)
    for level, attends in enumerate(reversed(attention)):
        for layer in range(layers + 1):
            block = level * (layers + 1) + layer
            pairs |= _joined(f"output_blocks.{block}.0", f"up_blocks.{level}.resnets.{layer}", _UNET_RESNET)
            if attends:
                pairs[f"output_blocks.{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
        if level < last:
            # The upsampler stands behind the attention where there is one.
            name = f"output_blocks.{level * (layers + 1) + layers}.{2 if attends else 1}.conv"
            pairs[name] = f"up_blocks.{level}.upsamplers.0.conv"
    return pairs


def vae_modules(layers: int, levels: int) -> dict[str, str]:
    """LDM module name to diffusers module name of the KL autoencoder."""
    pairs = {name: name for name in ("quant_conv", "post_quant_conv")}
    for side in ("encoder", "decoder"):
        pairs |= {f"{side}.conv_in": f"{side}.conv_in", f"{side}.conv_out": f"{side}.conv_out"}
        pairs[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        pairs |= _joined(f"{side}.mid.block_1", f"{side}.mid_block.resnets.0", _VAE_RESNET)
        pairs |= _joined(f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0", _VAE_ATTENTION)
        pairs |= _joined(f"{side}.mid.block_2", f"{side}.mid_block.resnets.1", _VAE_RESNET)
    for level in range(levels):
        down, mirrored = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        for layer in range(layers):
            pairs |= _joined(f"encoder.down.{level}.block.{layer}", f"{down}.resnets.{layer}", _VAE_RESNET)
        for layer in range(layers + 1):
            # LDM counts the decoder's levels by resolution, diffusers by order of computation.
            pairs |= _joined(f"decoder.up.{level}.block.{layer}", f"{mirrored}.resnets.{layer}", _VAE_RESNET)
        if level < levels - 1:
            pairs[f"encoder.down.{level}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        if level > 0:
            pairs[f"decoder.up.{level}.upsample.conv"] = f"{mirrored}.upsamplers.0.conv"
    return pairs


def rename(keys: Iterable[str], modules: Mapping[str, str]) -> dict[str, str]:
    """Old key to new key, by the longest module name that leads each key. Keys of no known module are left out."""
    renamed = {}
    for key in keys:
        parts = key.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:cut])
            if module in modules:
                renamed[key] = ".".join([modules[module], *parts[cut:]])
                break
    return renamed


def reverse(modules: Mapping[str, str]) -> dict[str, str]:
    """The table read from right to left."""
    return {theirs: ours for ours, theirs in modules.items()}


def is_vae_attention_weight(diffusers_key: str) -> bool:
    """Whether a VAE weight is a 1x1 convolution (4 axes) in LDM and a linear layer (2 axes) in diffusers."""
    return ".attentions." in diffusers_key and diffusers_key.endswith(".weight") and ".group_norm." not in diffusers_key
