"""Checkpoints as the WebUI loads them, of the published structure but narrow: seconds on a processor, random weights.

Run by the WebUI's own Python: `python -m tests.webui.checkpoints WEBUI FOLDER`. FOLDER gets `nano_sd1` (35 MB),
`nano_sd2v` (predicts v) and `nano_sdxl`, each as .safetensors with the .yaml that says how narrow it is, the text
encoder's config and vocabulary in `clip/`, and in `hub/` what a full-size SD1 or SDXL asks the hub for. The weights are
the same on every machine with the same torch; what is there already is kept.

Depths, layers and names are the real models' (SDXL: 722 places for an adapter in its U-Net, 72 in each encoder), but
for the OpenCLIP towers, which have 12 layers instead of 24 and 32.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib_lora_train.host.tokens import CLIP_REPOSITORY, unpack_open_clip

Options = dict[str, Any]

SD2_CONFIG = Path("repositories/stable-diffusion-stability-ai/configs/stable-diffusion/v2-inference-v.yaml")
SDXL_CONFIG = Path("repositories/generative-models/configs/inference/sd_xl_base.yaml")
OPEN_CLIP = "ViT-B-32"  # the smallest that open_clip knows by name
OPEN_CLIP_WIDTH = 512
CLIP_WIDTH = 64
CHANNELS = 32  # the normalisations have 32 groups, so no fewer
HEAD = 16  # where the real ones are 64 wide
HUB_COMMIT = "0" * 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("webui", type=Path)
    parser.add_argument("folder", type=Path)
    logging.getLogger("sgm").setLevel(logging.ERROR)  # it tells every layer that xformers is not there
    parser.add_argument("--only", choices=sorted(MAKERS), nargs="*", default=sorted(MAKERS))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    webui = arguments.webui.resolve()
    # The WebUI's own way to find ldm and sgm, which are no packages that one could install.
    sys.argv = sys.argv[:1]
    sys.path.insert(0, str(webui))
    import modules.paths  # noqa: F401

    write_clip(folder / "clip", CLIP_WIDTH)
    hub = folder / "hub" / f"models--{CLIP_REPOSITORY.replace('/', '--')}"
    write_clip(hub / "snapshots" / HUB_COMMIT, 768)
    (hub / "refs").mkdir(exist_ok=True)
    (hub / "refs" / "main").write_text(HUB_COMMIT, encoding="utf-8")
    for seed, name in enumerate(MAKERS):
        target = folder / f"nano_{name}.safetensors"
        if name in arguments.only and not target.is_file():
            torch.manual_seed(seed)
            MAKERS[name](webui, target, folder / "clip")
            print(f"{target}: {target.stat().st_size / 2**20:.0f} MB")


def write_clip(folder: Path, width: int) -> None:
    """Config and vocabulary of CLIP's text encoder with 12 layers of this width, as the hub has them."""
    import clip

    folder.mkdir(parents=True, exist_ok=True)
    unpack_open_clip(Path(clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz"), folder)
    text = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": max(1, width // 64)}
    text |= {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "projection_dim": width, "vocab_size": 49408}
    text |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "model_type": "clip_text_model"}
    config = {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": width, "text_config": text}
    tokenizer = {"model_max_length": 77, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}
    marks = {"bos_token": "<|startoftext|>", **{f"{name}_token": "<|endoftext|>" for name in ("eos", "unk", "pad")}}
    for name, content in (
        ("config.json", config),
        ("tokenizer_config.json", tokenizer | marks),
        ("special_tokens_map.json", marks),
    ):
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def make_sd1(webui: Path, target: Path, clip_folder: Path) -> None:
    config, params = _read(webui / "configs" / "v1-inference.yaml")
    params["unet_config"]["params"] |= {"model_channels": CHANNELS, "context_dim": CLIP_WIDTH}
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = CHANNELS
    params["cond_stage_config"]["params"] = {"version": str(clip_folder)}
    parts = {
        "model.diffusion_model.": _instance(params["unet_config"]),
        "first_stage_model.": _instance(params["first_stage_config"]),
        "cond_stage_model.transformer.": _clip(clip_folder),
    }
    _write(target, config, parts)


def make_sd2v(webui: Path, target: Path, clip_folder: Path) -> None:
    config, params = _read(webui / SD2_CONFIG)
    params["unet_config"]["params"] |= {"model_channels": CHANNELS, "context_dim": OPEN_CLIP_WIDTH, "use_fp16": False}
    params["unet_config"]["params"] |= {"num_head_channels": HEAD, "use_checkpoint": False}
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = CHANNELS
    params["cond_stage_config"]["params"]["arch"] = OPEN_CLIP
    parts = {
        "model.diffusion_model.": _instance(params["unet_config"]),
        "first_stage_model.": _instance(params["first_stage_config"]),
        "cond_stage_model.model.": _open_clip(),
    }
    _write(target, config, parts)


def make_sdxl(webui: Path, target: Path, clip_folder: Path) -> None:
    config, params = _read(webui / SDXL_CONFIG)
    context = CLIP_WIDTH + OPEN_CLIP_WIDTH
    unet = params["network_config"]["params"]
    unet |= {"model_channels": CHANNELS, "context_dim": context, "num_head_channels": HEAD, "use_checkpoint": False}
    unet["adm_in_channels"] = OPEN_CLIP_WIDTH + 6 * 256  # pooled text, and six numbers of sizes
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = CHANNELS
    first, second = params["conditioner_config"]["params"]["emb_models"][:2]
    first["params"]["version"] = str(clip_folder)
    second["params"]["arch"] = OPEN_CLIP
    parts = {
        "model.diffusion_model.": _instance(params["network_config"]),
        "first_stage_model.": _instance(params["first_stage_config"]),
        "conditioner.embedders.0.transformer.": _clip(clip_folder),
        "conditioner.embedders.1.model.": _open_clip(),
    }
    _write(target, config, parts)


MAKERS: dict[str, Callable[[Path, Path, Path], None]] = {"sd1": make_sd1, "sd2v": make_sd2v, "sdxl": make_sdxl}


def _read(path: Path) -> tuple[Options, Options]:
    """A config of the WebUI's, and the parameters of its model within it."""
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(OmegaConf.load(path))
    return config, config["model"]["params"]


def _instance(config: Options) -> nn.Module:
    from ldm.util import instantiate_from_config

    return instantiate_from_config(config)


def _clip(folder: Path) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig.from_pretrained(folder))


def _open_clip() -> nn.Module:
    import open_clip

    model = open_clip.create_model(OPEN_CLIP, pretrained=None)
    del model.visual
    return model


def _write(target: Path, config: Options, parts: dict[str, nn.Module]) -> None:
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    tensors = {}
    for prefix, module in parts.items():
        _repair(module)
        for name, tensor in module.state_dict().items():
            tensors[prefix + name] = tensor.half() if tensor.is_floating_point() else tensor
    OmegaConf.save(OmegaConf.create(config), target.with_suffix(".yaml"))
    part = target.with_suffix(".part")
    save_file(tensors, part)
    part.replace(target)


@torch.no_grad()
def _repair(module: nn.Module) -> None:
    """What only training fills: layers that begin as zeros pass no gradient on, and an encoder whose last norm is
    the identity has the mean 0, by which the WebUI's emphasis divides."""
    for part in module.modules():
        if isinstance(part, (nn.LayerNorm, nn.GroupNorm)):
            part.weight.add_(0.1 * torch.randn_like(part.weight))
            part.bias.add_(0.1 * torch.randn_like(part.bias) + (0.1 if isinstance(part, nn.LayerNorm) else 0.0))
    for value in module.parameters():
        if value.dim() > 1 and not value.any():
            value.copy_(torch.randn_like(value) * 0.5 / math.sqrt(value[0].numel()))


if __name__ == "__main__":
    main()
