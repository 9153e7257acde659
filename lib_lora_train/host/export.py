"""A diffusers folder made into one file in the original (LDM) layout, as the WebUI loads it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_bytes, write_json, write_text
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.hints import hints_path
from lib_lora_train.host.ldm_yaml import to_yaml_options
from lib_lora_train.host.loading import Description, describe
from lib_lora_train.host.tokens import CHUNK, CLIP_VOCABULARY, END, START, VOCABULARY_FILES
from lib_lora_train.host.weights import open_weights

_MARKS = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}


def export_single_file(folder: Path, path: Path) -> list[Path]:
    """Writes `path` (.safetensors) with the folder's weights in their own dtype, and its `.yaml`; SD1.x only.

    What cannot stand in the file lies beside it: training hints, and for a vocabulary that is not CLIP's the folder
    `<name>.tokenizer/`, which the `.yaml` names by its whole path, for the WebUI. Returns all files that were written.
    Raises UserError as `loading.describe`, "export.suffix", "export.exists" and "file.write".
    """
    import yaml

    if path.suffix.lower() != ".safetensors":
        raise UserError("export.suffix", path.name)
    if path.exists():
        raise UserError("export.exists", path.name)
    description = describe(folder)
    tensors = ldm_tensors(description)
    own_text = description.architecture.text_encoder["vocab_size"] != CLIP_VOCABULARY
    text_folder = path.with_suffix(".tokenizer") if own_text else None
    written = _write_text_parts(description, text_folder) if text_folder is not None else []
    if hints_path(folder).is_file():
        write_bytes(hints_path(path), hints_path(folder).read_bytes())
        written.append(hints_path(path))
    options = path.with_suffix(".yaml")
    write_text(options, yaml.safe_dump(to_yaml_options(description.architecture, text_folder), sort_keys=False))
    with atomic_path(path) as temporary:  # last: whoever sees it finds all the rest
        save_file(tensors, str(temporary), {"format": "pt"})
    return [path, options, *written]


def _write_text_parts(description: Description, folder: Path) -> list[Path]:
    """Vocabulary and config as transformers reads them from a folder; returns what was written."""
    for name in VOCABULARY_FILES:
        write_bytes(folder / name, (description.tokenizers[0] / name).read_bytes())
    write_json(folder / "tokenizer_config.json", {"model_max_length": CHUNK + 2, **_MARKS})
    write_json(folder / "config.json", {"model_type": "clip_text_model", **description.architecture.text_encoder})
    return [folder / name for name in (*VOCABULARY_FILES, "tokenizer_config.json", "config.json")]


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
