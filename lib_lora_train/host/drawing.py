"""Pictures from requests on the embedded host: grouped, batched, with the right adapters on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import Conditioning, Generated, GenerateRequest
from lib_lora_train.host.embedded_model import EmbeddedModel
from lib_lora_train.host.encoded import EncodedPrompts
from lib_lora_train.host.infotext import infotext
from lib_lora_train.host.sampling import draw_noise, sample, timesteps_for
from lib_lora_train.host.tokens import CHUNK
from lib_lora_train.network.fixed import LastFixed
from lib_lora_train.network.modules import NetworkState, attached_states
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site

_SAMPLED_PIXELS = 2**19  # two pictures of 512 x 512 at once; drawing shares its memory with training
_DECODED_PIXELS = 2**18  # the autoencoder needs most, and gains least from batches
_MOST_CHUNKS = 3  # as in training: 225 tokens

Adapters = Callable[[Path, float], AdapterNetwork]  # of a file, for a weight


@dataclass(frozen=True)
class Kept:
    """What is used again for the next pictures, of one model that nobody trains meanwhile."""

    encoded: EncodedPrompts = field(default_factory=EncodedPrompts)
    fixed: LastFixed = field(default_factory=LastFixed)


@dataclass(frozen=True)
class _Group:
    """What the pictures of one batch have in common."""

    width: int
    height: int
    steps: int
    sampler: str
    clip_skip: int
    chunks: int
    guided: bool
    lora: Path | None
    weight: float


def draw(
    model: EmbeddedModel,
    requests: Sequence[GenerateRequest],
    load_adapters: Adapters,
    network: AdapterNetwork | None = None,
    between: Callable[[], None] = lambda: None,
    drawn: Callable[[int], None] = lambda count: None,
    kept: Kept | None = None,
) -> list[Generated]:
    """Pictures in the order of `requests`; see `host.base.Session.generate`.

    A picture does not depend on the batch it is drawn in: noise and guidance are its own. `between` is called
    before every step, `drawn` with the number of finished pictures. `kept` is from pictures of the model before.
    """
    kept = kept or Kept()
    groups: dict[_Group, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(_group(model, request), []).append(index)
    sites = model.sites()
    images: dict[int, Image.Image] = {}
    for group, members in groups.items():
        batch = pictures_at_once(group.width, group.height)
        on = _wanted(group, load_adapters, network)
        fixed = kept.fixed if group.lora is not None else LastFixed()  # that of no file may be in training
        with torch.no_grad(), only_on(sites, on, group.weight, fixed):
            for start in range(0, len(members), batch):
                chosen = members[start : start + batch]
                encode = partial(_encode, model, group, on, kept.encoded)
                latents = _sample(model, group, [requests[index] for index in chosen], encode, between)
                images |= dict(zip(chosen, _decode(model, latents), strict=True))
                drawn(len(images))
    return [
        Generated(images[index], infotext(request, model.checkpoint, _lora_name(request)), request)
        for index, request in enumerate(requests)
    ]


def pictures_at_once(width: int, height: int) -> int:
    """Always the same for one size, so that a grid that is gone on with is drawn in the same batches."""
    return max(1, _SAMPLED_PIXELS // (width * height))


def _group(model: EmbeddedModel, request: GenerateRequest) -> _Group:
    """Raises UserError for sizes, samplers and numbers that cannot be."""
    for name in ("width", "height"):
        if getattr(request, name) % 8 or not 8 <= getattr(request, name) <= 8192:
            raise UserError("host.size", name, value=getattr(request, name))
    timesteps_for(request.sampler, request.steps, len(model.alphas_cumprod))
    model.check_clip_skip(request.clip_skip)
    tokens = max(model.count_tokens(request.prompt), model.count_tokens(request.negative_prompt), 1)
    return _Group(
        width=request.width,
        height=request.height,
        steps=request.steps,
        sampler=request.sampler,
        clip_skip=request.clip_skip,
        chunks=min(_MOST_CHUNKS, -(-tokens // CHUNK)),
        guided=request.cfg_scale != 1.0,
        lora=request.lora,
        weight=request.weight,
    )


def _lora_name(request: GenerateRequest) -> str | None:
    return request.lora.stem if request.lora is not None and request.weight != 0 else None


@contextmanager
def only_on(sites: Sequence[Site], network: AdapterNetwork | None, weight: float, fixed: LastFixed) -> Iterator[None]:
    """`network` on at `weight`, without dropout, and all other adapters of the `sites` off; as before afterwards.

    One that is not attached is attached for the block; by `fixed` where no other is.
    """
    with ExitStack() as stack:
        attached = attached_states(site.module for site in sites)
        for state in attached:
            stack.callback(_set, state, state.multiplier, state.training)
            _set(state, 0.0, False)
        if network is not None:
            if not any(state is network.state for state in attached):
                stack.callback(_set, network.state, network.state.multiplier, network.state.training)
                one = network if attached else fixed.of(network, weight)
                stack.enter_context(one.attached())
            _set(network.state, weight, False)
        yield


def _wanted(group: _Group, load_adapters: Adapters, network: AdapterNetwork | None) -> AdapterNetwork | None:
    if group.lora is None:
        return network
    return load_adapters(group.lora, group.weight) if group.weight != 0 else None


def _set(state: NetworkState, multiplier: float, training: bool) -> None:
    state.multiplier, state.training = multiplier, training


def _sample(
    model: EmbeddedModel,
    group: _Group,
    requests: Sequence[GenerateRequest],
    encode: Callable[[Sequence[str]], Tensor],
    between: Callable[[], None],
) -> Tensor:
    """Scaled latents (batch, 4, height/8, width/8), fp32 on the model's device."""
    positive = encode([request.prompt for request in requests])
    negative = encode([request.negative_prompt for request in requests]) if group.guided else None
    scales = torch.tensor([request.cfg_scale for request in requests], device=model.device).view(-1, 1, 1, 1)

    def predict(latents: Tensor, timesteps: Tensor) -> Tensor:
        if negative is None:
            return model.denoise(latents, timesteps, Conditioning(positive)).float()
        both = Conditioning(torch.cat([negative, positive]))
        output = model.denoise(torch.cat([latents] * 2), torch.cat([timesteps] * 2), both).float()
        without, toward = output.chunk(2)
        return without + scales * (toward - without)  # Ho and Salimans (2022), in the usual form

    noise = draw_noise([request.seed for request in requests], group.height, group.width).to(model.device)
    timesteps = timesteps_for(group.sampler, group.steps, len(model.alphas_cumprod))
    return sample(predict, noise, timesteps, model.alphas_cumprod, model.prediction, between)


def _encode(
    model: EmbeddedModel, group: _Group, on: AdapterNetwork | None, encoded: EncodedPrompts, prompts: Sequence[str]
) -> Tensor:
    """(prompts, tokens, width). Each text by itself, so that it does not depend on which of them were known already."""

    def one(text: str) -> Tensor:
        return encoded.of(
            on,
            group.weight,
            (text, group.clip_skip, group.chunks),
            lambda: model.encode([text], group.clip_skip, group.chunks * CHUNK).context,
        )

    return torch.cat([one(text) for text in prompts])


def _decode(model: EmbeddedModel, latents: Tensor) -> list[Image.Image]:
    height, width = (8 * side for side in latents.shape[2:])
    images = []
    for part in latents.split(max(1, _DECODED_PIXELS // (width * height))):
        pixels = model.decode_latents(part)
        if not torch.isfinite(pixels).all() and model.dtype != torch.float32:
            pixels = model.decode_latents(part, full_precision=True)
        values = ((pixels + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
        images += [Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()) for picture in values]
    return images
