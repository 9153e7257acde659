"""Called within the WebUI by tests/webui/test_webui_upscaling.py: upscalers with models of its own, a few kilobytes each."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from modules import call_queue, modelloader, shared
from PIL import Image
from spandrel.architectures.ESRGAN import RRDBNet

from lib_lora_train import extension
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, Stopped


class StopsWhenAsked(Commands):
    """Says no `asked` times, and yes from then on."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.asked = asked

    @property
    def stopping(self) -> bool:
        self.asked -= 1
        return self.asked < 0


def put_model(name: str, broken: bool = False) -> list[str]:
    """An ESRGAN of one narrow block with fixed random weights in the models folder; gives what is offered then."""
    path = Path(shared.models_path) / "ESRGAN" / f"{name}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = RRDBNet(num_filters=8, num_blocks=1, scale=4)
    if broken:
        path.write_bytes(b"torn")
    else:
        torch.save(model.state_dict(), path)
    with call_queue.queue_lock:
        modelloader.load_upscalers()
    return offered()


def remove_models() -> list[str]:
    for path in (Path(shared.models_path) / "ESRGAN").glob("*.pth"):
        path.unlink()
    with call_queue.queue_lock:
        modelloader.load_upscalers()
    return offered()


def offered() -> list[str]:
    return extension.studio().host.upscalers()


def upscaled(picture: str, name: str, factor: float, asked: int = 0, tile: int = 192) -> dict[str, Any]:
    """A picture (base64) enlarged by our host. With `asked`, a stop command comes when it has been asked so often."""
    image = Image.open(BytesIO(base64.b64decode(picture)))
    commands = StopsWhenAsked(asked) if asked else Commands()
    before, shared.opts.data["ESRGAN_tile"] = shared.opts.ESRGAN_tile, tile
    random, outcome, result = torch.get_rng_state(), "done", image
    try:
        result = extension.studio().host.upscale(image, name, factor, commands)
    except Stopped:
        outcome = "stopped"
    except UserError as error:
        outcome = error.code
    finally:
        shared.opts.data["ESRGAN_tile"] = before
    state = shared.state
    return {
        "outcome": outcome,
        "mode": result.mode,
        "size": list(result.size),
        "pixels": base64.b64encode(result.tobytes()).decode(),
        "flags": [state.interrupted, state.skipped, state.stopping_generation],
        "job": state.job,
        "random": torch.equal(random, torch.get_rng_state()),
    }
