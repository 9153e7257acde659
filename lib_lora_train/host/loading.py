"""A checkpoint on disk made into modules: SD1.x single files and diffusers folders, without any network call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.architecture import Architecture, from_ldm, standard
from lib_lora_train.host.base import CheckpointInfo
from lib_lora_train.host.tokens import load_tokenizer
from lib_lora_train.host.weights import (
    PICKLE_SUFFIXES,
    fill,
    folder_files,
    read_config,
    read_shapes,
    reason_of,
    sha256,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

Sources = Mapping[Path, Mapping[str, str]]
PREDICTIONS = ("epsilon", "v_prediction")
# Names of the VAE's attention in older diffusers folders, such as the first one of Stable Diffusion 1.5.
_OLD_VAE_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


@dataclass(frozen=True)
class Description:
    """What a checkpoint is and where its weights lie; nothing is loaded yet."""

    info: CheckpointInfo
    architecture: Architecture
    sources: Mapping[str, Sources]  # unet, vae, text_encoder: per file, name in the file to name in the module
    tokenizers: tuple[Path, ...]  # folders that may hold the vocabulary, the best first


@dataclass
class LoadedModel:
    """The parts of a checkpoint, frozen and in evaluation mode."""

    info: CheckpointInfo
    architecture: Architecture
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    prediction: str
    latent_scale: float
    alphas_cumprod: Tensor
    dtype: torch.dtype
    device: torch.device

    def modules(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "vae": self.vae, "text_encoder": self.text_encoder}


def describe(path: Path) -> Description:
    """Reads headers and configs. Raises UserError for what cannot be trained on, with the reason."""
    if path.is_dir():
        return _describe_folder(path)
    if not path.is_file():
        raise UserError("host.checkpoint_missing", path.name or str(path))
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise UserError("host.pickle", path.name)
    if path.suffix.lower() != ".safetensors":
        raise UserError("host.not_checkpoint", path.name)
    return _describe_file(path)


def _describe_file(path: Path) -> Description:
    shapes = read_shapes(path)
    _refuse_foreign(shapes, path.name)
    text_prefix = ldm_keys.TEXT_PREFIX
    if f"{text_prefix}embeddings.token_embedding.weight" in shapes:
        # Some merged files lack this level of names.
        renamed = {_with_text_model(key): shape for key, shape in shapes.items()}
    else:
        renamed = shapes
    model = from_ldm(renamed, read_yaml(path.with_suffix(".yaml")), path.name)
    layout = model.shape
    tables = {
        "unet": (ldm_keys.UNET_PREFIX, ldm_keys.unet_modules(layout.unet_layers, layout.unet_attention)),
        "vae": (ldm_keys.VAE_PREFIX, ldm_keys.vae_modules(layout.vae_layers, layout.vae_levels)),
    }
    sources: dict[str, Sources] = {}
    for part, (prefix, modules) in tables.items():
        inside = ldm_keys.rename((key[len(prefix) :] for key in shapes if key.startswith(prefix)), modules)
        sources[part] = {path: {prefix + key: name for key, name in inside.items()}}
    text = {key: _with_text_model(key)[len(text_prefix) :] for key in shapes if key.startswith(text_prefix)}
    sources["text_encoder"] = {path: text}
    info = CheckpointInfo(path.stem, path, "sd1")
    return Description(info, model, sources, (path.with_suffix(".tokenizer"), path.parent / "tokenizer"))


def _with_text_model(key: str) -> str:
    prefix = ldm_keys.TEXT_PREFIX
    if key.startswith(prefix) and not key.startswith(prefix + "text_model."):
        return f"{prefix}text_model.{key[len(prefix) :]}"
    return key


def _refuse_foreign(shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """One clear sentence for the files that people pick by mistake or that are not supported."""
    if any(key.startswith("conditioner.embedders.") for key in shapes):
        raise UserError("host.family", where, family="SDXL")
    if any(key.startswith("cond_stage_model.model.") for key in shapes):
        raise UserError("host.family", where, family="SD2")
    if any(key.endswith((".lora_down.weight", ".lora_up.weight")) for key in shapes):
        raise UserError("host.is_lora", where)
    conv_in = shapes.get(ldm_keys.UNET_PREFIX + "input_blocks.0.0.weight")
    if conv_in is not None and conv_in[1] != 4:
        raise UserError("host.inpainting", where, channels=conv_in[1])
    if not any(key.startswith(ldm_keys.UNET_PREFIX) for key in shapes):
        raise UserError("host.not_checkpoint", where)


def read_yaml(path: Path) -> dict[str, Any]:
    """The description beside a single file; empty when there is none. Raises UserError("host.yaml")."""
    if not path.is_file():
        return {}
    import yaml

    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError("host.yaml", path.name, reason=reason_of(error)) from error
    if not isinstance(options, dict):
        raise UserError("host.yaml", path.name, reason=type(options).__name__)
    return options


def _describe_folder(folder: Path) -> Description:
    if not (folder / "model_index.json").is_file() and not (folder / "unet").is_dir():
        raise UserError("host.not_checkpoint", folder.name)
    if (folder / "text_encoder_2").is_dir():
        raise UserError("host.family", folder.name, family="SDXL")
    defaults = standard()
    unet = read_config(folder / "unet" / "config.json")
    if unet.get("use_linear_projection"):
        raise UserError("host.family", folder.name, family="SD2")
    if unet.get("in_channels", 4) != 4:
        raise UserError("host.inpainting", folder.name, channels=unet["in_channels"])
    schedule = folder / "scheduler" / "scheduler_config.json"
    model = Architecture(
        unet=unet,
        vae=defaults.vae | read_config(folder / "vae" / "config.json"),
        text_encoder=read_config(folder / "text_encoder" / "config.json"),
        scheduler=defaults.scheduler | (read_config(schedule) if schedule.is_file() else {}),
    )
    parts = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    sources: dict[str, Sources] = {}
    for part, stem in parts.items():
        files = folder_files(folder / part, stem)
        rename = _modern_vae_name if part == "vae" else str
        sources[part] = {file: {key: rename(key) for key in read_shapes(file)} for file in files}
    return Description(CheckpointInfo(folder.name, folder, "sd1"), model, sources, (folder / "tokenizer",))


def _modern_vae_name(key: str) -> str:
    if ".attentions." in key:
        for old, new in _OLD_VAE_ATTENTION.items():
            key = key.replace(old, new)
    return key


def load(description: Description, dtype: torch.dtype, device: torch.device) -> LoadedModel:
    """Builds the modules and reads their weights, each tensor once, in `dtype`, on `device`.

    Peak memory is the model's own size plus one group of tensors. The largest part is read last, so that the
    groups of the others find room.
    """
    from diffusers import AutoencoderKL

    model, where = description.architecture, description.info.path.name
    tokenizer = load_tokenizer(description.tokenizers, model.text_encoder["vocab_size"], where)
    text_encoder, unet = hollow(model)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(model.vae)
    for name, module in (("text_encoder", text_encoder), ("vae", vae), ("unet", unet)):
        fill(module, description.sources[name], dtype, device)
    prediction = model.scheduler["prediction_type"]
    if prediction not in PREDICTIONS:
        raise UserError("host.prediction", where, value=prediction)
    return LoadedModel(
        info=description.info,
        architecture=model,
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        prediction=prediction,
        latent_scale=float(model.vae["scaling_factor"]),
        alphas_cumprod=alphas_cumprod(model.scheduler, where),
        dtype=dtype,
        device=device,
    )


def hollow(model: Architecture) -> tuple[CLIPTextModel, UNet2DConditionModel]:
    """Text encoder and U-Net without weights: they take no memory, and tell where adapters would attach."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        return (
            CLIPTextModel(CLIPTextConfig.from_dict(model.text_encoder)),
            UNet2DConditionModel.from_config(model.unet),
        )


def read_tokenizer(path: Path) -> CLIPTokenizer:
    """The vocabulary of a checkpoint, without any network. Raises UserError as `describe` and `load_tokenizer`."""
    description = describe(path)
    rows = description.architecture.text_encoder["vocab_size"]
    return load_tokenizer(description.tokenizers, rows, path.name, download=False)


def with_hash(description: Description) -> CheckpointInfo:
    """The description's info with its sha256: of the file, or of a folder's U-Net files."""
    return replace(description.info, sha256=sha256(list(description.sources["unet"])))


def alphas_cumprod(config: Mapping[str, Any], where: str) -> Tensor:
    """The noise schedule of Ho et al. (2020) as (steps,) fp32, from a scheduler's config.

    `scaled_linear` is Stable Diffusion's: linear in the square root of beta. Computed in fp32 as diffusers does.
    Raises UserError("host.schedule") for schedules that SD models do not have.
    """
    steps, kind = int(config["num_train_timesteps"]), config["beta_schedule"]
    start, end = float(config["beta_start"]), float(config["beta_end"])
    if kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    elif kind == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float32)
    else:
        raise UserError("host.schedule", where, value=kind)
    alphas = torch.cumprod(1.0 - betas, dim=0)
    if config.get("rescale_betas_zero_snr"):
        # Lin et al. (2023), algorithm 1: shift the square roots so that the last one is zero, keep the first.
        roots = alphas.sqrt()
        alphas = ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2
    return alphas
