"""Called within the WebUI by tests/webui/test_webui_drawing.py: pictures without a training around them."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modules import cache, call_queue, devices, extra_networks, sd_models, shared

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import CheckpointInfo, GenerateRequest
from lib_lora_train.host.webui.drawing import draw
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.host.webui.lora_extension import LoraExtension
from lib_lora_train.host.webui.text import PromptText
from lib_lora_train.network.files import save_lora
from lib_lora_train.network.keys import find_unet_sites
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Event, Stopped

USUAL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "cfg_scale": 5.0, "seed": 1, "sampler": "Euler"}


def write_lora(path: str, scale: float = 0.1) -> dict[str, Any]:
    """A file for every place of the loaded model, with the same random weights each time."""
    with call_queue.queue_lock:
        network = _network(scale)
        save_lora(Path(path), network.state_dict(), {}, torch.float32)
        LoraExtension().refresh()
        return {"keys": len(network.adapters)}


def unmerge() -> bool:
    """Takes off what the last prompt has left merged, where weights are wanted back that need a gradient."""
    with call_queue.queue_lock, torch.enable_grad():
        LoraExtension().unmerge(shared.sd_model)
        return any(vars(module).get("network_current_names") for module in shared.sd_model.modules())


def computed_while_reloading(kept: bool) -> bool:
    """Whether a layer that has entered the loader's function can still be computed when "Reload UI" undoes it."""
    loader, layer, x = _loader(), torch.nn.Linear(2, 3), torch.ones(1, 2)
    with call_queue.queue_lock, LoraExtension().unhurt_by_reload() if kept else nullcontext():
        expected, entered = layer(x), torch.nn.Linear.forward
        loader.originals.undo()
        try:
            return bool(torch.equal(entered(layer, x), expected))
        except TypeError:
            return False
        finally:
            loader.originals = type(loader.originals)()  # as the loader's script does when it runs again


def drawn(
    requests: list[dict[str, Any]],
    training: bool = False,
    without_loader: bool = False,
    deed: str = "",
    at: int = 0,
    value: Any = None,
) -> dict[str, Any]:
    """Draws, and looks at what is as before. `training` has a network of `write_lora`'s weights attached.

    `at` counts the calls of the U-Net and the beginnings of pictures; there `deed` is done, with `value`.
    """
    counts: list[int] = []
    events: list[Event] = []
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == at and bool(DEEDS[deed](value))

    with call_queue.queue_lock, ExitStack() as stack:
        model = shared.sd_model
        network = stack.enter_context(_network(0.1).attached()) if training else None
        if network is not None:
            network.train()
        if without_loader:
            registry = extra_networks.extra_network_registry
            stack.callback(registry.__setitem__, "lora", registry.pop("lora"))
        info = CheckpointInfo("nano", Path(model.sd_checkpoint_info.filename))
        asked = [GenerateRequest(**{**USUAL, **_with_path(request)}) for request in requests]
        _unlike_any_other()
        stack.callback(shared.state.end)
        before, outcome, pictures = _surroundings(model), "", []
        try:
            pictures = draw(model, info, asked, network, stop, counts.append, events.append)
        except Stopped:
            outcome = "stopped"
        except UserError as error:
            outcome = error.code
        after = _surroundings(model)
        state = None if network is None else [network.state.multiplier, network.state.training]
    return {
        "pixels": [base64.b64encode(picture.image.tobytes()).decode() for picture in pictures],
        "infotexts": [picture.infotext for picture in pictures],
        "in_pictures": [picture.image.info.get("parameters") for picture in pictures],
        "seeds": [picture.request.seed for picture in pictures],
        "outcome": outcome,
        "counts": counts,
        "events": [vars(event) for event in events],
        "calls": calls,
        "changed": [name for name, value in before.items() if value != after[name]],
        "network": state,
    }


def _unlike_any_other() -> None:
    """States that no picture leaves by itself."""
    torch.manual_seed(987), np.random.seed(987), random.seed(987)
    state = shared.state
    state.begin(job="a run")
    state.job_no, state.job_count, state.sampling_step, state.sampling_steps = 5, 17, 3, 19


def _with_path(request: dict[str, Any]) -> dict[str, Any]:
    return request | ({"lora": Path(request["lora"])} if "lora" in request else {})


def _network(scale: float) -> AdapterNetwork:
    model = shared.sd_model
    family = family_of(model, "nano")
    sites = PromptText(model, family, 1, 75, "nano").sites() + find_unet_sites(model.model.diffusion_model, family)
    network = AdapterNetwork(sites, NetworkSettings(network_dim=4, network_alpha=4.0), seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return network


def _surroundings(model: Any) -> dict[str, Any]:
    """What drawing touches beside the model's own weights and must leave as it was."""
    state = shared.state
    parameters = Path(shared.cmd_opts.data_dir) / "params.txt"  # the last prompt, for the arrow button
    sections = ("safetensors-metadata", "hashes-addnet", "hashes")
    loader = vars(_loader())
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "grad": torch.is_grad_enabled(),
        "flags": [state.interrupted, state.skipped, state.stopping_generation],
        "job": [state.job, state.job_no, state.job_count, state.sampling_step, state.sampling_steps],
        "latent": state.current_latent is None,
        "options": dict(shared.opts.data),
        "command line": dict(vars(shared.cmd_opts)),
        "params.txt": parameters.read_text(encoding="utf-8") if parameters.is_file() else None,
        "caches": [sorted(cache.cache(section)) for section in sections],
        "networks": sorted(loader["available_networks"]),
        "aliases": sorted(loader["available_network_aliases"]),
        "hashes": {key: entry.name for key, entry in loader["available_network_hash_lookup"].items()},
        "in memory": sorted(loader["networks_in_memory"]),
        "alphas": id(model.alphas_cumprod),
        "own": sorted(vars(model)),
        "reload": sd_models.reload_model_weights,
        "vae": [devices.dtype_vae, {parameter.dtype for parameter in model.first_stage_model.parameters()}],
    }


def _loader() -> Any:
    import networks

    return networks


def _interrupt(_: Any) -> None:
    shared.state.interrupt()


def _interrupt_once(_: Any) -> None:
    """The first press while more than one picture is to be drawn, as the option has it by default."""
    shared.state.stop_generating()


def _skip(_: Any) -> None:
    shared.state.skip()


def _choose(title: str) -> None:
    """What the dropdown does at once; the loading waits for the lock."""
    shared.opts.set("sd_model_checkpoint", title, run_callbacks=False)


def _set_clip_skip(value: int) -> None:
    shared.opts.set("CLIP_stop_at_last_layers", value, run_callbacks=False)


def _refresh(_: Any) -> None:
    """The button above the cards, which takes no lock."""
    _loader().list_available_networks()


def _save_settings(_: Any) -> None:
    shared.opts.save(shared.config_filename)


def _widen_vae(_: Any) -> None:
    """As the WebUI does where the VAE's precision is too low, and leaves it."""
    devices.dtype_vae = torch.float64
    shared.sd_model.first_stage_model.to(torch.float64)


DEEDS: dict[str, Callable[[Any], Any]] = {
    "stop": lambda _: True,
    "interrupt": _interrupt,
    "interrupt_once": _interrupt_once,
    "skip": _skip,
    "choose": _choose,
    "set_clip_skip": _set_clip_skip,
    "refresh": _refresh,
    "save_settings": _save_settings,
    "widen_vae": _widen_vae,
}
