"""What of a LoRA file fits a model, by our own loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lib_lora_train.host.base import LoraCheck
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings


@dataclass(frozen=True)
class _Part:
    """Those entries of a file that fit; an `network.StartFile`."""

    name: str
    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, tuple[int, float]]


def check_fit(path: Path, sites: Sequence[Site]) -> LoraCheck:
    """Reads the file, every number of it, and loads what has a place among `sites`; their modules are not touched.

    Raises UserError as `files.load_lora`.
    """
    file = load_lora(path)
    places = {site.key: site for site in sites}
    fitting = {key for key in file.sizes if key in places and _fits(file.tensors, places[key])}
    if fitting:
        tensors = {name: tensor for name, tensor in file.tensors.items() if name.partition(".")[0] in fitting}
        sizes = {key: size for key, size in file.sizes.items() if key in fitting}
        settings = NetworkSettings(dim_from_weights=True)
        loaded = AdapterNetwork(sites, settings, seed=0, start=_Part(file.name, tensors, sizes))
        fitting = set(loaded.adapters)
    return LoraCheck(len(fitting), len(file.sizes), tuple(key for key in file.sizes if key not in fitting))


def _fits(tensors: Mapping[str, Tensor], site: Site) -> bool:
    down, up = tensors[f"{site.key}.lora_down.weight"], tensors[f"{site.key}.lora_up.weight"]
    return (down.shape[1], up.shape[0]) == (site.in_features, site.out_features)
