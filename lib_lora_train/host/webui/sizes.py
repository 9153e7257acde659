"""Sizes of a U-Net in the original (LDM, SGM) layout, for all three families, from the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lib_lora_train.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
_LAYER = re.compile(r"\.1\.transformer_blocks\.(\d+)\.")


def unet_config(shapes: Shapes, heads: Callable[[int], int], where: str) -> dict[str, Any]:
    """The sizes under diffusers' names. `shapes` are named from the U-Net on (`input_blocks.0.0.weight`).

    `heads` gives the attention heads of a level from its channels. Raises
    UserError("checkpoint.unknown") naming `where` for anything that is built otherwise.
    """
    levels = _levels(shapes)
    uniform = all(level and len(set(level)) == 1 for level in levels) and len({len(level) for level in levels}) == 1
    widths = {shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")}
    if not uniform or len(widths) != 1 or "input_blocks.0.0.weight" not in shapes:
        raise UserError("checkpoint.unknown", where)
    channels = [level[0][0] for level in levels]
    depths = [level[0][1] for level in levels]
    middle = _depth(shapes, "middle_block")
    if middle == 0 or depths[-1] not in (0, middle):
        raise UserError("checkpoint.unknown", where)
    projection = next(shape for name, shape in shapes.items() if name.endswith(".1.proj_in.weight"))
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes.get("out.2.weight", (4,))[0],
        "block_out_channels": channels,
        "layers_per_block": len(levels[0]),
        "cross_attention_dim": widths.pop(),
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), middle],
        "attention_head_dim": [heads(size) for size in channels],
        "use_linear_projection": len(projection) == 2,
        "down_block_types": [f"{'CrossAttn' if depth else ''}DownBlock2D" for depth in depths],
        "up_block_types": [f"{'CrossAttn' if depth else ''}UpBlock2D" for depth in reversed(depths)],
    }


def heads_of(heads: int, head_width: int) -> Callable[[int], int]:
    """As LDM's constructor takes them: `heads` of every level, or -1 and the channels of each head."""
    return lambda channels: heads if head_width == -1 else max(1, channels // head_width)


def _levels(shapes: Shapes) -> list[list[tuple[int, int]]]:
    """Per level, per residual block: channels and transformer layers."""
    levels: list[list[tuple[int, int]]] = [[]]
    number = 1
    while True:
        block = f"input_blocks.{number}"
        if f"{block}.0.op.weight" in shapes:
            levels.append([])
        elif (name := f"{block}.0.out_layers.3.weight") in shapes:
            levels[-1].append((shapes[name][0], _depth(shapes, block)))
        else:
            return levels
        number += 1


def _depth(shapes: Shapes, block: str) -> int:
    found = (_LAYER.match(name[len(block) :]) for name in shapes if name.startswith(f"{block}."))
    return max((int(match[1]) + 1 for match in found if match), default=0)


def text_config(shapes: Shapes) -> dict[str, Any] | None:
    """Sizes of a text encoder under transformers' names, None when it is neither CLIP nor OpenCLIP.

    `shapes` are named from the encoder on (`transformer.text_model...` or `model.transformer...`).
    """
    for prefix, layers, kind in (
        ("transformer.text_model.", "encoder.layers.{}.mlp.fc1.weight", "quick_gelu"),
        ("transformer.", "encoder.layers.{}.mlp.fc1.weight", "quick_gelu"),
        ("model.", "transformer.resblocks.{}.mlp.c_fc.weight", "gelu"),
    ):
        count = 0
        while prefix + layers.format(count) in shapes:
            count += 1
        if count:
            wide, width = shapes[prefix + layers.format(0)]
            return {
                "hidden_size": width,
                "intermediate_size": wide,
                "num_hidden_layers": count,
                "hidden_act": kind,
            }
    return None
