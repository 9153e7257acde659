"""The WebUI's two ways to say what is in a picture, as its Interrogate buttons use them: BLIP and DeepDanbooru."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import deepbooru, devices, lowvram, paths, shared
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.webui.kept import overridden
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped, ignore_events

# Takes the WebUI's queue lock and shows it in its bar, for as long as the block lasts.
Turn = Callable[[Commands, EventSink], AbstractContextManager[None]]
# What reading a model's file and computing with it raises.
_FAILURES = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ImportError)
# Tags as captions have them. The backslashes that prompts need before parentheses would be learned.
_DEEPBOORU = {
    "deepbooru_escape": False, "deepbooru_use_spaces": True, "deepbooru_sort_alpha": False,
    "interrogate_return_ranks": False,
}  # fmt: skip


class _WebuiCaptioner:
    """A model file of the WebUI's, below its models folder. We never have it downloaded: without progress and without
    an end, while the WebUI's queue waits."""

    name = ""
    folder = ""
    suffix = ""
    missing = ""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.key = f"webui-{self.name}"

    def trouble(self) -> UserError | None:
        place = Path(paths.models_path) / self.folder
        if any(path.is_file() for path in place.rglob(f"*{self.suffix}")):
            return None
        return UserError(self.missing, f"models/{self.folder}")

    @contextmanager
    def loaded(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> Iterator[Callable[[Image.Image], str]]:
        """See `host.base.Captioner.loaded`. Raises UserError, as `trouble` and "tagging.host_failed"."""
        commands, events = commands or Commands(), events or ignore_events
        trouble = self.trouble()
        if trouble is not None:
            raise trouble
        with self._turn(commands, events):
            events(Stage("tagging.stage_loading"))
            lowvram.send_everything_to_cpu()
            devices.torch_gc()
            try:
                self._tried(self._start)

                def caption(image: Image.Image) -> str:
                    if commands.stopping:
                        raise Stopped
                    return str(self._tried(self._caption, image.convert("RGB")))

                yield caption
            finally:
                self._end()

    def _tried(self, work: Callable[..., Any], *given: Any) -> Any:
        try:
            return work(*given)
        except torch.cuda.OutOfMemoryError:
            raise
        except _FAILURES as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError("tagging.host_failed", self.name, reason=reason) from error

    def _start(self) -> None:
        raise NotImplementedError

    def _caption(self, image: Image.Image) -> str:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class Blip(_WebuiCaptioner):
    """BLIP alone: Interrogate's other half, CLIP and lists of artists, is for prompts and another gigabyte."""

    name, folder, suffix, missing = "blip", "BLIP", ".pth", "tagging.blip_missing"

    def _start(self) -> None:
        interrogator = shared.interrogator
        if interrogator.blip_model is None:
            interrogator.blip_model = interrogator.load_blip_model()
            if not shared.cmd_opts.no_half and not interrogator.running_on_cpu:
                interrogator.blip_model = interrogator.blip_model.half()
        interrogator.blip_model = interrogator.blip_model.to(devices.device_interrogate)
        interrogator.dtype = next(interrogator.blip_model.parameters()).dtype

    def _caption(self, image: Image.Image) -> str:
        return shared.interrogator.generate_caption(image)

    def _end(self) -> None:
        shared.interrogator.unload()  # stays on the device where the user has set so


class DeepDanbooru(_WebuiCaptioner):
    """Tags above the WebUI's own threshold, likeliest first, without those that its settings filter out."""

    name, folder, suffix, missing = "deepdanbooru", "torch_deepdanbooru", ".pt", "tagging.deepdanbooru_missing"

    def _start(self) -> None:
        deepbooru.model.start()

    def _caption(self, image: Image.Image) -> str:
        with overridden(shared.opts.data, _DEEPBOORU):
            return deepbooru.model.tag_multi(image, force_disable_ranks=True)

    def _end(self) -> None:
        if deepbooru.model.model is not None:
            deepbooru.model.stop()
