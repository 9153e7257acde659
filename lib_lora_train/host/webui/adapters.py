"""Which adapter is on while a picture is drawn: by the WebUI's own loader, or by hook where that is switched off."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from lib_lora_train.network.keys import find_unet_sites
from lib_lora_train.network.modules import NetworkState, attached_states
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site
from lib_lora_train.settings.tables import NetworkSettings

_EMBEDDINGS = "bundle_emb"  # what a file brings beside layers


class Adapters(Protocol):
    """What is on for a request, and nothing else."""

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        """Inside the block the request's adapter is on, or will be when the prompt has the alias."""
        ...


@contextmanager
def adapters_for(
    sd_model: nn.Module, where: str, requests: Sequence[GenerateRequest], network: AdapterNetwork | None
) -> Iterator[Adapters]:
    """The adapters of all `requests`. Afterwards nothing is merged, and what is attached is as it was.

    `where` names the checkpoint. Raises UserError for files that are no LoRA or cannot be read, and
    UserError("network.not_finite", "network.overflow") for a `network` that no file can hold.
    """
    extension = LoraExtension()
    with ExitStack() as stack:
        for state in attached_states(sd_model.modules()):
            stack.callback(_set, state, state.multiplier, state.training)
            _set(state, 0.0, False)
        stack.callback(extension.unmerge, sd_model)
        if extension.active:
            yield stack.enter_context(_by_prompt(extension, where, requests, network))
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
def _by_prompt(
    extension: LoraExtension, where: str, requests: Sequence[GenerateRequest], network: AdapterNetwork | None
) -> Iterator[_ByPrompt]:
    wanted = [request for request in requests if request.weight != 0]
    files = {path: path for request in wanted if (path := request.lora) is not None}
    for path in files:
        check_lora(path)
    with ExitStack() as stack:
        sources: dict[Path | None, Path] = dict(files)
        if network is not None and any(request.lora is None for request in wanted):
            # A file that cannot be removed at once, as on Windows while it is mapped, lies in the system's own folder.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lora_train_", ignore_cleanup_errors=True))
            sources[None] = Path(folder) / f"adapters{SUFFIX}"
            save_lora(sources[None], network.state_dict(), {}, _loaded_dtype())
        names = {path: new_name() for path in sources}
        files_by_name = {names[path]: source for path, source in sources.items()}
        yield _ByPrompt(stack.enter_context(extension.registered(files_by_name)), names, where)


class _ByPrompt:
    """The WebUI's loader merges the file that the prompt names: the picture is the one that the user will get."""

    def __init__(self, registered: RegisteredLoras, names: dict[Path | None, str], where: str) -> None:
        self._registered = registered
        self._names = names
        self._where = where

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        name = self._names.get(request.lora)
        if name is None or request.weight == 0:
            yield None
            return
        if self._registered.load(name, request.weight) == 0:
            raise UserError("host.lora_unfit", request.lora.name if request.lora else "LoRA", name=self._where)
        yield Alias(name, request.lora.stem if request.lora else "", request.weight)


class _ByHook:
    """Adapters of ours on the layers, as in training; nothing is merged."""

    def __init__(self, sd_model: nn.Module, where: str, network: AdapterNetwork | None) -> None:
        self._sd_model = sd_model
        self._where = where
        self._network = network
        self._read: tuple[Path, AdapterNetwork] | None = None

    @contextmanager
    def on(self, request: GenerateRequest) -> Iterator[Alias | None]:
        if request.lora is not None and request.weight != 0:
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
