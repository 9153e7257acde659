"""Pictures by the WebUI's own pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from modules import devices, sd_samplers, shared
from modules.processing import Processed, StableDiffusionProcessingTxt2Img, process_images
from PIL.Image import Image
from torch import Tensor, nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import GenerateRequest
from lib_lora_train.host.infotext import LORA, writable
from lib_lora_train.host.webui.aliases import Alias
from lib_lora_train.host.webui.encoded import KnownPrompts
from lib_lora_train.host.webui.kept import overridden

_MOST_STEPS = 1000
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class Picture:
    """A picture, the text that reproduces it, and the pipeline's own remarks."""

    image: Image
    infotext: str
    comments: tuple[str, ...]


def check_request(sd_model: nn.Module, request: GenerateRequest) -> None:
    """Raises UserError("host.size", "host.steps", "host.sampler", "host.clip_skip") for what cannot be drawn."""
    for name in ("width", "height"):
        if getattr(request, name) % 8 or not 8 <= getattr(request, name) <= 8192:
            raise UserError("host.size", name, value=getattr(request, name))
    if not 1 <= request.steps <= _MOST_STEPS:
        raise UserError("host.steps", "steps", value=request.steps, most=_MOST_STEPS)
    _sampler(request)
    encoder = getattr(getattr(sd_model, "cond_stage_model", None), "wrapped", None)
    if hasattr(encoder, "transformer"):  # the others read the same layer whatever is asked for
        layers = len(encoder.transformer.text_model.encoder.layers)
        if not 1 <= request.clip_skip <= layers:
            raise UserError("host.clip_skip", "clip_skip", value=request.clip_skip, layers=layers)


def draw_pictures(
    sd_model: nn.Module,
    requests: Sequence[GenerateRequest],
    alias: Alias | None,
    known: KnownPrompts,
    by: Hashable | None,
) -> list[Picture]:
    """In one batch; the requests differ in nothing but their seeds. Empty when somebody has cancelled them by the page's
    Interrupt or Skip.

    `by` tells one state of the text encoder from another, for what is `known` of it; with None it is asked anew.

    Raises UserError("host.nan_picture"). To be called inside `asides.undisturbed`.
    """
    state = shared.state
    state.interrupted = state.skipped = state.stopping_generation = False  # pressed before, meant something else
    sampler, scheduler = _sampler(requests[0])
    request = replace(
        requests[0],
        prompt=_without_comments(requests[0].prompt),
        negative_prompt=_without_comments(requests[0].negative_prompt),
    )
    prompt, seeds = request.prompt if alias is None else alias.in_prompt(request.prompt), [one.seed for one in requests]
    alone = len(seeds) == 1
    processing = _Processing(
        sd_model=sd_model,
        prompt=prompt if alone else [prompt] * len(seeds),
        negative_prompt=request.negative_prompt,
        seed=seeds[0] if alone else seeds,
        batch_size=len(seeds),
        sampler_name=sampler,
        scheduler=scheduler,
        steps=request.steps,
        cfg_scale=request.cfg_scale,
        width=request.width,
        height=request.height,
        restore_faces=False,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    # The encoded prompts of the last picture are kept by text and settings; adapters of ours are neither.
    processing.cached_c, processing.cached_uc = [None, None], [None, None]
    if by is not None:
        processing.known, processing.by = known, (by, alias.name if alias is not None else "")
    with closing(processing), overridden(shared.opts.data, {"CLIP_stop_at_last_layers": request.clip_skip}):
        try:
            result = process_images(processing)
        except _Cancelled:
            return []
        except devices.NansException as error:
            raise UserError("host.nan_picture", "NaN") from error
        if len(result.images) != len(seeds):
            return []
        texts = _infotexts(processing, result, request, alias)
    for image, infotext in zip(result.images, texts, strict=True):
        image.info["parameters"] = infotext
    return [Picture(image, text, tuple(processing.comments)) for image, text in zip(result.images, texts, strict=True)]


class _Cancelled(Exception):  # noqa: N818 - not an error
    """The sampling ended early."""


class _Processing(StableDiffusionProcessingTxt2Img):
    known: KnownPrompts | None = None
    by: tuple[Hashable, str] = ("", "")

    def get_conds_with_caching(
        self, function: Callable[..., Any], required_prompts: list[str], steps: int, *others: Any, **named: Any
    ) -> Any:
        """The WebUI's own, with a memory of more than one prompt, and across LoRAs that leave the text encoder alone."""
        if self.known is None or not self._only_ours():
            return super().get_conds_with_caching(function, required_prompts, steps, *others, **named)
        known, decisive = self.known, self.cached_params(tuple(required_prompts), steps, ())
        key = (function.__name__, self.by[0], *decisive)

        def once(*arguments: Any) -> Any:
            return known.of((key, arguments[2:]), lambda: function(*arguments))

        return super().get_conds_with_caching(once, required_prompts, steps, *others, **named)

    def _only_ours(self) -> bool:
        """Whether the prompt has no LoRA or hypernetwork of the user's beside the alias."""
        networks = [(kind, one.items[0]) for kind, found in self.extra_network_data.items() for one in found]
        return networks in ([], [("lora", self.by[1])])

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """What was cut short is not decoded. The flags are read here: other handlers of the page clear them."""
        latents = super().sample(*args, **kwargs)
        if shared.state.interrupted or shared.state.skipped:
            raise _Cancelled
        return latents


def _without_comments(prompt: str) -> str:
    """What stands between # and the end of a line is not drawn, if so set: the tab txt2img has a script for it, which
    pictures of ours do not go through, and a text that is pasted there would give another picture.
    """
    if "#" not in prompt or not getattr(shared.opts, "enable_prompt_comments", False):
        return prompt
    return _COMMENT.sub("", prompt).strip()


def _infotexts(
    processing: StableDiffusionProcessingTxt2Img, result: Processed, request: GenerateRequest, alias: Alias | None
) -> list[str]:
    """The WebUI's own, with the name that the LoRA goes by; one for each picture."""
    count = len(result.images)
    if alias is not None:
        prompt, unwritten = alias.in_infotext(request.prompt)
        processing.all_prompts = result.all_prompts = [prompt] * count
        if unwritten is not None:
            processing.extra_generation_params[LORA] = unwritten
        hashes = alias.shown_hashes(getattr(processing, "lora_hashes", {}))
        processing.extra_generation_params.pop("Lora hashes", None)
        if hashes:
            text = ", ".join(f"{name}: {value}" for name, value in hashes.items())
            processing.extra_generation_params["Lora hashes"] = text
    return [writable(result.infotext(processing, place)) for place in range(count)]


def _sampler(request: GenerateRequest) -> tuple[str, str]:
    """The WebUI's names of sampler and schedule, also from "DPM++ 2M Karras". Raises UserError("host.sampler")."""
    asked = request.sampler.lower()
    own = sd_samplers.samplers_map.get(asked, request.sampler)
    name, schedule = sd_samplers.get_sampler_and_scheduler(own, "Automatic", convert_automatic=False)
    if asked not in sd_samplers.samplers_map and asked != f"{name} {schedule}".lower():
        known = ", ".join(sampler.name for sampler in sd_samplers.all_samplers)
        raise UserError("host.sampler", "sampler", value=request.sampler, known=known)
    return name, schedule
