"""The WebUI as a host: training and drawing with the checkpoint that it holds already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from modules import call_queue, devices, paths, sd_models, shared
from PIL.Image import Image

from lib_lora_train.host.base import (
    Captioner,
    CheckpointFacts,
    CheckpointInfo,
    HostPaths,
    LoraCheck,
    Memory,
    TokenCounter,
)
from lib_lora_train.host.facts import header_stamps
from lib_lora_train.host.machine import ram
from lib_lora_train.host.webui import checkpoints, upscaling
from lib_lora_train.host.webui.captioning import Blip, DeepDanbooru
from lib_lora_train.host.webui.display import Display
from lib_lora_train.host.webui.facts import is_of, read_facts
from lib_lora_train.host.webui.lock import HostLock
from lib_lora_train.host.webui.lora_extension import LoraExtension
from lib_lora_train.host.webui.placement import parts_of
from lib_lora_train.host.webui.session import WebuiSession
from lib_lora_train.host.webui.settings_page import grid_batch
from lib_lora_train.host.webui.words import find_counter
from lib_lora_train.signals import Commands, Event, EventSink, Stage, ignore_events

_TRAINED_PARTS = ("unet", "text_encoder")  # the VAE rests meanwhile


class WebuiHost:
    """Implements `host.base.Host`. One for as long as the process lives.

    `projects` is the folder of the projects. `exact_guard` checks every bit of the weights by SHA-256 after a
    borrowing instead of a checksum.
    """

    name = "webui"

    def __init__(self, projects: Path, exact_guard: bool = False) -> None:
        models = Path(paths.models_path)
        loras = getattr(shared.cmd_opts, "lora_dir", None) or models / "Lora"
        self.paths = HostPaths(projects, Path(loras).resolve(), models / "lora_train")
        self.exact_guard = exact_guard
        self.display = Display()
        self._lock = HostLock(call_queue.queue_lock)
        self._facts: dict[Path, tuple[tuple[object, ...], CheckpointFacts]] = {}
        self._counter: TokenCounter | None = None

    @property
    def device(self) -> torch.device:
        return devices.device

    def checkpoints(self) -> list[CheckpointInfo]:
        """Those of the WebUI's dropdown, by name; nothing is opened."""
        return checkpoints.listed()

    def current(self) -> CheckpointInfo | None:
        """What the dropdown shows: it is loaded, or will be before anything is drawn."""
        entry = checkpoints.chosen()
        return None if entry is None else checkpoints.described(entry)

    def find(self, checkpoint: str) -> Path:
        """The file of a checkpoint by name or path. Raises UserError as `checkpoints.find`."""
        return Path(checkpoints.find(checkpoint).filename).resolve()

    def describe(self, checkpoint: str) -> CheckpointFacts:
        """See `host.base.Host.describe`; read again only when the file, or whether it is loaded, has changed."""
        info = checkpoints.described(checkpoints.find(checkpoint))
        loaded = sd_models.model_data.sd_model
        if loaded is not None and not is_of(loaded, info):
            loaded = None
        stamps = (*header_stamps(info.path), loaded is not None)
        known = self._facts.get(info.path)
        if known is None or known[0] != stamps:
            known = self._facts[info.path] = (stamps, read_facts(info, loaded))
        return replace(known[1], info=replace(info, family=known[1].family))

    def memory(self) -> Memory:
        """Memory of the device. What the WebUI and this extension hold of it counts as free, but for the loaded model."""
        model = sd_models.model_data.sd_model
        loaded = "" if model is None else _precision(model)
        if devices.device.type != "cuda":
            free, total = ram()
            return Memory(free, total, devices.device.type, loaded=loaded)
        free, total = torch.cuda.mem_get_info(devices.device)
        free += torch.cuda.memory_reserved(devices.device)
        if model is not None:
            # Counted as if it lay there: with --medvram, and while pictures are encoded, it does not yet.
            free -= sum(_bytes(parts_of(model)[part]) for part in _TRAINED_PARTS)
        # Computing in bf16 is not the WebUI's way: its autocast is fp16, whatever the device can do.
        return Memory(max(free, 0), total, "cuda", bfloat16=False, loaded=loaded)

    @contextmanager
    def session(self, commands: Commands | None = None, events: EventSink | None = None) -> Iterator[WebuiSession]:
        """Takes the WebUI's queue lock once. While it waits, `events` is told; a stop command then raises Stopped."""
        commands, events = commands or Commands(), events or ignore_events
        with self._turn(commands, events):
            _finish_starting()
            session = WebuiSession(self, commands, events)
            try:
                yield session
            finally:
                session.close()

    def wanted(self) -> bool:
        """See `host.base.Host.wanted`."""
        return self._lock.wanted()

    def refresh_loras(self) -> None:
        """A new file is visible at once."""
        LoraExtension().refresh()

    def check_lora(
        self, path: Path, checkpoint: str = "", commands: Commands | None = None, events: EventSink | None = None
    ) -> LoraCheck:
        """See `host.base.Host.check_lora`: by the WebUI's Lora extension, or by our own loader where it is off."""
        with self.session(commands, events) as session:
            return session.check_lora(path, checkpoint)

    def pictures_at_once(self, width: int, height: int) -> int:
        """One, unless it is set otherwise: a cell then is, bit for bit, the picture that its text gives in txt2img."""
        return grid_batch()

    def upscalers(self) -> list[str]:
        """Those of the WebUI whose models are files on the disk."""
        return upscaling.upscaler_names()

    def upscale(self, image: Image, name: str, factor: float, commands: Commands | None = None) -> Image:
        """See `host.base.Host.upscale` and `upscaling.upscale`. The checkpoint stays as it is, and need not be there."""
        commands = commands or Commands()
        with self._turn(commands, ignore_events), self.display.drawing():
            return upscaling.upscale(image, name, factor, commands)

    def captioners(self) -> list[Captioner]:
        """BLIP and DeepDanbooru, as the WebUI has them for Interrogate."""
        return [Blip(self._turn), DeepDanbooru(self._turn)]

    def token_counter(self) -> TokenCounter | None:
        """See `host.base.Host.token_counter`. While no checkpoint is loaded, CLIP's, which all of the WebUI's have."""
        self._counter = find_counter(self.current(), self._counter)
        return self._counter

    def model_files(self) -> dict[str, list[Path]]:
        """What its focal crop has downloaded."""
        return {"yunet": [Path(paths.models_path) / "opencv"]}

    def tell(self, event: Event) -> None:
        """Shows an event of a running job in the WebUI's own bar."""
        self.display.tell(event)

    @contextmanager
    def _turn(self, commands: Commands, events: EventSink) -> Iterator[None]:
        """The queue lock, and the WebUI's bar for what is done with it."""
        try:
            with self._lock.held(commands, lambda: self._wait(events)), self.display.shown():
                yield
        finally:
            self.display.stop_waiting()

    def _wait(self, events: EventSink) -> None:
        self.display.wait()
        events(Stage("host.stage_waiting"))


def _finish_starting() -> None:
    """The load at the WebUI's start takes no queue lock, and is not over when the model is there."""
    _ = shared.sd_model
    with sd_models.model_data.lock:
        return


def _precision(model: torch.nn.Module) -> str:
    """ "fp16" or "fp32", as the U-Net lies; of fp8, which is not trained on, what it is computed in."""
    dtype = next(parts_of(model)["unet"].parameters()).dtype
    return "fp32" if dtype == torch.float32 else "fp16"


def _bytes(part: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*part.parameters(), *part.buffers()))
