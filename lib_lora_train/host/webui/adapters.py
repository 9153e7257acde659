"""Which adapter is on while a picture is drawn: by the WebUI's own loader, or by hook where that is switched off."""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from modules import devices
from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import GenerateRequest, LoraCheck
from lib_lora_train.host.fitting import check_fit
from lib_lora_train.host.tokens import CHUNK
from lib_lora_train.host.webui.aliases import Alias, new_name
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.host.webui.lora_extension import LoraExtension, RegisteredLoras
from lib_lora_train.host.webui.text import PromptText
from lib_lora_train.network.files import SUFFIX, check_lora, load_lora, save_lora
from lib_lora_train.network.keys import UNET_PREFIX, find_unet_sites
from lib_lora_train.network.modules import NetworkState, attached_states
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings

_EMBEDDINGS = "bundle_emb"  # what a file brings beside layers


class Adapters(Protocol):
    """What is on for a request, and nothing else. From one request to the next what is on may stay so."""

    switches: int  # how often another LoRA, or the same at another weight, was put on the model

    def check(self, requests: Sequence[GenerateRequest]) -> None:
        """Raises UserError for files that are no LoRA or cannot be read, and for a network that no file can hold."""
        ...

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        """Inside the block the request's adapter is on, or will be when the prompt has the alias."""
        ...

    def text_encoder(self, request: GenerateRequest) -> Hashable | None:
        """Tells one state of the text encoder from another, to be asked while the adapter is on; None: not to be told."""
        ...


@contextmanager
def adapters_for(sd_model: nn.Module, where: str, network: AdapterNetwork | None = None) -> Iterator[Adapters]:
    """The adapters of files, and `network` for requests without one. Afterwards nothing is merged, and what is attached
    is as it was. `where` names the checkpoint.
    """
    extension = LoraExtension()
    with ExitStack() as stack:
        for state in attached_states(sd_model.modules()):
            stack.callback(_set, state, state.multiplier, state.training)
            _set(state, 0.0, False)
        stack.callback(extension.unmerge, sd_model)
        if extension.active:
            yield stack.enter_context(_by_prompt(extension, where, network))
        else:
            extension.unmerge(sd_model)
            yield _ByHook(sd_model, where, network)


def fit_of(sd_model: nn.Module, where: str, path: Path) -> LoraCheck:
    """See `host.base.Host.check_lora`. Afterwards nothing is merged."""
    extension = LoraExtension()
    if not extension.active:
        return check_fit(path, _sites(sd_model, where))
    entries = [name for name in check_lora(path) if name != "__metadata__"]
    keys = dict.fromkeys(key for entry in entries if (key := entry.partition(".")[0]) != _EMBEDDINGS)
    name = new_name()
    with extension.registered({name: path}) as registered:
        try:
            taken = registered.taken(name)
        finally:
            extension.unmerge(sd_model)
    missing = tuple(key for key in keys if key not in taken)
    return LoraCheck(len(keys) - len(missing), len(keys), missing)


@contextmanager
def _by_prompt(extension: LoraExtension, where: str, network: AdapterNetwork | None) -> Iterator[_ByPrompt]:
    with ExitStack() as stack:
        # A file that cannot be removed at once, as on Windows while it is mapped, lies in the system's own folder.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lora_train_", ignore_cleanup_errors=True))
        yield _ByPrompt(stack.enter_context(extension.registered({})), where, network, Path(folder))


@dataclass(frozen=True)
class _Entry:
    """A file under a name of ours. `adapts_text` tells whether it changes what a prompt means."""

    name: str
    stamp: tuple[int, int]
    adapts_text: bool


class _ByPrompt:
    """The WebUI's loader merges the file that the prompt names: the picture is the one that the user will get.

    A file keeps its name from one request to the next, so that the loader sees that it is merged already; one that has
    changed meanwhile gets another.
    """

    def __init__(self, registered: RegisteredLoras, where: str, network: AdapterNetwork | None, folder: Path) -> None:
        self._registered = registered
        self._where = where
        self._network = network
        self._folder = folder
        self._entries: dict[Path | None, _Entry] = {}
        self._merged: tuple[str, float] | None = None
        self.switches = 0

    def check(self, requests: Sequence[GenerateRequest]) -> None:
        wanted = [request.lora for request in requests if request.weight != 0]
        for path in dict.fromkeys(wanted):
            if path is not None:
                self._enter(path, path)
            elif self._network is not None and None not in self._entries:
                path = self._folder / f"adapters{SUFFIX}"
                save_lora(path, self._network.state_dict(), {}, _loaded_dtype())
                self._enter(None, path)

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        entry = self._entry(request)
        if entry is None:
            self._merged = None
            yield None
            return
        wanted = entry.name, request.weight
        if self._registered.load(entry.name, request.weight) == 0:
            raise UserError("host.lora_unfit", request.lora.name if request.lora else "LoRA", name=self._where)
        self.switches += wanted != self._merged
        self._merged = wanted
        yield Alias(entry.name, request.lora.stem if request.lora else "", request.weight)

    def text_encoder(self, request: GenerateRequest) -> Hashable | None:
        entry = self._entry(request)
        return (entry.name, request.weight) if entry is not None and entry.adapts_text else ()

    def _entry(self, request: GenerateRequest) -> _Entry | None:
        return self._entries.get(request.lora) if request.weight != 0 else None

    def _enter(self, key: Path | None, path: Path) -> None:
        header = check_lora(path)
        facts = path.stat()
        stamp, known = (facts.st_mtime_ns, facts.st_size), self._entries.get(key)
        if known is not None and known.stamp == stamp:
            return
        bare = all(name.startswith(UNET_PREFIX) for name in header if name != "__metadata__")
        self._entries[key] = _Entry(new_name(), stamp, not bare)
        self._registered.add(self._entries[key].name, path)


class _ByHook:
    """Adapters of ours on the layers, as in training; nothing is merged."""

    def __init__(self, sd_model: nn.Module, where: str, network: AdapterNetwork | None) -> None:
        self._sd_model = sd_model
        self._where = where
        self._network = network
        self._read: tuple[Path, AdapterNetwork] | None = None
        self._before: tuple[Path, float] | None = None
        self.switches = 0

    def check(self, requests: Sequence[GenerateRequest]) -> None:
        """A file is read when it is its turn."""

    def text_encoder(self, request: GenerateRequest) -> Hashable | None:
        """This is for the few whose WebUI lacks the loader."""
        return None

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        before, self._before = self._before, None
        if request.lora is not None and request.weight != 0:
            self._before = request.lora, request.weight
            self.switches += self._before != before
            adapters = self._of_file(request.lora)
            _set(adapters.state, request.weight, False)
            with adapters.attached():
                yield None
        elif request.lora is None and self._network is not None:
            _set(self._network.state, request.weight, False)
            try:
                yield None
            finally:
                _set(self._network.state, 0.0, False)
        else:
            yield None

    def _of_file(self, path: Path) -> AdapterNetwork:
        """The file's network, kept until another is asked for: requests come sorted by file."""
        if self._read is None or self._read[0] != path:
            self._read = None  # first, so that two never lie in memory together
            settings = NetworkSettings(dim_from_weights=True)
            sites = _sites(self._sd_model, self._where)
            network = AdapterNetwork(sites, settings, seed=0, start=load_lora(path)).to(devices.device)
            self._read = path, network
        return self._read[1]


def _sites(sd_model: nn.Module, where: str) -> list[Site]:
    family = family_of(sd_model, where)
    text = PromptText(sd_model, family, 1, CHUNK, where).sites()
    return text + find_unet_sites(sd_model.model.diffusion_model, family)


def _set(state: NetworkState, multiplier: float, training: bool) -> None:
    state.multiplier, state.training = multiplier, training


def _loaded_dtype() -> torch.dtype:
    """What the loader converts every file to: nothing is lost by writing it so."""
    return devices.dtype if devices.dtype in (torch.float16, torch.bfloat16) else torch.float32
