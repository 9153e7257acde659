"""The embedded host: trains and draws without a WebUI, on diffusers and transformers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL.Image import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import (
    Captioner,
    CheckpointFacts,
    CheckpointInfo,
    HostPaths,
    LoraCheck,
    Memory,
    TokenCounter,
)
from lib_lora_train.host.drawing import Kept, pictures_at_once
from lib_lora_train.host.embedded_model import EmbeddedModel, sites_of
from lib_lora_train.host.embedded_session import EmbeddedSession
from lib_lora_train.host.facts import header_stamps, read_facts
from lib_lora_train.host.fitting import check_fit
from lib_lora_train.host.loading import (
    Description,
    LoadedModel,
    describe,
    hollow,
    load,
    read_tokenizer,
    with_hash,
)
from lib_lora_train.host.machine import ram
from lib_lora_train.host.token_counter import counter_of
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, Event, EventSink, Stage, Stopped, ignore_events

_POLL_SECONDS = 0.1
_MOST_ASKED = 8  # checkpoints that are asked for a vocabulary
_KEPT_LORAS = 8  # a grid goes through a run's checkpoints again and again; at rank 128 one of SD1 is 300 MB


class EmbeddedHost:
    """Implements `host.base.Host`. Keeps the last loaded checkpoint between borrowings.

    `folders` are looked through by `checkpoints()`, and `named` are listed under names of their own; any other path
    can be borrowed too. `device` is the GPU where there is one. `exact_guard` checks every bit of the weights by
    SHA-256 after a borrowing instead of a checksum.
    """

    name = "embedded"

    def __init__(
        self,
        paths: HostPaths,
        device: torch.device | str | None = None,
        folders: Sequence[Path] = (),
        exact_guard: bool = False,
        named: Mapping[str, Path] | None = None,
    ) -> None:
        self.paths = paths
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.folders = tuple(folders)
        self.named = {name: path.resolve() for name, path in (named or {}).items()}
        self.exact_guard = exact_guard
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._loaded: LoadedModel | None = None
        self._signature: tuple[object, ...] = ()
        self._hashed: dict[tuple[object, ...], CheckpointInfo] = {}
        self._facts: dict[Path, tuple[tuple[object, ...], CheckpointFacts]] = {}
        self._adapters: dict[tuple[object, ...], AdapterNetwork] = {}
        self.kept = Kept()  # of the loaded model, for as long as a session draws with it
        self._counters: dict[Path, tuple[tuple[object, ...], TokenCounter]] = {}

    def checkpoints(self) -> list[CheckpointInfo]:
        """Files and diffusers folders below `folders`, by name; nothing is opened."""
        found = {path: CheckpointInfo(name, path) for name, path in self.named.items()}
        for folder in self.folders:
            for path in [*folder.rglob("*.safetensors"), *folder.rglob("model_index.json")]:
                path = path.parent if path.name == "model_index.json" else path
                inside = any((parent / "model_index.json").is_file() for parent in path.parents)
                if not inside and path.resolve() not in self.named.values():
                    found[path] = CheckpointInfo(path.stem if path.is_file() else path.name, path)
        return sorted(found.values(), key=lambda info: info.name.lower())

    def current(self) -> CheckpointInfo | None:
        return None if self._loaded is None else self._loaded.info

    def describe(self, checkpoint: str) -> CheckpointFacts:
        """See `host.base.Host.describe`; read again only when one of the files has changed."""
        path = self.find(checkpoint)
        stamps = header_stamps(path)
        known = self._facts.get(path)
        if known is None or known[0] != stamps:
            facts = read_facts(path)
            known = self._facts[path] = (stamps, facts)
        name = next((name for name, named in self.named.items() if named == path), known[1].info.name)
        return replace(known[1], info=replace(known[1].info, name=name))

    def memory(self) -> Memory:
        """Memory of the device. What this host holds of it counts as free: it is given back or used again."""
        if self.device.type != "cuda":
            free, total = ram()
            return Memory(free, total, self.device.type)
        free, total = torch.cuda.mem_get_info(self.device)
        # From compute capability 8.0 on; torch also says yes where bf16 is only emulated.
        bfloat16 = torch.cuda.get_device_capability(self.device) >= (8, 0)
        return Memory(free + torch.cuda.memory_reserved(self.device), total, "cuda", bfloat16)

    @contextmanager
    def session(self, commands: Commands | None = None, events: EventSink | None = None) -> Iterator[EmbeddedSession]:
        """Takes the host's lock once. While it waits, `events` is told; a stop command then raises Stopped."""
        commands, events = commands or Commands(), events or ignore_events
        if self._holder == threading.get_ident():
            raise RuntimeError("the host's lock is held by this thread already")
        if not self._lock.acquire(blocking=False):
            events(Stage("host.stage_waiting"))
            while not self._lock.acquire(timeout=_POLL_SECONDS):
                if commands.stopping:
                    raise Stopped
        self._holder = threading.get_ident()
        session = EmbeddedSession(self, commands, events)
        try:
            yield session
        finally:
            session.close()
            self._holder = None
            self._lock.release()

    def wanted(self) -> bool:
        """Nobody draws with it by other means."""
        return False

    def refresh_loras(self) -> None:
        """A new file is visible at once. Files are known by path and time of change, so nothing old is ever shown."""
        self._adapters.clear()

    def check_lora(
        self, path: Path, checkpoint: str = "", commands: Commands | None = None, events: EventSink | None = None
    ) -> LoraCheck:
        """See `host.base.Host.check_lora`. Only the checkpoint's shape is looked at, so it needs no lock.

        Raises UserError as `files.load_lora` and `describe`, and host.no_checkpoint.
        """
        current = self.current()
        chosen = [current] if current is not None else self.checkpoints()[:1]
        if not checkpoint and not chosen:
            raise UserError("host.no_checkpoint", "checkpoint")
        base = self.find(checkpoint) if checkpoint else chosen[0].path
        description = describe(base)
        return check_fit(path, sites_of(*hollow(description.architecture), description.info.family))

    def pictures_at_once(self, width: int, height: int) -> int:
        """See `host.base.Host.pictures_at_once`."""
        return pictures_at_once(width, height)

    def upscalers(self) -> list[str]:
        """It has none."""
        return []

    def upscale(self, image: Image, name: str, factor: float, commands: Commands | None = None) -> Image:
        """Raises UserError("host.no_upscaler")."""
        raise UserError("host.no_upscaler", name)

    def captioners(self) -> list[Captioner]:
        """It has none."""
        return []

    def token_counter(self) -> TokenCounter | None:
        """See `host.base.Host.token_counter`. A checkpoint whose vocabulary cannot be had is passed over for the next."""
        first: TokenCounter | None = None
        current = self.current()
        for info in [current] if current is not None else self.checkpoints()[:_MOST_ASKED]:
            counter = self._counter(info)
            if counter.trouble is None:
                return counter
            first = first or counter
        return first

    def model_files(self) -> dict[str, list[Path]]:
        """It has none."""
        return {}

    def tell(self, event: Event) -> None:
        """Has no display of its own."""

    def unload(self) -> None:
        """Forgets the loaded model and gives its memory back."""
        self._loaded, self._signature, self.kept = None, (), Kept()
        self._adapters.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # What follows is called by the session, which holds the lock.

    def load(self, checkpoint: str, dtype: torch.dtype | None, events: EventSink) -> LoadedModel:
        """The checkpoint's model in `dtype`; kept ones are given again. Raises UserError as `loading.describe`."""
        if not checkpoint:
            if self._loaded is None:
                raise UserError("host.no_checkpoint", "checkpoint")
            checkpoint = str(self._loaded.info.path)
        path = self.find(checkpoint)
        if dtype is None:
            same = self._loaded is not None and self._loaded.info.path == path
            dtype = self._loaded.dtype if same else self._drawing_dtype()
        description = describe(path)
        signature = (*_stamps(description), repr(description.architecture), dtype)
        if self._loaded is None or signature != self._signature:
            self.unload()  # first, so that two models never lie in memory together
            events(Stage("host.stage_loading"))
            info = self._with_hash(description)
            with torch.inference_mode(False):  # tensors made in inference mode could never be trained on
                self._loaded = replace(load(description, dtype, self.device), info=info)
            self._signature = signature
        return self._loaded

    def adapters(self, path: Path, model: EmbeddedModel) -> AdapterNetwork:
        """A LoRA file's network for the loaded model, not attached; kept until another model is loaded."""
        stamp = (path, *_stamp(path)) if path.is_file() else (path,)
        if stamp not in self._adapters:
            file = load_lora(path)
            while len(self._adapters) >= _KEPT_LORAS:
                del self._adapters[next(iter(self._adapters))]
            network = AdapterNetwork(model.sites(), NetworkSettings(dim_from_weights=True), seed=0, start=file)
            self._adapters[stamp] = network.to(self.device)
        return self._adapters[stamp]

    def find(self, checkpoint: str) -> Path:
        """The file or folder of a name or path. A name in the list is that one, whatever lies in the working folder.

        Raises UserError("host.checkpoint_missing").
        """
        path = Path(checkpoint).expanduser()
        if path.name == checkpoint:
            for info in self.checkpoints():
                if checkpoint in (info.name, info.path.name):
                    return info.path.resolve()
        if not checkpoint or not path.exists():
            raise UserError("host.checkpoint_missing", path.name or checkpoint)
        return path.resolve()

    def _counter(self, info: CheckpointInfo) -> TokenCounter:
        path = info.path.resolve()
        stamps = header_stamps(path)
        known = self._counters.get(path)
        if known is None or known[0] != stamps:
            known = self._counters[path] = (stamps, counter_of(info.name, partial(read_tokenizer, path)))
        return known[1]

    def _drawing_dtype(self) -> torch.dtype:
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def _with_hash(self, description: Description) -> CheckpointInfo:
        stamps = _stamps(description)
        if stamps not in self._hashed:
            self._hashed[stamps] = with_hash(description)
        return self._hashed[stamps]


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _stamps(description: Description) -> tuple[object, ...]:
    """What tells one version of a checkpoint from another without reading it."""
    paths = {path for sources in description.sources.values() for path in sources}
    return tuple((path, *_stamp(path)) for path in sorted(paths))
