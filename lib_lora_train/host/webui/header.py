"""A checkpoint's header and the `.yaml` beside it, which together say how it is built; no weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.architecture import OURS
from lib_lora_train.host.loading import read_yaml
from lib_lora_train.host.webui.sizes import Shapes
from lib_lora_train.host.weights import PICKLE_SUFFIXES, read_shapes

_LIMITS = (64, 4096)  # px; what lies outside is no resolution that anything was made for
_UNETS = ("unet_config", "network_config")  # where LDM and SGM describe it
_USUAL_HEADS = {"sd1": (8, -1), "sd2": (-1, 64), "sdxl": (-1, 64)}  # number of all levels, or width of each
# What the files of models hold that the WebUI loads too, and that cannot be trained on.
_KINDS = (
    ("model.diffusion_model.x_embedder.", "SD3"),
    ("model.diffusion_model.double_blocks.", "Flux"),
    ("depth_model.", "depth"),
    ("embedder.", "unCLIP"),
    ("conditioner.embedders.0.model.", "SDXL refiner"),
    ("cond_stage_model.roberta.", "Alt-Diffusion"),
)
_FAMILIES = (
    ("conditioner.embedders.1.model.", "sdxl"),
    ("cond_stage_model.model.", "sd2"),
    ("cond_stage_model.transformer.", "sd1"),
)
_SDXL_MIDDLE = "middle_block.1.transformer_blocks.0.attn1.to_q.weight"


@dataclass(frozen=True)
class Header:
    """Names and shapes of a file's tensors, and the parsed `.yaml`, empty without one."""

    shapes: Shapes
    options: Mapping[str, Any]

    @staticmethod
    def beside(path: Path, shapes: Shapes) -> Header:
        """For tensors that are known otherwise. Raises UserError("host.yaml")."""
        return Header(shapes, read_yaml(path.with_suffix(".yaml")))

    @property
    def prediction(self) -> str:
        """epsilon or v_prediction; empty when nothing says it."""
        params = _mapping(self.options, "model", "params")
        if not params:
            return ""
        scaling = _mapping(params, "denoiser_config", "params", "scaling_config").get("target", "")
        velocity = params.get("parameterization") == "v" or str(scaling).endswith(".VScaling")
        return "v_prediction" if velocity else "epsilon"

    @property
    def native(self) -> int:
        """The side in pixels that the model was made for; 0 when nothing says it."""
        side = _mapping(self.options, OURS).get("native")
        return side if type(side) is int and _LIMITS[0] <= side <= _LIMITS[1] else 0

    def heads(self, family: str) -> tuple[int, int]:
        """Attention heads of every level, or -1 and the channels of each head."""
        params = _mapping(self.options, "model", "params")
        for name in _UNETS:
            unet = _mapping(params, name, "params")
            found = tuple(unet.get(key, -1) for key in ("num_heads", "num_head_channels"))
            if any(type(count) is int and count > 0 for count in found):
                return found[0], found[1]
        return _USUAL_HEADS[family]


def read_header(path: Path) -> Header:
    """Raises UserError for a file that is not there, is pickled, is no safetensors file, or has a `.yaml` that cannot
    be read."""
    if not path.is_file():
        raise UserError("host.checkpoint_missing", path.name)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise UserError("checkpoint.pickle", path.name)
    if path.suffix.lower() != ".safetensors":
        raise UserError("checkpoint.unknown", path.name)
    return Header.beside(path, read_shapes(path))


def family_in(shapes: Shapes, where: str) -> str:
    """sd1, sd2 or sdxl, from the names in a file. Raises UserError with a sentence for every other kind."""
    if any(name.endswith((".lora_down.weight", ".lora_up.weight", ".lora_A.weight")) for name in shapes):
        raise UserError("host.is_lora", where)
    for prefix, kind in _KINDS:
        if any(name.startswith(prefix) for name in shapes):
            raise UserError("checkpoint.kind", where, kind=kind)
    conv_in = shapes.get(f"{ldm_keys.UNET_PREFIX}input_blocks.0.0.weight")
    if conv_in is None:
        raise UserError("checkpoint.unknown", where)
    if conv_in[1] != 4:
        raise UserError("host.inpainting", where, channels=conv_in[1])
    family = next((family for prefix, family in _FAMILIES if any(name.startswith(prefix) for name in shapes)), "")
    if not family:
        raise UserError("host.part_missing", where, part="text encoder")
    if family == "sdxl" and ldm_keys.UNET_PREFIX + _SDXL_MIDDLE not in shapes:
        raise UserError("checkpoint.kind", where, kind="SSD-1B")
    return family


def _mapping(options: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        inner = options.get(name)
        options = inner if isinstance(inner, dict) else {}
    return options
