"""Sizes of an SD1.x model, read from the tensors of a single file.

Shapes tell nearly all. What they cannot tell (attention heads, groups of the normalisations, what is predicted) is
Stable Diffusion 1.5's, unless a `.yaml` beside the file says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora_train.dataset.buckets import LATENT_STEP
from lib_lora_train.errors import UserError
from lib_lora_train.host import ldm_keys

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
OURS = "lora_train"  # the part of a `.yaml` that is not for the original's classes (`ldm_yaml.py`)
_CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Architecture:
    """Constructor arguments of diffusers' and transformers' classes, and of the noise schedule."""

    unet: Config
    vae: Config
    text_encoder: Config
    scheduler: Config

    @property
    def shape(self) -> ldm_keys.Shape:
        """What the names of the weights depend on."""
        return ldm_keys.Shape(
            unet_layers=self.unet["layers_per_block"],
            unet_attention=tuple(kind.startswith("CrossAttn") for kind in self.unet["down_block_types"]),
            vae_layers=self.vae["layers_per_block"],
            vae_levels=len(self.vae["block_out_channels"]),
        )


def standard(family: str = "sd1") -> Architecture:
    """Stable Diffusion 1.5 as it was published."""
    return Architecture(**json.loads((_CONFIGS / f"{family}.json").read_text(encoding="utf-8")))


def from_ldm(shapes: Shapes, options: Config, where: str) -> Architecture:
    """Sizes of a single file from its tensors' `shapes`; `options` is the parsed `.yaml`, or empty.

    Raises UserError("host.not_checkpoint", "host.part_missing", "host.needs_yaml") naming `where`.
    """
    model = standard()
    params = _mapping(options, "model", "params")
    unet = model.unet | _unet_sizes(_part(shapes, ldm_keys.UNET_PREFIX), where)
    vae = model.vae | _vae_sizes(_part(shapes, ldm_keys.VAE_PREFIX), where)
    text = model.text_encoder | _text_sizes(_part(shapes, ldm_keys.TEXT_PREFIX + "text_model."), where)
    unet_options = _mapping(params, "unet_config", "params")
    vae_options = _mapping(params, "first_stage_config", "params", "ddconfig")
    ours = _mapping(options, OURS)
    unet["attention_head_dim"] = _number(unet_options, "num_heads", unet["attention_head_dim"], where)
    unet["sample_size"] = _number(ours, "native", LATENT_STEP * unet["sample_size"], where) // LATENT_STEP
    unet["norm_num_groups"] = _number(unet_options, "norm_num_groups", unet["norm_num_groups"], where)
    vae["norm_num_groups"] = _number(vae_options, "norm_num_groups", vae["norm_num_groups"], where)
    vae["scaling_factor"] = float(params.get("scale_factor", vae["scaling_factor"]))
    # CLIP's heads are 64 wide in every published size.
    heads = max(1, text["hidden_size"] // 64)
    text["num_attention_heads"] = _number(ours, "num_attention_heads", heads, where)
    for channels, groups in ((unet, unet["norm_num_groups"]), (vae, vae["norm_num_groups"])):
        if any(size % groups for size in channels["block_out_channels"]):
            raise UserError("host.needs_yaml", where)
    if any(size % unet["attention_head_dim"] for size in unet["block_out_channels"]):
        raise UserError("host.needs_yaml", where)
    scheduler = model.scheduler | {
        "beta_start": float(params.get("linear_start", model.scheduler["beta_start"])),
        "beta_end": float(params.get("linear_end", model.scheduler["beta_end"])),
        "prediction_type": "v_prediction" if params.get("parameterization") == "v" else "epsilon",
    }
    return Architecture(unet, vae, text, scheduler)


def _part(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _unet_sizes(shapes: Shapes, where: str) -> Config:
    if "input_blocks.0.0.weight" not in shapes:
        raise UserError("host.part_missing", where, part="U-Net")
    levels: list[list[tuple[int, bool]]] = [[]]  # per level, per layer: channels, whether it attends
    block = 1
    while True:
        if f"input_blocks.{block}.0.op.weight" in shapes:
            levels.append([])
        elif (name := f"input_blocks.{block}.0.out_layers.3.weight") in shapes:
            levels[-1].append((shapes[name][0], f"input_blocks.{block}.1.norm.weight" in shapes))
        else:
            break
        block += 1
    counts = {len(level) for level in levels}
    uniform = len(counts) == 1 and 0 not in counts and all(len(set(level)) == 1 for level in levels)
    widths = [shape[1] for key, shape in sorted(shapes.items()) if key.endswith("attn2.to_k.weight")]
    depth = [key for key in shapes if key.startswith("middle_block.1.transformer_blocks.1.")]
    if not uniform or not widths or depth:
        raise UserError("host.not_checkpoint", where)
    attention = [level[0][1] for level in levels]
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes.get("out.2.weight", (4,))[0],
        "block_out_channels": [level[0][0] for level in levels],
        "layers_per_block": counts.pop(),
        "cross_attention_dim": widths[0],
        "down_block_types": [f"{'CrossAttn' if attends else ''}DownBlock2D" for attends in attention],
        "up_block_types": [f"{'CrossAttn' if attends else ''}UpBlock2D" for attends in reversed(attention)],
    }


def _vae_sizes(shapes: Shapes, where: str) -> Config:
    channels: list[int] = []
    while (name := f"encoder.down.{len(channels)}.block.0.conv2.weight") in shapes:
        channels.append(shapes[name][0])
    if not channels or "decoder.conv_in.weight" not in shapes:
        raise UserError("host.part_missing", where, part="VAE")
    layers = 0
    while f"encoder.down.0.block.{layers}.conv2.weight" in shapes:
        layers += 1
    return {
        "block_out_channels": channels,
        "layers_per_block": layers,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
    }


def _text_sizes(shapes: Shapes, where: str) -> Config:
    embedding = shapes.get("embeddings.token_embedding.weight")
    mlp = shapes.get("encoder.layers.0.mlp.fc1.weight")
    positions = shapes.get("embeddings.position_embedding.weight")
    if embedding is None or mlp is None or positions is None:
        raise UserError("host.part_missing", where, part="text encoder")
    layers = 0
    while f"encoder.layers.{layers}.mlp.fc1.weight" in shapes:
        layers += 1
    return {
        "vocab_size": embedding[0],
        "hidden_size": embedding[1],
        "intermediate_size": mlp[0],
        "num_hidden_layers": layers,
        "max_position_embeddings": positions[0],
        "bos_token_id": embedding[0] - 2,  # CLIP's vocabulary ends with the two marks
        "eos_token_id": embedding[0] - 1,
    }


def _mapping(options: Config, *path: str) -> Config:
    for name in path:
        inner = options.get(name)
        options = inner if isinstance(inner, dict) else {}
    return options


def _number(options: Config, name: str, otherwise: int, where: str) -> int:
    value = options.get(name, otherwise)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError("host.yaml", f"{where}: {name}", reason=f"{value!r}")
    return value
