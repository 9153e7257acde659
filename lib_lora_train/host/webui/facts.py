"""What can be known of a checkpoint of any of the three families: from its header, or from the model that is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.host import ldm_keys
from lib_lora_train.host.base import CheckpointFacts, CheckpointInfo
from lib_lora_train.host.hints import read_hints
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.host.webui.header import Header, family_in, read_header
from lib_lora_train.host.webui.sizes import Shapes, heads_of, text_config, unet_config

_NATIVE = {"sd1": 512, "sd2": 768, "sdxl": 1024}
_NATIVE_BASE = 512  # px; of SD2's base model, which predicts noise
_TEXT = {"sd1": "cond_stage_model.", "sd2": "cond_stage_model.", "sdxl": "conditioner.embedders."}
_WRAPPER = ".wrapped"  # levels of names that the WebUI puts between


def read_facts(info: CheckpointInfo, sd_model: nn.Module | None = None) -> CheckpointFacts:
    """Facts of a checkpoint. `sd_model` is the model that the WebUI has loaded, whichever file it is of.

    A file that is not loaded is known by its header and by the `.yaml` beside it. SD2 files do not say what they
    predict; without either it is taken to be v, as most do. Raises UserError for what cannot be trained on, as
    `header.read_header`, `family.family_of` and `sizes.unet_config`.
    """
    where = info.path.name
    if sd_model is not None and not is_of(sd_model, info):
        sd_model = None
    if sd_model is None:
        header = read_header(info.path)
        family = family_in(header.shapes, where)
        shapes, heads = header.shapes, heads_of(*header.heads(family))
        prediction = header.prediction or ("v_prediction" if family == "sd2" else "epsilon")
        native = header.native
    else:
        family = family_of(sd_model, where)
        unet = sd_model.model.diffusion_model
        shapes, heads = _live_shapes(sd_model), heads_of(unet.num_heads, unet.num_head_channels)
        prediction = "v_prediction" if sd_model.parameterization == "v" else "epsilon"
        native = Header.beside(info.path, shapes).native
    usual = _NATIVE_BASE if family == "sd2" and prediction == "epsilon" else _NATIVE[family]
    return CheckpointFacts(
        info=CheckpointInfo(info.name, info.path, family, info.sha256),
        family=family,
        prediction=prediction,
        native=native or usual,
        unet_config=unet_config(inside(shapes, ldm_keys.UNET_PREFIX), heads, where),
        text_config=_text_config(shapes, family, where),
        parameters={
            "unet": _count(shapes, ldm_keys.UNET_PREFIX),
            "text_encoder": _count(shapes, _TEXT[family]),
            "vae": _count(shapes, ldm_keys.VAE_PREFIX),
        },
        hints=read_hints(info.path),
    )


def is_of(sd_model: nn.Module, info: CheckpointInfo) -> bool:
    """Whether the loaded model was read from that file."""
    loaded = getattr(sd_model, "sd_checkpoint_info", None)
    return loaded is not None and info.path.resolve() == type(info.path)(loaded.filename).resolve()


def inside(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """Those below `prefix`, under their names from there on."""
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def _live_shapes(sd_model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name.replace(_WRAPPER, ""): tuple(weight.shape) for name, weight in sd_model.named_parameters()}


def _text_config(shapes: Shapes, family: str, where: str) -> Mapping[str, Any]:
    """Of SDXL the first encoder's sizes, with the second one's under `text_encoder_2`.

    Raises UserError("host.part_missing").
    """
    below = inside(shapes, _TEXT[family])
    if family != "sdxl":
        found = text_config(below)
    else:
        first, second = (text_config(inside(below, f"{number}.")) for number in (0, 1))
        found = None if first is None or second is None else {**first, "text_encoder_2": second}
    if found is None:
        raise UserError("host.part_missing", where, part="text encoder")
    if family == "sd2":
        found["num_hidden_layers"] -= 1  # nothing reads the last layer's output; transformers' conversion lacks it
    return found


def _count(shapes: Shapes, prefix: str) -> int:
    """Parameters below `prefix`. Position numbers, which older files carry, are none."""
    names = (name for name in shapes if name.startswith(prefix) and not name.endswith(".position_ids"))
    return sum(math.prod(shapes[name]) for name in names)
