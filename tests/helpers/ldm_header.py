"""Checkpoints of the published sizes that are all header: names and shapes are there, the weights are a hole in the file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def sd1(**changes: object) -> Shapes:
    unet = _unet(**{"channels": (320, 640, 1280, 1280), "depths": (1, 1, 1, 0), "context": 768, **changes})
    return unet | _clip("cond_stage_model.transformer.text_model.", 12, 768) | _vae()


def sd2(**changes: object) -> Shapes:
    sizes = {"channels": (320, 640, 1280, 1280), "depths": (1, 1, 1, 0), "context": 1024, "linear": True, **changes}
    return _unet(**sizes) | _openclip("cond_stage_model.model.", 24, 1024) | _vae()


def sdxl(**changes: object) -> Shapes:
    sizes = {"channels": (320, 640, 1280), "depths": (0, 2, 10), "context": 2048, "linear": True, "vector": 2816}
    first = _clip("conditioner.embedders.0.transformer.text_model.", 12, 768)
    return _unet(**{**sizes, **changes}) | first | _openclip("conditioner.embedders.1.model.", 32, 1280) | _vae()


def write_header(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A safetensors file of these shapes that takes no room on the disk."""
    place, entries = 0, {}
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + place)
    return path


def _layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A weight and its bias."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _unet(
    channels: tuple[int, ...],
    depths: tuple[int, ...],
    context: int,
    linear: bool = False,
    vector: int = 0,
    entry: int = 4,
    middle: int = 0,
) -> Shapes:
    first = channels[0]
    wide = 4 * first
    found = dict(_layer("input_blocks.0.0", first, entry, 3, 3))
    found |= dict([*_layer("time_embed.0", wide, first), *_layer("time_embed.2", wide, wide)])
    if vector:
        found |= dict([*_layer("label_emb.0.0", wide, vector), *_layer("label_emb.0.2", wide, wide)])
    before, number, skips = first, 1, [first]
    for level, width in enumerate(channels):
        for _ in range(2):
            found |= _place(f"input_blocks.{number}", before, width, wide, depths[level], context, linear)
            before, number = width, number + 1
            skips.append(width)
        if level < len(channels) - 1:
            found |= dict(_layer(f"input_blocks.{number}.0.op", width, width, 3, 3))
            number += 1
            skips.append(width)
    found |= _residual("middle_block.0", before, before, wide) | _residual("middle_block.2", before, before, wide)
    found |= _transformer("middle_block.1", before, middle or depths[-1] or 1, context, linear)
    number = 0
    for level in reversed(range(len(channels))):
        for index in range(3):
            width, name = channels[level], f"output_blocks.{number}"
            found |= _place(name, before + skips.pop(), width, wide, depths[level], context, linear)
            if index == 2 and level:
                found |= dict(_layer(f"{name}.{2 if depths[level] else 1}.conv", width, width, 3, 3))
            before, number = width, number + 1
    found |= dict([*_layer("out.0", first), *_layer("out.2", 4, first, 3, 3)])
    return {f"model.diffusion_model.{name}": shape for name, shape in found.items()}


def _place(name: str, before: int, width: int, wide: int, depth: int, context: int, linear: bool) -> Shapes:
    attention = _transformer(f"{name}.1", width, depth, context, linear) if depth else {}
    return _residual(f"{name}.0", before, width, wide) | attention


def _residual(name: str, before: int, width: int, wide: int) -> Shapes:
    found = [
        *_layer(f"{name}.in_layers.0", before),
        *_layer(f"{name}.in_layers.2", width, before, 3, 3),
        *_layer(f"{name}.emb_layers.1", width, wide),
        *_layer(f"{name}.out_layers.0", width),
        *_layer(f"{name}.out_layers.3", width, width, 3, 3),
    ]
    if before != width:
        found += _layer(f"{name}.skip_connection", width, before, 1, 1)
    return dict(found)


def _transformer(name: str, width: int, depth: int, context: int, linear: bool) -> Shapes:
    kernel = () if linear else (1, 1)
    found = [*_layer(f"{name}.norm", width)]
    found += [each for part in ("proj_in", "proj_out") for each in _layer(f"{name}.{part}", width, width, *kernel)]
    for number in range(depth):
        layer = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", context)):
            found.append((f"{layer}.{attention}.to_q.weight", (width, width)))
            found += [(f"{layer}.{attention}.to_{part}.weight", (width, source)) for part in "kv"]
            found += _layer(f"{layer}.{attention}.to_out.0", width, width)
        found += [each for norm in (1, 2, 3) for each in _layer(f"{layer}.norm{norm}", width)]
        found += [*_layer(f"{layer}.ff.net.0.proj", 8 * width, width), *_layer(f"{layer}.ff.net.2", width, 4 * width)]
    return dict(found)


def _clip(prefix: str, layers: int, width: int) -> Shapes:
    found = [("embeddings.token_embedding.weight", (49408, width)), ("embeddings.position_ids", (1, 77))]
    found += [("embeddings.position_embedding.weight", (77, width)), *_layer("final_layer_norm", width)]
    for number in range(layers):
        layer = f"encoder.layers.{number}"
        found += [each for norm in (1, 2) for each in _layer(f"{layer}.layer_norm{norm}", width)]
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found += _layer(f"{layer}.self_attn.{part}", width, width)
        found += [*_layer(f"{layer}.mlp.fc1", 4 * width, width), *_layer(f"{layer}.mlp.fc2", width, 4 * width)]
    return {prefix + name: shape for name, shape in found}


def _openclip(prefix: str, layers: int, width: int) -> Shapes:
    found = [("token_embedding.weight", (49408, width)), ("positional_embedding", (77, width))]
    found += [("text_projection", (width, width)), *_layer("ln_final", width)]
    for number in range(layers):
        layer = f"transformer.resblocks.{number}"
        found += [each for norm in (1, 2) for each in _layer(f"{layer}.ln_{norm}", width)]
        found += [(f"{layer}.attn.in_proj_weight", (3 * width, width)), (f"{layer}.attn.in_proj_bias", (3 * width,))]
        found += _layer(f"{layer}.attn.out_proj", width, width)
        found += [*_layer(f"{layer}.mlp.c_fc", 4 * width, width), *_layer(f"{layer}.mlp.c_proj", width, 4 * width)]
    return {prefix + name: shape for name, shape in found}


def _vae() -> Shapes:
    """A single layer of it: nothing is read from its shapes."""
    return {f"first_stage_model.{name}": shape for name, shape in _layer("quant_conv", 8, 8, 1, 1)}
