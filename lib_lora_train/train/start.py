"""The adapter a run begins with: fresh, or from a LoRA file."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.host.base import BorrowedModel
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.network import AdapterNetwork, sizes_of
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
    network = AdapterNetwork(
        model.sites(), settings, seed, sizes_of(file.tensors) if settings.dim_from_weights else None
    )
    untrained = [
        f"lora_{'te' if part == 'text_encoder' else part}" for part, count in network.counts().items() if not count
    ]
    wanted = {name: value for name, value in file.tensors.items() if not name.startswith(tuple(untrained))}
    own = network.state_dict()
    fresh = {name: value for name, value in own.items() if name.split(".", 1)[0] + ".lora_up.weight" not in wanted}
    if len(wanted) < len(file.tensors):
        events(Log("train.weights_left_out", {"count": (len(file.tensors) - len(wanted)) // 3}))
    if fresh:
        events(Log("train.weights_fresh", {"count": len(fresh) // 3}))
    network.load({**fresh, **wanted}, file.name)
    return network.to(model.device)
