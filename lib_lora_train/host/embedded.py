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
    BorrowRequest,
    Captioner,
    CheckpointFacts,
    CheckpointInfo,
    Generated,
    GenerateRequest,
    HostPaths,
    Memory,
    TokenCounter,
)
from lib_lora_train.host.drawing import draw
from lib_lora_train.host.embedded_model import EmbeddedModel
from lib_lora_train.host.facts import header_stamps, read_facts
from lib_lora_train.host.guard import guarded
from lib_lora_train.host.loading import (
    PREDICTIONS,
    Description,
    LoadedModel,
    describe,
    load,
    read_tokenizer,
    with_hash,
)
from lib_lora_train.host.machine import ram
from lib_lora_train.host.recompute import Recomputation
from lib_lora_train.host.token_counter import counter_of
from lib_lora_train.host.tokens import CHUNK
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

    def refresh_loras(self) -> None:
        """A new file is visible at once. Files are known by path and time of change, so nothing old is ever shown."""
        self._adapters.clear()

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
        self._loaded, self._signature = None, ()
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


class EmbeddedSession:
    """Implements `host.base.Session`."""

    def __init__(self, host: EmbeddedHost, commands: Commands, events: EventSink) -> None:
        self._host = host
        self._commands = commands
        self._events = events
        self._open = True
        self._borrowed: EmbeddedModel | None = None

    def close(self) -> None:
        self._open = False

    @contextmanager
    def borrow(self, request: BorrowRequest) -> Iterator[EmbeddedModel]:
        """The model, exactly as it was again afterwards, on every exit path.

        The first `checkpointed_blocks` of `blocks()` are computed again in the backward pass. When the model is not
        as it was, it is forgotten and UserError("guard.changed") is raised, unless another error is on its way.
        """
        self._check_open()
        if self._borrowed is not None:
            raise RuntimeError("the model is borrowed already")
        loaded = self._host.load(request.checkpoint, request.dtype, self._events)
        model = EmbeddedModel(loaded, _prediction(request, loaded), request.clip_skip, _token_limit(request))
        model.check_clip_skip(request.clip_skip)
        guard = guarded(loaded.modules(), self._host.exact_guard, self._events, self._host.unload)
        self._borrowed = model
        try:
            # The caller may stand in no_grad; what is done with a borrowed model needs gradients.
            with guard, torch.enable_grad(), Recomputation(loaded.unet, model.blocks()) as recomputation:
                model.recomputation = recomputation
                model.recompute(request.checkpointed_blocks)
                yield model
        finally:
            self._borrowed = None

    def generate(self, requests: Sequence[GenerateRequest], network: AdapterNetwork | None = None) -> list[Generated]:
        """Pictures in the order of the requests; see `host.base.Session.generate`.

        Samplers are "DDIM" and "Euler", both deterministic (`host/sampling.py`). LoRA files are put on by hook at the
        request's weight, never merged.
        """
        self._check_open()
        if not requests:
            return []
        wanted = {request.checkpoint for request in requests}
        drawn: dict[int, Generated] = {}

        def tell(count: int, before: int) -> None:
            self._events(Stage("host.stage_drawing", before + count, len(requests)))

        for checkpoint in sorted(wanted):  # each checkpoint once, whatever the order of the requests
            members = [index for index, request in enumerate(requests) if request.checkpoint == checkpoint]
            model = self._model(checkpoint)
            pictures = draw(
                model,
                [requests[index] for index in members],
                lambda path, model=model: self._host.adapters(path, model),
                network,
                self._stop_if_told,
                partial(tell, before=len(drawn)),
            )
            drawn |= dict(zip(members, pictures, strict=True))
        return [drawn[index] for index in range(len(requests))]

    def _model(self, checkpoint: str) -> EmbeddedModel:
        borrowed = self._borrowed
        if borrowed is None:
            loaded = self._host.load(checkpoint, None, self._events)
            return EmbeddedModel(loaded, loaded.prediction)
        # Another checkpoint would be loaded under the trainer.
        if checkpoint and self._host.find(checkpoint) != borrowed.checkpoint.path:
            raise UserError("host.other_checkpoint", checkpoint, name=borrowed.checkpoint.name)
        return borrowed

    def _stop_if_told(self) -> None:
        if self._commands.stopping:
            raise Stopped

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the session is over")


def _prediction(request: BorrowRequest, loaded: LoadedModel) -> str:
    if request.prediction == "auto":
        return loaded.prediction
    if request.prediction not in PREDICTIONS:
        raise UserError("host.prediction", "prediction", value=request.prediction)
    return request.prediction


def _token_limit(request: BorrowRequest) -> int:
    if request.max_token_length not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError("host.token_limit", "max_token_length", value=request.max_token_length)
    return request.max_token_length


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _stamps(description: Description) -> tuple[object, ...]:
    """What tells one version of a checkpoint from another without reading it."""
    paths = {path for sources in description.sources.values() for path in sources}
    return tuple((path, *_stamp(path)) for path in sorted(paths))
