"""The WebUI's upscalers: which of them can be used at once, and one picture enlarged by one of them.

As in its Extras tab a model is read from its file for every picture, beside the checkpoint and without touching it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, shared
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.webui.kept import attributes_kept, random_states_kept
from lib_lora_train.signals import Commands, Stopped

_MOST_PASSES = 3  # a model enlarges by its own factor; the WebUI, too, uses it no more often than this
_POLL_SECONDS = 0.05
# What reading a model's file and computing with it raises.
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError)


def upscaler_names() -> list[str]:
    """Those whose model is a file on the disk, in the WebUI's order.

    Others would be downloaded at their first use, without progress, while the WebUI's queue waits. None, Lanczos and
    Nearest invent no detail.
    """
    return list(dict.fromkeys(entry.name for entry in _entries()))


def upscale(image: Image.Image, name: str, factor: float, commands: Commands) -> Image.Image:
    """The picture `factor` times as wide and as high, RGB or, where it has transparency, RGBA. Needs the queue lock.

    What the model's own factor is short of or has too much is made up by Lanczos; so is all of the transparency.
    Raises Stopped, and UserError: "host.no_upscaler", "webui.upscale_failed", "webui.upscale_nothing" or
    "webui.upscale_cancelled".
    """
    entry = next((entry for entry in _entries() if entry.name == name), None)
    if entry is None:
        raise UserError("host.no_upscaler", name)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    whole = image.convert("RGBA" if transparent else "RGB")
    with _interrupted_by(commands), attributes_kept(entry.scaler, ["scale"]), random_states_kept(devices.device):
        entry.scaler.scale = factor
        try:
            enlarged = _enlarge(entry, whole.convert("RGB"), size)
        except torch.cuda.OutOfMemoryError:
            raise
        except _FAILURES as error:
            raise UserError("webui.upscale_failed", name, reason=str(error) or type(error).__name__) from error
    if enlarged.size != size:
        enlarged = enlarged.resize(size, Image.Resampling.LANCZOS)
    if transparent:
        enlarged.putalpha(whole.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    return enlarged


def _enlarge(entry: Any, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    for _ in range(_MOST_PASSES):
        larger = entry.scaler.do_upscale(image, entry.data_path)
        if shared.state.interrupted:
            raise UserError("webui.upscale_cancelled", entry.name)
        if larger.size == image.size:
            # The WebUI reports a model that it cannot read in its console, and gives the picture back as it was.
            raise UserError("webui.upscale_nothing", entry.name)
        image = larger
        if image.width >= size[0] and image.height >= size[1]:
            break
    return image.convert("RGB")


def _entries() -> Iterator[Any]:
    for entry in list(shared.sd_upscalers):
        # The path by which a model is asked for can be an address; beside it stands where the file lies.
        path = getattr(entry, "local_data_path", None) or entry.data_path
        if path and Path(path).is_file():
            yield entry


@contextmanager
def _interrupted_by(commands: Commands) -> Iterator[None]:
    """A stop command presses the WebUI's own Interrupt, which upscalers look at between tiles; then raises Stopped."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            if commands.stopping:
                shared.state.interrupted = True
                return

    if commands.stopping:
        raise Stopped
    watcher = threading.Thread(target=watch, name="lora-train-upscale", daemon=True)
    watcher.start()
    try:
        yield
    except UserError as error:
        if commands.stopping and error.code == "webui.upscale_cancelled":
            raise Stopped from error
        raise
    finally:
        over.set()
        watcher.join()
