"""The blocks of an LDM or SGM U-Net that can be computed again, under the names that the memory estimate uses."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def recomputed_blocks(unet: nn.Module) -> dict[str, str]:
    """diffusers' name to the name in `unet`, in forward order: residual blocks and spatial transformers.

    Where any transformer has several layers, as SDXL's have, each layer is a block of its own.
    """
    fine = any(len(getattr(module, "transformer_blocks", ())) > 1 for module in unet.modules())
    found: dict[str, str] = {}
    for diffusers, ldm, module in _parts(unet):
        if not hasattr(module, "transformer_blocks") or not fine:
            found[diffusers] = ldm
        else:
            for number in range(len(module.transformer_blocks)):
                found[f"{diffusers}.transformer_blocks.{number}"] = f"{ldm}.transformer_blocks.{number}"
    return found


def _parts(unet: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    level = index = 0
    for number, entry in enumerate(unet.input_blocks):
        if number == 0:
            continue  # the first convolution
        if not hasattr(entry[0], "in_layers"):  # a down-sampler has a block of its own
            level, index = level + 1, 0
            continue
        yield from _block(entry, f"down_blocks.{level}", index, f"input_blocks.{number}")
        index += 1
    counts = {"resnets": 0, "attentions": 0}
    for position, module in enumerate(unet.middle_block):
        kind = "attentions" if hasattr(module, "transformer_blocks") else "resnets"
        yield f"mid_block.{kind}.{counts[kind]}", f"middle_block.{position}", module
        counts[kind] += 1
    level = index = 0
    for number, entry in enumerate(unet.output_blocks):
        yield from _block(entry, f"up_blocks.{level}", index, f"output_blocks.{number}")
        index += 1
        if not any(hasattr(entry[-1], mark) for mark in ("in_layers", "transformer_blocks")):  # an up-sampler
            level, index = level + 1, 0


def _block(entry: nn.Module, diffusers: str, index: int, ldm: str) -> Iterator[tuple[str, str, nn.Module]]:
    yield f"{diffusers}.resnets.{index}", f"{ldm}.0", entry[0]
    if len(entry) > 1 and hasattr(entry[1], "transformer_blocks"):
        yield f"{diffusers}.attentions.{index}", f"{ldm}.1", entry[1]
