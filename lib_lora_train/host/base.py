"""The host protocol: what training needs of whoever holds the model.

Two hosts speak it: the embedded one (diffusers) and the WebUI's. The trainer sees nothing else of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.host.hints import TrainingHints
from lib_lora_train.network.sites import Site
from lib_lora_train.signals import Commands, Event, EventSink

if TYPE_CHECKING:
    from lib_lora_train.network.network import AdapterNetwork


@dataclass(frozen=True)
class BorrowRequest:
    """What is to be done with the model. `resolutions` are the (width, height) in pixels that will be trained.

    The first `checkpointed_blocks` of the model's `blocks()` are computed again in the backward pass.
    """

    checkpoint: str
    train_unet: bool = True
    train_text_encoder: bool = True
    clip_skip: int = 1
    max_token_length: int = 75
    dtype: torch.dtype = torch.float32
    checkpointed_blocks: int = 0
    resolutions: tuple[tuple[int, int], ...] = ()
    prediction: str = "auto"


@dataclass
class Conditioning:
    """Encoded prompts. `context` is (batch, tokens, width); `pooled` is (batch, width), SDXL only."""

    context: Tensor
    pooled: Tensor | None = None

    def select(self, index: Sequence[int]) -> Conditioning:
        rows = list(index)
        return Conditioning(self.context[rows], None if self.pooled is None else self.pooled[rows])


@dataclass(frozen=True)
class CheckpointInfo:
    """A checkpoint that can be trained on. Hashes are empty until they have been computed."""

    name: str
    path: Path
    family: str = ""  # sd1, sd2 or sdxl
    sha256: str = ""


@dataclass(frozen=True)
class CheckpointFacts:
    """What the header of a checkpoint says; nothing is loaded for it.

    `native` is the side in pixels that it was made for. `unet_config` and `text_config` hold the sizes under the names
    of diffusers and transformers, `parameters` their number by part (unet, text_encoder, vae).
    """

    info: CheckpointInfo
    family: str
    prediction: str  # epsilon or v_prediction
    native: int
    unet_config: Mapping[str, Any]
    text_config: Mapping[str, Any]
    parameters: Mapping[str, int]
    hints: TrainingHints


@dataclass(frozen=True)
class Memory:
    """Bytes of the device that trains: of the GPU, or of the computer where a processor trains.

    `loaded` is fp16, bf16 or fp32 when the model is on the device already and is trained as it is, so that `free` is
    what is left beside it; empty when the model is still to be loaded.
    """

    free: int
    total: int
    device: str  # cuda, mps or cpu
    bfloat16: bool = False  # the device computes in it
    loaded: str = ""


@dataclass(frozen=True)
class GenerateRequest:
    """One picture to draw. `lora` is a file; `weight` 0 draws without it.

    `checkpoint` is that to draw with, by name or path; empty is the borrowed one, else the one that is loaded.
    """

    prompt: str
    negative_prompt: str = ""
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg_scale: float = 7.0
    seed: int = 0
    sampler: str = "DDIM"
    clip_skip: int = 1
    lora: Path | None = None
    weight: float = 1.0
    checkpoint: str = ""


@dataclass
class Generated:
    """A drawn picture with the text that reproduces it."""

    image: Image
    infotext: str
    request: GenerateRequest


@dataclass(frozen=True)
class LoraCheck:
    """How many of the `total` layers that a LoRA file names the host's loader puts something on; the file's own names,
    without what stands after the point, of the others."""

    matched: int
    total: int
    unmatched: tuple[str, ...] = ()


def places(requests: Sequence[GenerateRequest], drawn: Sequence[Generated]) -> list[int]:
    """For each of the pictures `drawn` its index in `requests`: cancelled ones are left out, the order is the same."""
    found: list[int] = []
    place = 0
    for picture in drawn:
        while requests[place] != picture.request:
            place += 1
        found.append(place)
        place += 1
    return found


class BorrowedModel(Protocol):
    """A loaded model that is safe to train adapters on until the borrowing ends."""

    family: str  # sd1, sd2 or sdxl
    prediction: str  # epsilon or v_prediction
    checkpoint: CheckpointInfo
    device: torch.device
    dtype: torch.dtype
    latent_scale: float  # 0.18215 (SD), 0.13025 (SDXL)
    alphas_cumprod: Tensor  # (1000,) fp32, the checkpoint's own
    unet_config: Mapping[str, Any]  # the U-Net's sizes under diffusers' names

    def encode_images(self, pixels: Tensor, full_precision: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's posterior, fp32, unscaled, each (batch, 4, height/8, width/8).

        `pixels` is (batch, 3, height, width) in -1..1. `full_precision` runs the VAE in fp32.
        """
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Plain tokens as kohya's: no emphasis, no BREAK, no embedding names. With gradient when grad mode is on."""
        ...

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt, start and end marks not counted."""
        ...

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, size_ids: Tensor | None = None) -> Tensor:
        """The U-Net's prediction, in its own dtype.

        `noisy` is (batch, 4, height/8, width/8), `timesteps` (batch,) int64. `size_ids` is (batch, 6) for SDXL:
        original height, width, crop top, left, target height, width.
        """
        ...

    def sites(self) -> list[Site]:
        """Where adapters attach, in kohya's order: text encoder first, then U-Net, each in module order."""
        ...

    def blocks(self) -> list[str]:
        """Names of the blocks that can be recomputed, in forward order."""
        ...

    def recompute(self, count: int) -> None:
        """From now on the first `count` of `blocks()` keep no activations and are computed again for the backward.

        Callable at any time between steps: how many are needed is known only when the latents are cached and the
        rest of the memory is free.
        """
        ...

    def rest(self, part: str) -> None:
        """`part`, "vae" or "text_encoder", is not needed for now: the host may take it off the device.

        It comes back by itself when it is used, and when the borrowing ends.
        """
        ...


class Session(Protocol):
    """The host's generation lock, held.

    `switches` is how often, for pictures so far, another LoRA file or the same at another weight was put on the model.
    """

    @property
    def switches(self) -> int: ...

    def borrow(self, request: BorrowRequest) -> AbstractContextManager[BorrowedModel]:
        """The model, exactly as it was again afterwards, on every exit path."""
        ...

    def generate(self, requests: Sequence[GenerateRequest], network: AdapterNetwork | None = None) -> list[Generated]:
        """Pictures in the order of the requests, drawn by the host's own pipeline.

        A request's `lora` file is on at its `weight`, and no other adapter. `network` is one that is in training and
        attached to the borrowed model: it is on, at the request's weight, for requests without a file. Torch's global
        random state is as it was afterwards. A picture that somebody cancels by the host's own means is left out, and
        the session's events are told Log("host.sample_cancelled"). Raises Stopped when a stop command comes meanwhile.
        """
        ...


class Captioner(Protocol):
    """Whoever says in words what is in a picture: a host's, or one of `prepare.captioners`."""

    name: str  # one of `prepare.tables.CAPTIONERS`
    key: str  # another one when it may say something else

    def trouble(self) -> UserError | None:
        """Why it cannot be used; None when it seems that it can. Fast; nothing is loaded, and no network is used."""
        ...

    def loaded(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> AbstractContextManager[Callable[[Image], str]]:
        """A function from a picture to a sentence, or to tags between commas; its memory is free after the block.

        A host's takes the host's lock for the whole block, so it may not be entered within a session. Entering and
        calling raise UserError, and Stopped when a stop command comes meanwhile.
        """
        ...


class TokenCounter(Protocol):
    """Counts as kohya's trainer: a checkpoint's own tokens, start and end marks not counted. Safe for threads."""

    key: str  # another one where the same text may have another number
    name: str  # of the checkpoint
    trouble: UserError | None  # why nothing can be counted

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; -1 where there is trouble. Fast, also for thousands of captions."""
        ...

    def cut(self, text: str, limit: int) -> int:
        """Index of the first character that does not fit into `limit` tokens; -1 when all fits."""
        ...


@dataclass(frozen=True)
class HostPaths:
    """Folders of a host."""

    projects: Path
    loras: Path
    models: Path  # cache of helper models (tagger, faces, mattes)


class Host(Protocol):
    """Whoever holds checkpoints."""

    name: str
    paths: HostPaths
    device: torch.device  # where models are computed

    def checkpoints(self) -> list[CheckpointInfo]: ...

    def current(self) -> CheckpointInfo | None: ...

    def describe(self, checkpoint: str) -> CheckpointFacts:
        """A checkpoint by name or path, from its header; fast when asked again.

        Raises UserError for one that is not there or cannot be trained on.
        """
        ...

    def memory(self) -> Memory: ...

    def session(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> AbstractContextManager[Session]:
        """Takes the host's lock once. While it waits, `events` is told; a stop command then raises Stopped."""
        ...

    def wanted(self) -> bool:
        """Whether somebody waits for the lock by the host's own means, as who presses Generate in the WebUI: a session
        that can be taken up again may end for them. Fast."""
        ...

    def refresh_loras(self) -> None:
        """A new file is visible at once."""
        ...

    def check_lora(
        self, path: Path, checkpoint: str = "", commands: Commands | None = None, events: EventSink | None = None
    ) -> LoraCheck:
        """Reads a LoRA file by the loader that it draws with, and looks what of it fits `checkpoint`; nothing is drawn.

        Without a name it is the checkpoint that is loaded, else the one that would be. Takes the host's lock if it needs
        it, as `session` does, so it may not be called within one. Raises UserError for a file that cannot be read or is
        no LoRA.
        """
        ...

    def pictures_at_once(self, width: int, height: int) -> int:
        """How many pictures of this size in pixels are best drawn together; always the same on the same machine.

        So many requests of one file and weight fill the device. More may be given to `Session.generate`.
        """
        ...

    def upscalers(self) -> list[str]:
        """Names of models that enlarge pictures and are there; none where the host has no such thing. Fast."""
        ...

    def upscale(self, image: Image, name: str, factor: float, commands: Commands | None = None) -> Image:
        """The picture `factor` times as wide and as high by one of `upscalers()`, RGB, or RGBA if it has transparency.

        Takes the host's lock for this one picture, so it may not be called within a session. Raises UserError, and
        Stopped when a stop command comes meanwhile.
        """
        ...

    def captioners(self) -> list[Captioner]:
        """Its own, whether or not their models are there; none where the host has no such thing. Fast."""
        ...

    def token_counter(self) -> TokenCounter | None:
        """Of the loaded checkpoint, else of the first there is: only its vocabulary is read, without any network.

        None where there is no checkpoint. Fast when asked again.
        """
        ...

    def model_files(self) -> Mapping[str, Sequence[Path]]:
        """Files of `vision.models.KNOWN` that it has for purposes of its own, by the model's name; only read."""
        ...

    def tell(self, event: Event) -> None:
        """Hears every event of a running job, for a display of the host's own. Takes no time and raises nothing."""
        ...
