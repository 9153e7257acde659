"""The WebUI's own LoRA loader, as far as training needs it.

The loader is an extension: it can be switched off, and "Reload UI" registers it anew. So nothing of it is kept here;
it is looked up at every use. It merges the LoRAs of a prompt into the weights, keeps a copy of every layer from
before the first merge, and leaves everything merged until a later prompt asks for something else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from modules import cache, extra_networks
from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingTxt2Img
from torch import nn

_NEEDED = (
    "available_network_aliases",
    "available_network_hash_lookup",
    "available_networks",
    "list_available_networks",
    "load_networks",
    "loaded_networks",
    "network",
    "network_apply_weights",
    "networks_in_memory",
    "originals",
)
_CACHES = ("safetensors-metadata", "hashes-addnet", "hashes")  # where the WebUI remembers files by name


class LoraExtension:
    """The loader, whether it is there or not."""

    @property
    def active(self) -> bool:
        """Whether `<lora:name:weight>` in a prompt does anything now."""
        return _loader() is not None and "lora" in extra_networks.extra_network_registry

    def unmerge(self, sd_model: nn.Module) -> None:
        """Takes off what earlier prompts have merged into `sd_model`: every layer gets its own bits back.

        It is what the loader itself does at the layers' next forward after a prompt without LoRAs, but for all layers
        now, also for those that nothing calls, and where the option `lora_functional` leaves them merged. The copies
        stay, and the next prompt merges as before. Does nothing when nothing is merged.
        """
        loader = _loader()
        if loader is None:
            return
        if loader.loaded_networks:
            loader.load_networks([])  # also takes away the embeddings that came inside a file
        with torch.no_grad():  # the loader writes in place, which torch refuses on weights that want a gradient
            for module in sd_model.modules():
                if vars(module).get("network_current_names"):
                    loader.network_apply_weights(module)

    @contextmanager
    def unhurt_by_reload(self) -> Iterator[None]:
        """Inside the block "Reload UI" does no harm to a forward pass that is under way in another thread.

        The loader stands in the `forward` of torch's layer classes. When it is taken out, it forgets the functions that
        it stood in for, and a layer that has just entered it finds none to call.
        """
        loader = _loader()
        if loader is None:
            yield
            return
        kind = type(loader.originals)
        taken_out = kind.undo

        def undo(patches: Any) -> None:
            functions = dict(vars(patches))
            taken_out(patches)
            vars(patches).update(functions)

        kind.undo = undo
        try:
            yield
        finally:
            if kind.undo is undo:
                kind.undo = taken_out

    @contextmanager
    def registered(self, files: Mapping[str, Path]) -> Iterator[RegisteredLoras]:
        """Inside the block `<lora:name:weight>` finds the .safetensors files under their names here.

        The files may lie anywhere and must stay until the block ends. Names must be ones that nobody else uses.
        Afterwards the loader, its cards and the WebUI's caches on disk know nothing of them; what is merged stays, for
        `unmerge`. Raises RuntimeError when the loader is not there.
        """
        loader = _loader()
        if loader is None:
            raise RuntimeError("the WebUI's LoRA extension is not there")
        hashes = dict(loader.available_network_hash_lookup)
        registered = RegisteredLoras(loader)
        try:
            for name, path in files.items():
                registered.add(name, path)
            yield registered
        finally:
            registered.remove(hashes)
            for section in _CACHES:
                known = cache.cache(section)
                for name in registered.names:
                    known.pop(f"lora/{name}", None)

    def refresh(self) -> None:
        """New files in the LoRA folder can be used in prompts and get a card at once.

        The prompt that was drawn last is encoded anew, even if nothing in it changes: the WebUI keeps what a text encoder
        made of it by the names of its LoRAs, and under one of them there may be another file now, or none.
        """
        loader = _loader()
        if loader is not None:
            loader.list_available_networks()
            for encoded in _encoded_prompts():
                encoded[0] = None  # what it is of; whoever reads it at this moment still finds the rest

    def same_weights(self, name: str, other: str) -> bool:
        """Whether there is a file `name`, with the weights of that which the loader knows as `other`."""
        loader = _loader()
        if loader is None:
            return False
        first, second = loader.available_networks.get(name), loader.available_network_aliases.get(other)
        return None not in (first, second) and bool(first.shorthash) and first.shorthash == second.shorthash


class RegisteredLoras:
    """Files that the loader knows under names of ours for a while."""

    def __init__(self, loader: ModuleType) -> None:
        self._loader = loader
        self._entries: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def add(self, name: str, path: Path) -> None:
        self._entries[name] = self._loader.network.NetworkOnDisk(name, str(path))

    def load(self, name: str, weight: float) -> int:
        """Reads the file, so that the next prompt with its tag merges it. Returns the number of layers it fits.

        0 when it fits none or cannot be read: the WebUI prints why, and would draw without it. To be called before
        every picture: a "Refresh" of the cards forgets every file outside the LoRA folder, but not one that is loaded.
        """
        entry = self._entries[name]
        for known in (self._loader.available_networks, self._loader.available_network_aliases):
            known[name] = entry
        self._loader.load_networks([name], [weight], [weight], [None])
        return sum(len(loaded.modules) for loaded in self._loader.loaded_networks if loaded.name == name)

    def taken(self, name: str) -> set[str]:
        """Reads the file, and tells which of the layers that it names the loader found and can add it to.

        The loader finds layers by name alone; where the matrices then have another size, it goes on without them.
        """
        self.load(name, 1.0)
        loaded = [one for one in self._loader.loaded_networks if one.name == name]
        modules = [module for one in loaded for module in one.modules.values()]
        return {module.network_key.partition(".")[0] for module in modules if _has_room(module)}

    def remove(self, hashes: Mapping[str, Any]) -> None:
        """Takes the entries out again. `hashes` is the loader's lookup by hash from before they were added."""
        loader = self._loader
        for name in self._entries:
            loader.available_networks.pop(name, None)
            loader.available_network_aliases.pop(name, None)
            loader.networks_in_memory.pop(name, None)
        ours = [id(entry) for entry in self._entries.values()]
        lookup = loader.available_network_hash_lookup
        for key in [key for key, entry in list(lookup.items()) if id(entry) in ours]:
            if key in hashes:
                lookup[key] = hashes[key]  # a file of the user's with the same content
            else:
                del lookup[key]


def _has_room(module: Any) -> bool:
    """Whether the product of a LoRA's matrices has the size of its layer; other kinds are believed."""
    up, down = getattr(module, "up_model", None), getattr(module, "down_model", None)
    if module.shape is None or up is None or down is None or getattr(module, "mid_model", None) is not None:
        return True
    outputs, *inputs = module.shape
    return (up.weight.shape[0], down.weight[0].numel()) == (outputs, math.prod(inputs))


def _encoded_prompts() -> list[list[Any]]:
    """The WebUI's memory of the last prompt and negative prompt, each with what it is of and what it is."""
    usual, large = StableDiffusionProcessing, StableDiffusionProcessingTxt2Img
    return [usual.cached_c, usual.cached_uc, large.cached_hr_c, large.cached_hr_uc]


def _loader() -> ModuleType | None:
    """The module `networks` that `<lora:...>` goes to. Other extensions have modules of that name too."""
    handler = extra_networks.extra_network_registry.get("lora")
    owner = sys.modules.get(type(handler).__module__)
    for module in (getattr(owner, "networks", None), sys.modules.get("networks")):
        if isinstance(module, ModuleType) and all(hasattr(module, name) for name in _NEEDED):
            return module
    return None
