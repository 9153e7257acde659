"""A diffusers folder made into one file in the original (LDM) layout, as the WebUI loads it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_lora_train.files import atomic_path, write_bytes, write_text
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.architecture import to_yaml_options
from lib_lora_train.host.loading import Description, describe
from lib_lora_train.host.tokens import CLIP_VOCABULARY
from lib_lora_train.host.weights import open_weights


def export_single_file(folder: Path, path: Path) -> list[Path]:
    """Writes `path` (.safetensors) with the folder's weights in their own dtype, and its `.yaml`; SD1.x only.

    A vocabulary that is not CLIP's cannot stand in the file; it goes to `<name>.tokenizer/` beside it, where
    `loading.describe` finds it. Returns all files that were written. Raises UserError as `loading.describe`, and
    UserError("file.write").
    """
    import yaml

    description = describe(folder)
    tensors = ldm_tensors(description)
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), {"format": "pt"})
    options = path.with_suffix(".yaml")
    write_text(options, yaml.safe_dump(to_yaml_options(description.architecture), sort_keys=False))
    written = [path, options]
    if description.architecture.text_encoder["vocab_size"] != CLIP_VOCABULARY:
        for name in ("vocab.json", "merges.txt"):
            target = path.with_suffix(".tokenizer") / name
            write_bytes(target, (description.tokenizers[0] / name).read_bytes())
            written.append(target)
    return written


def ldm_tensors(description: Description) -> dict[str, Tensor]:
    """All weights of a folder under their LDM names; the autoencoder's attention as 1x1 convolutions."""
    layout = description.architecture.shape
    unet = ldm_keys.reverse(ldm_keys.unet_modules(layout.unet_layers, layout.unet_attention))
    vae = ldm_keys.reverse(ldm_keys.vae_modules(layout.vae_layers, layout.vae_levels))
    tensors: dict[str, Tensor] = {}
    for part, prefix, table in (
        ("unet", ldm_keys.UNET_PREFIX, unet),
        ("vae", ldm_keys.VAE_PREFIX, vae),
        ("text_encoder", ldm_keys.TEXT_PREFIX, None),
    ):
        for name, tensor in _read(description, part).items():
            renamed = name if table is None else ldm_keys.rename([name], table)[name]
            if part == "vae" and ldm_keys.is_vae_attention_weight(name) and tensor.dim() == 2:
                tensor = tensor[:, :, None, None]
            tensors[prefix + renamed] = tensor.contiguous()
    return tensors


def _read(description: Description, part: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file, names in description.sources[part].items():
        with open_weights(file) as handle:
            for name, inside in names.items():
                tensor = handle.get_tensor(name)
                if torch.is_floating_point(tensor):  # the rest are position numbers of old files
                    found[inside] = tensor
    return found
