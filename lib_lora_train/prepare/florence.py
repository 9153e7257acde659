"""Captions by Florence-2 (Microsoft, MIT licence), where the installed transformers has it built in."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped, ignore_events

if TYPE_CHECKING:
    import torch

# With weights in the layout of transformers itself; the first publication's needs code from its repository to be run.
REPOSITORIES = ("florence-community/Florence-2-base", "florence-community/Florence-2-large")
FOLDER = "florence-2"  # in the models folder, for files brought by hand
TASK = "<DETAILED_CAPTION>"
MAX_NEW_TOKENS = 200


@dataclass(frozen=True)
class Florence:
    """Implements `host.base.Captioner`. `models` is the folder of helper models.

    `device` is where it is computed; None: on the GPU where there is one.
    """

    models: Path
    device: torch.device | None = None
    name: str = "florence2"

    @property
    def key(self) -> str:
        return f"florence2-{TASK.strip('<>').lower()}"

    def trouble(self) -> UserError | None:
        if find_spec("transformers") is None:
            return UserError("tagging.florence_missing_package", "transformers")
        if self._folder() is None:
            return UserError("tagging.florence_missing", FOLDER, repository=REPOSITORIES[0])
        if find_spec("transformers.models.florence2") is None:
            return UserError("tagging.florence_too_old", "transformers", version=_version())
        return None

    @contextmanager
    def loaded(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> Iterator[Callable[[Image.Image], str]]:
        """See `host.base.Captioner.loaded`. Raises UserError: tagging.florence_*. No network is used."""
        commands, events = commands or Commands(), events or ignore_events
        trouble, folder = self.trouble(), self._folder()
        if trouble is not None or folder is None:
            raise trouble or UserError("tagging.florence_missing", FOLDER, repository=REPOSITORIES[0])
        import torch  # here: its name and key are asked for by commands that have no need of torch

        events(Stage("tagging.stage_loading"))
        device = self.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with _tried(folder):
            held = [_Model(folder, device)]

        def caption(image: Image.Image) -> str:
            if commands.stopping:
                raise Stopped
            with _tried(folder):
                return held[0].caption(image.convert("RGB"))

        try:
            yield caption
        finally:
            held.clear()  # `caption` may live on somewhere; the weights must not
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()

    def _folder(self) -> Path | None:
        """A folder brought by hand, else the hub's cache."""
        by_hand = self.models / FOLDER
        return by_hand if is_florence(by_hand) else next(filter(None, map(_cached, REPOSITORIES)), None)


class _Model:
    """The loaded weights with their processor."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        import torch
        from transformers import AutoProcessor, Florence2ForConditionalGeneration

        # Half precision is for GPUs. safetensors only: loading the other format runs what is in it.
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = Florence2ForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        self._model = model.to(device, self._dtype).eval()

    def caption(self, image: Image.Image) -> str:
        inputs = self._processor(text=TASK, images=image, return_tensors="pt").to(self._model.device, self._dtype)
        found = self._model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, num_beams=3, do_sample=False)
        return " ".join(self._processor.batch_decode(found, skip_special_tokens=True)[0].split())


def is_florence(folder: Path) -> bool:
    """Whether a folder holds the model in the layout of transformers' own classes, and a processor."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    vision = config.get("vision_config") if isinstance(config, dict) else None
    return (
        isinstance(vision, dict)
        and config.get("model_type") == "florence2"
        and vision.get("model_type") == "florence_vision"
        and any(folder.glob("*.safetensors"))
        and (folder / "preprocessor_config.json").is_file()
    )


def _cached(repository: str) -> Path | None:
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json")
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and is_florence(folder) else None


def _version() -> str:
    import transformers

    return str(transformers.__version__)


@contextmanager
def _tried(folder: Path) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except _failures() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError("tagging.florence_failed", folder.name, reason=reason) from error


def _failures() -> tuple[type[Exception], ...]:
    """What reading a model's files and computing with it raises."""
    from safetensors import SafetensorError

    return (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ImportError, SafetensorError)
