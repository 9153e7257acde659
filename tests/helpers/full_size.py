"""A Stable Diffusion 1.5 of full size with random weights, as a single file in the original layout.

For measuring time and memory, and for runs beside another trainer: 1.07 billion numbers, 4.3 GB in fp32. Run as
`python -m tests.helpers.full_size PATH [fp16|fp32]`.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lib_lora_train.draws import torch_generator
from lib_lora_train.files import atomic_path, write_json, write_text
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.architecture import standard
from lib_lora_train.host.tokens import CLIP_VOCABULARY
from tests.helpers.tiny import byte_symbols

_CODES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def full_size_shapes() -> dict[str, tuple[int, ...]]:
    """Names in the original layout, and shapes, of all weights of Stable Diffusion 1.5."""
    model = standard()
    layout = model.shape
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(model.unet)
        vae = AutoencoderKL.from_config(model.vae)
        text_encoder = CLIPTextModel(CLIPTextConfig(**model.text_encoder))
    unet_table = ldm_keys.reverse(ldm_keys.unet_modules(layout.unet_layers, layout.unet_attention))
    vae_table = ldm_keys.reverse(ldm_keys.vae_modules(layout.vae_layers, layout.vae_levels))
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in unet.state_dict().items():
        shapes[ldm_keys.UNET_PREFIX + ldm_keys.rename([name], unet_table)[name]] = tuple(tensor.shape)
    for name, tensor in vae.state_dict().items():
        shape = tuple(tensor.shape)
        if ldm_keys.is_vae_attention_weight(name):
            shape = (*shape, 1, 1)
        shapes[ldm_keys.VAE_PREFIX + ldm_keys.rename([name], vae_table)[name]] = shape
    for name, tensor in text_encoder.state_dict().items():
        shapes[ldm_keys.TEXT_PREFIX + name] = tuple(tensor.shape)
    return shapes


def random_weight(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """A weight of sensible size in fp32: signals neither vanish nor explode on their way through the model."""
    generator = torch_generator(seed, "weight", name)
    if name == ldm_keys.VAE_PREFIX + "quant_conv.bias":
        mean, log_variance = torch.zeros(shape[0] // 2), torch.full((shape[0] // 2,), -8.0)
        return torch.cat([mean, log_variance])  # a narrow posterior, as a trained autoencoder's
    if len(shape) == 1:
        # Normalisations scale by one; all else of one axis is a bias.
        is_scale = name.endswith(".weight")
        return torch.empty(shape).normal_(1.0 if is_scale else 0.0, 0.02, generator=generator)
    if "embedding.weight" in name:
        return torch.empty(shape).normal_(0.0, 0.5, generator=generator)
    bound = math.sqrt(3.0 / math.prod(shape[1:]))  # keeps the variance of the input
    weight = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    if name == ldm_keys.VAE_PREFIX + "quant_conv.weight":
        weight[shape[0] // 2 :] *= 0.1
    if name.endswith(("proj_out.weight", "out_layers.3.weight", "conv2.weight", "out_proj.weight", "fc2.weight")):
        weight *= 0.3  # what is added to a residual stream stays smaller than the stream
    return weight


def write_made_up_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt in CLIP's format and of its size, so that nothing needs to be downloaded.

    The merges join bytes two by two: texts fall into other tokens than CLIP's, but into as valid ones.
    """
    symbols = byte_symbols()
    pairs = [(first, second) for second in (*(s + "</w>" for s in symbols), *symbols) for first in symbols]
    merges = pairs[: CLIP_VOCABULARY - 512 - 2]
    words = [*symbols, *(s + "</w>" for s in symbols), *(first + second for first, second in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {word: index for index, word in enumerate(words)})
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")


def write_random_sd15(
    path: Path, dtype: torch.dtype = torch.float32, seed: int = 0, made_up_vocabulary: bool = False
) -> Path:
    """Writes the file one tensor at a time; the same seed gives the same numbers. Returns `path`.

    With `made_up_vocabulary` the file loads without CLIP's own: one is written to `<name>.tokenizer/`.
    """
    if made_up_vocabulary:
        write_made_up_vocabulary(path.with_suffix(".tokenizer"))
    shapes = full_size_shapes()
    width = torch.empty((), dtype=dtype).element_size()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + width * math.prod(shape)
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            weight = random_weight(name, shape, seed).to(dtype)
            handle.write(memoryview(weight.reshape(-1).view(torch.uint8).numpy()))
    return path


if __name__ == "__main__":
    kinds = {"fp32": torch.float32, "fp16": torch.float16}
    write_random_sd15(Path(sys.argv[1]), kinds[sys.argv[2] if len(sys.argv) > 2 else "fp32"], made_up_vocabulary=True)
