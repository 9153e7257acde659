"""Where adapters attach."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Site:
    """One place that gets an adapter.

    `key` is kohya's name without the parameter, as in `lora_unet_mid_block_attentions_0_proj_in`. `kind` is
    "linear", "conv" or "attention_slice". Slices belong to an OpenCLIP MultiheadAttention, which is `module`: `rows`
    (start, stop) of its fused `in_proj_weight`, or None for its `out_proj`, whose own forward is never called; for
    the other kinds `rows` is None. `block` names the part of the model that the site lies in, such as
    `down_blocks.1.attentions.0`; `component` is "unet" or "text_encoder".
    """

    key: str
    module: nn.Module
    kind: str
    in_features: int
    out_features: int
    component: str
    block: str = ""
    rows: tuple[int, int] | None = None
