"""Called within the WebUI by tests/webui/test_webui_grid.py: pictures of a grid, and what they cost."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networks
from modules import infotext_utils, processing, sd_models, shared, ui_extra_networks

from lib_lora_train import extension
from lib_lora_train.errors import UserError
from lib_lora_train.host.base import GenerateRequest
from lib_lora_train.network.files import load_lora, save_lora
from tests.webui.inside.drawing import USUAL


def split(path: str, unet: str, text: str) -> dict[str, int]:
    """Writes a file's U-Net and text encoder parts as files of their own."""
    import torch

    file, counts = load_lora(Path(path)), {}
    for name, target, wanted in (("unet", unet, True), ("text", text, False)):
        part = {key: value for key, value in file.tensors.items() if key.startswith("lora_unet") == wanted}
        save_lora(Path(target), part, {}, torch.float32)
        counts[name] = len({key.partition(".")[0] for key in part})
    return counts


def at_once(count: int) -> int:
    """Sets how many pictures of a grid are drawn at once; how many the host says that it draws."""
    shared.opts.data["lora_train_grid_batch"] = count
    return extension.studio().host.pictures_at_once(64, 64)


def cells(calls: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Each list of requests by a call of its own, in one session."""
    counts = {"merged": 0, "loaded": 0, "sampled": 0}
    with extension.studio().host.session() as session, _counted(counts):
        drawn = [
            picture
            for requests in calls
            for picture in session.generate([GenerateRequest(**{**USUAL, **_with_path(one)}) for one in requests])
        ]
        up = session._up
        told = {"switches": session.switches, "encoded": up.ready.known.encoded, "checkpoint": up.checkpoint}
    return {
        **told,
        **counts,
        "pixels": [base64.b64encode(picture.image.tobytes()).decode() for picture in drawn],
        "infotexts": [picture.infotext for picture in drawn],
    }


def checked(path: str, checkpoint: str = "", without_loader: bool = False) -> dict[str, Any]:
    from modules import extra_networks

    registry = extra_networks.extra_network_registry
    taken = registry.pop("lora") if without_loader else None
    try:
        check = extension.studio().host.check_lora(Path(path), checkpoint)
    except UserError as error:
        return {"error": error.code}
    finally:
        if taken is not None:
            registry["lora"] = taken
    return vars(check) | {"loaded": shared.sd_model.sd_checkpoint_info.name_for_extra}


def pasted(text: str) -> dict[str, Any]:
    """What "Send to txt2img" reads from a text."""
    return infotext_utils.parse_generation_parameters(text)


def cards() -> str:
    """What the Lora page of the tab txt2img shows after its Refresh."""
    page = next(page for page in ui_extra_networks.extra_pages if page.name == "lora")
    page.refresh()
    return page.create_html("txt2img")


def _with_path(request: dict[str, Any]) -> dict[str, Any]:
    return request | ({"lora": Path(request["lora"])} if "lora" in request else {})


@contextmanager
def _counted(counts: dict[str, int]) -> Iterator[None]:
    """Counts how often a layer of the model is given a LoRA, a checkpoint is loaded, and a batch is sampled."""
    updown, load = networks.network_lora.NetworkModuleLora.calc_updown, sd_models.load_model_weights
    sample = processing.StableDiffusionProcessingTxt2Img.sample

    def counted(*arguments: Any) -> Any:
        counts["merged"] += 1
        return updown(*arguments)

    def counted_load(*arguments: Any, **named: Any) -> Any:
        counts["loaded"] += 1
        return load(*arguments, **named)

    def counted_sample(*arguments: Any, **named: Any) -> Any:
        counts["sampled"] += 1
        return sample(*arguments, **named)

    networks.network_lora.NetworkModuleLora.calc_updown = counted
    processing.StableDiffusionProcessingTxt2Img.sample = counted_sample
    sd_models.load_model_weights = counted_load
    try:
        yield
    finally:
        networks.network_lora.NetworkModuleLora.calc_updown = updown
        processing.StableDiffusionProcessingTxt2Img.sample = sample
        sd_models.load_model_weights = load
