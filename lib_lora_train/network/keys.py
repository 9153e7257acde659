"""Kohya's key names, found by walking a model's module tree.

Two namings of the U-Net are in use: diffusers' (`down_blocks.1.attentions.0`) and LDM's, which SGM shares
(`input_blocks.4.1`). Files of SD1 and SD2 carry the first, files of SDXL the second, whichever the host's model has.
Text encoders stand in files under their Hugging Face names, also where the host holds an OpenCLIP tower.

Modules are recognised by structure, never by class: a host's Linear need not be `nn.Linear`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.network.sites import Site

UNET_PREFIX = "lora_unet"
TEXT_ENCODER_PREFIXES = {"sd1": ("lora_te",), "sd2": ("lora_te",), "sdxl": ("lora_te1", "lora_te2")}

# The order in which kohya's network lists the layers of a block, and so the order of a file's keys.
_TRANSFORMER_ORDER = ("attn1", "ff", "attn2")
_CLIP_ORDER = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
_CLIP_LAYER = re.compile(r"(?:^|\.)encoder\.layers\.(\d+)$")
_OPENCLIP_LAYER = re.compile(r"(?:^|\.)transformer\.resblocks\.(\d+)$")
_IMAGE_TOWER = re.compile(r"(?:^|\.)(?:visual|vision_model)\.")


class _Spatial(NamedTuple):
    """A spatial transformer with its name in the host's model and in both namings."""

    name: str
    diffusers: str
    ldm: str
    module: nn.Module


def find_unet_sites(unet: nn.Module, family: str) -> list[Site]:
    """The linear layers and 1x1 convolutions of the U-Net's spatial transformers, in kohya's order.

    `unet` is a diffusers UNet2DConditionModel or an LDM or SGM UNetModel, or anything built and named like one;
    `family` is sd1, sd2 or sdxl. Full-size models give 192 sites, SDXL 722. Raises UserError("network.unet_unknown")
    when the tree is neither.
    """
    walk = _diffusers_transformers if hasattr(unet, "down_blocks") else _ldm_transformers
    places = list(walk(unet))
    if family != "sdxl":  # kohya's U-Net for SD1 and SD2 declares its middle block last
        places.sort(key=lambda place: place.diffusers.startswith("mid_block"))
    sites = []
    for place in places:
        saved = place.ldm if family == "sdxl" else place.diffusers
        for inner, layer, kind in _transformer_layers(place.module):
            key = f"{UNET_PREFIX}_{saved}_{inner}".replace(".", "_")
            sites.append(_site(key, layer, kind, "unet", place.name))
    if not sites:
        raise UserError("network.unet_unknown", type(unet).__name__)
    return sites


def find_text_encoder_sites(text_encoder: nn.Module, family: str, prefix: str) -> list[Site]:
    """The attention and MLP layers of a CLIP text encoder, in kohya's order: six to a layer.

    `text_encoder` is a Hugging Face CLIP text model or an OpenCLIP tower, bare or inside the host's wrappers;
    `prefix` is one of TEXT_ENCODER_PREFIXES[family]. SD1 has 12 layers, SD2 23, SDXL 12 and 32. SD2's OpenCLIP tower
    has a 24th whose output nothing reads; it is left out, as kohya and diffusers leave it out. Raises
    UserError("network.text_encoder_unknown") when no layer is found.
    """
    layers = [item for item in text_encoder.named_modules() if not _IMAGE_TOWER.search(item[0])]
    clip = [(int(match[1]), name, module) for name, module in layers if (match := _CLIP_LAYER.search(name))]
    openclip = [(int(match[1]), name, module) for name, module in layers if (match := _OPENCLIP_LAYER.search(name))]
    if openclip and family == "sd2":
        openclip.remove(max(openclip, key=lambda item: item[0]))
    sites = []
    for number, name, layer in clip or openclip:
        parts = _clip_layers(layer) if clip else _openclip_layers(layer)
        for inner, module, kind, rows in sorted(parts, key=lambda part: _CLIP_ORDER.index(part[0])):
            key = f"{prefix}_text_model_encoder_layers_{number}_{inner}".replace(".", "_")
            sites.append(_site(key, module, kind, "text_encoder", name, rows=rows))
    if not sites:
        raise UserError("network.text_encoder_unknown", type(text_encoder).__name__)
    return sites


def unread_keys(keys: list[str], family: str, clip_skip: int = 1) -> set[str]:
    """Those of `keys` that cannot get a gradient, because the text encoder layer that is read lies below theirs.

    SD1 and SD2 read the output of the last layer but `clip_skip` - 1; SDXL always reads CLIP-L's last but one, while
    of its second encoder all layers are read, by way of the pooled output. Such adapters are saved all the same, with
    `lora_up` zero, as kohya saves them.
    """
    found = [
        (match[1], int(match[2]), key) for key in keys if (match := re.match(r"(lora_te\d?)_.*_layers_(\d+)_", key))
    ]
    unread: set[str] = set()
    for prefix in {item[0] for item in found}:
        skipped = clip_skip - 1 if family != "sdxl" else int(prefix == "lora_te1")
        read = max(number for name, number, _ in found if name == prefix) - skipped
        unread |= {key for name, number, key in found if name == prefix and number > read}
    return unread


def _diffusers_transformers(unet: nn.Module) -> Iterator[_Spatial]:
    number = 1  # LDM's input block 0 is the first convolution
    for level, block in enumerate(unet.down_blocks):
        for index in range(len(block.resnets)):
            yield from _diffusers_place(block, f"down_blocks.{level}", index, f"input_blocks.{number}.1")
            number += 1
        number += 1  # each level but the last, after which nothing is counted, ends in a down-sampler's block
    if getattr(unet, "mid_block", None) is not None:
        for index in range(len(getattr(unet.mid_block, "attentions", ()))):
            yield from _diffusers_place(unet.mid_block, "mid_block", index, f"middle_block.{2 * index + 1}")
    number = 0
    for level, block in enumerate(unet.up_blocks):
        for index in range(len(block.resnets)):
            yield from _diffusers_place(block, f"up_blocks.{level}", index, f"output_blocks.{number}.1")
            number += 1  # LDM puts the up-sampler into the same output block


def _diffusers_place(block: nn.Module, path: str, index: int, ldm: str) -> Iterator[_Spatial]:
    module = block.attentions[index] if hasattr(block, "attentions") else None
    if hasattr(module, "transformer_blocks"):
        name = f"{path}.attentions.{index}"
        yield _Spatial(name, name, ldm, module)


def _ldm_transformers(unet: nn.Module) -> Iterator[_Spatial]:
    level = index = 0
    for number, entry in enumerate(getattr(unet, "input_blocks", ())):
        if number == 0:
            continue
        if not hasattr(entry[0], "in_layers"):  # a down-sampler has a block of its own
            level, index = level + 1, 0
            continue
        yield from _ldm_place(entry, f"input_blocks.{number}", f"down_blocks.{level}.attentions.{index}")
        index += 1
    for position, module in enumerate(getattr(unet, "middle_block", ())):
        if hasattr(module, "transformer_blocks"):
            name = f"middle_block.{position}"
            yield _Spatial(name, f"mid_block.attentions.{position // 2}", name, module)
    level = index = 0
    for number, entry in enumerate(getattr(unet, "output_blocks", ())):
        yield from _ldm_place(entry, f"output_blocks.{number}", f"up_blocks.{level}.attentions.{index}")
        index += 1
        if not any(hasattr(entry[-1], mark) for mark in ("in_layers", "transformer_blocks")):  # an up-sampler
            level, index = level + 1, 0


def _ldm_place(entry: nn.Module, path: str, diffusers: str) -> Iterator[_Spatial]:
    module = entry[1] if len(entry) > 1 else None
    if hasattr(module, "transformer_blocks"):
        yield _Spatial(f"{path}.1", diffusers, f"{path}.1", module)


def _transformer_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, layer, kind) of all that is adapted in a spatial transformer, in kohya's order."""
    for part in ("proj_in", "transformer_blocks", "proj_out"):
        if part != "transformer_blocks":
            groups = [(part, module.get_submodule(part))]
        else:
            groups = [
                (f"transformer_blocks.{number}.{name}", block.get_submodule(name))
                for number, block in enumerate(module.transformer_blocks)
                for name in _TRANSFORMER_ORDER
                if hasattr(block, name)
            ]
        for path, group in groups:
            for name, layer in group.named_modules(prefix=path):
                kind = _kind(layer)
                if kind:
                    yield name, layer, kind


def _clip_layers(layer: nn.Module) -> Iterator[tuple[str, nn.Module, str, None]]:
    for name in _CLIP_ORDER:
        module = layer.get_submodule(name)
        yield name, module, _kind(module), None


def _openclip_layers(layer: nn.Module) -> Iterator[tuple[str, nn.Module, str, tuple[int, int] | None]]:
    attention = layer.attn
    width = attention.embed_dim
    for number, name in enumerate("qkv"):
        yield f"self_attn.{name}_proj", attention, "attention_slice", (number * width, (number + 1) * width)
    yield "self_attn.out_proj", attention, "attention_slice", None
    yield "mlp.fc1", layer.mlp.c_fc, _kind(layer.mlp.c_fc), None
    yield "mlp.fc2", layer.mlp.c_proj, _kind(layer.mlp.c_proj), None


def _kind(module: nn.Module) -> str:
    """linear, conv (1x1 only) or nothing."""
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return "linear"
    if hasattr(module, "in_channels") and tuple(getattr(module, "kernel_size", ())) == (1, 1):
        return "conv"
    return ""


def _site(
    key: str,
    module: nn.Module,
    kind: str,
    component: str,
    block: str,
    rows: tuple[int, int] | None = None,
) -> Site:
    if kind == "attention_slice":
        wide = tall = module.embed_dim
    elif kind == "conv":
        wide, tall = module.in_channels, module.out_channels
    else:
        wide, tall = module.in_features, module.out_features
    return Site(key, module, kind, wide, tall, component, block, rows)
