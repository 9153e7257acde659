"""The adapter a run begins with: fresh, or from a LoRA file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lib_lora_train.host.base import BorrowedModel
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings import NetworkSettings
from lib_lora_train.signals import EventSink, Log


def make_network(model: BorrowedModel, settings: NetworkSettings, seed: int, events: EventSink) -> AdapterNetwork:
    """Adapters on the model's sites, in fp32 on its device, not attached.

    With `network_weights` they begin with that file's weights. Parts of the file that are not trained now (the text
    encoder, say) are left out; parts it lacks begin fresh; both are said. Raises UserError for a file that is no LoRA
    or does not fit.
    """
    if not settings.network_weights:
        return AdapterNetwork(model.sites(), settings, seed).to(model.device)
    file = load_lora(Path(settings.network_weights))
    wanted = {name: value for name, value in file.tensors.items() if not name.startswith(_untrained(settings))}
    if len(wanted) < len(file.tensors):
        events(Log("train.weights_left_out", {"count": len(_keys(file.tensors) - _keys(wanted))}))
    if settings.dim_from_weights:
        sizes = {key: size for key, size in file.sizes.items() if key in _keys(wanted)}
        start = replace(file, tensors=wanted, sizes=sizes)
        return AdapterNetwork(model.sites(), settings, seed, start=start).to(model.device)
    network = AdapterNetwork(model.sites(), settings, seed)
    fresh = {name: value for name, value in network.state_dict().items() if name.split(".", 1)[0] not in _keys(wanted)}
    if fresh:
        events(Log("train.weights_fresh", {"count": len(_keys(fresh))}))
    network.load({**fresh, **wanted}, file.name)
    return network.to(model.device)


def _untrained(settings: NetworkSettings) -> tuple[str, ...]:
    """Prefixes of kohya's names of the parts that are not trained."""
    unet, text = settings.network_train_text_encoder_only, settings.network_train_unet_only
    return ("lora_unet",) * unet + ("lora_te",) * text


def _keys(tensors: Iterable[str]) -> set[str]:
    return {name.split(".", 1)[0] for name in tensors}
