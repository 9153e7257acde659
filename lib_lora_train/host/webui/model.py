"""The borrowed model of the WebUI: the modules that it has loaded, behind the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import torch
from modules import devices
from torch import Tensor, nn
from torch.func import functional_call

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, CheckpointInfo, Conditioning
from lib_lora_train.host.loading import PREDICTIONS, alphas_cumprod
from lib_lora_train.host.recompute import Recomputation
from lib_lora_train.host.tokens import CHUNK
from lib_lora_train.host.webui.blocks import recomputed_blocks
from lib_lora_train.host.webui.family import family_of
from lib_lora_train.host.webui.half import half_norms, is_half, own_dtype
from lib_lora_train.host.webui.size_embedding import embed_sizes
from lib_lora_train.host.webui.sizes import heads_of, unet_config
from lib_lora_train.host.webui.text import PromptText
from lib_lora_train.network.keys import find_unet_sites
from lib_lora_train.network.sites import Site


class Placement(Protocol):
    """Where the parts of the model lie: "unet", "text_encoder" (of SDXL both) and "vae"."""

    def use(self, part: str) -> None:
        """On the device from now on; cheap when it is there already."""
        ...

    def rest(self, part: str) -> None:
        """May leave the device until it is used again."""
        ...


class WebuiModel:
    """Implements `host.base.BorrowedModel` on the WebUI's modules, which it does not change.

    To be entered before the first step: normalisations compute in half, and blocks are recomputed, inside only. The
    model must be frozen, in evaluation mode and free of the WebUI's own hooks that move parts of it; that is the
    borrowing's work.
    Raises UserError("host.prediction", "host.token_limit"), and as `family.family_of` and `text.PromptText`.
    """

    def __init__(self, sd_model: nn.Module, info: CheckpointInfo, request: BorrowRequest, placement: Placement) -> None:
        self.sd_model = sd_model
        self.family = family_of(sd_model, info.name)
        self.checkpoint = replace(info, family=self.family)
        self.prediction = _prediction(sd_model, request)
        self.device: torch.device = devices.device
        self._unet: nn.Module = sd_model.model.diffusion_model
        self._vae: nn.Module = sd_model.first_stage_model
        self.dtype: torch.dtype = self._unet.input_blocks[0][0].weight.dtype
        self.latent_scale = float(sd_model.scale_factor)
        self.alphas_cumprod = _schedule(sd_model, info.name)
        shapes = {name: tuple(tensor.shape) for name, tensor in self._unet.named_parameters()}
        heads = heads_of(self._unet.num_heads, self._unet.num_head_channels)
        self.unet_config = unet_config(shapes, heads, info.name)
        if request.max_token_length not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
            raise UserError("host.token_limit", "max_token_length", value=request.max_token_length)
        self._text = PromptText(sd_model, self.family, request.clip_skip, request.max_token_length, info.name)
        self._placement = placement
        self._half = is_half(self._unet)
        self._blocks = recomputed_blocks(self._unet)
        self._recomputation = Recomputation(self._unet, list(self._blocks.values()))
        self._recomputed = request.checkpointed_blocks
        self._entered = ExitStack()

    def __enter__(self) -> WebuiModel:
        if self._half:
            self._entered.enter_context(half_norms(self._unet))
        self._entered.enter_context(self._recomputation)
        self.recompute(self._recomputed)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def encode_images(self, pixels: Tensor, full_precision: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's posterior, fp32, unscaled, each (batch, 4, height/8, width/8).

        `pixels` is (batch, 3, height, width) in -1..1. `full_precision` computes with fp32 copies of the weights;
        the weights themselves are not touched.
        """
        self._placement.use("vae")
        own = self._vae.quant_conv.weight.dtype
        dtype = torch.float32 if full_precision else own
        hidden = pixels.to(self.device, dtype)
        # Module by module: `encode` draws from torch's global random state, and of SDXL returns the draw alone.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for module in (self._vae.encoder, self._vae.quant_conv):
                if dtype == own:
                    hidden = module(hidden)
                else:
                    weights = {name: value.to(dtype) for name, value in module.named_parameters()}
                    hidden = functional_call(module, weights, (hidden,))
        mean, log_variance = hidden.float().chunk(2, dim=1)
        # The limits are those of the original autoencoder's diagonal Gaussian.
        return mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Plain tokens as kohya's: no emphasis, no BREAK, no embedding names. With gradient when grad mode is on."""
        self._placement.use("text_encoder")
        cond = self._text.encode(prompts, self.device)
        pooled = None if cond.pooled is None else cond.pooled.to(self.dtype)
        return Conditioning(cond.context.to(self.dtype), pooled)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt, start and end marks not counted."""
        return self._text.count(prompt)

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, size_ids: Tensor | None = None) -> Tensor:
        """The U-Net's prediction, in its own dtype; shapes as in the protocol. SDXL needs `size_ids` and `pooled`."""
        self._placement.use("unet")
        noisy, timesteps = noisy.to(self.device, self.dtype), timesteps.to(self.device)
        context, vector = cond.context.to(self.device, self.dtype), None
        if self.family == "sdxl":
            if size_ids is None or cond.pooled is None:
                raise RuntimeError("SDXL needs the sizes of the pictures and the pooled text encoding")
            sizes = embed_sizes(size_ids.to(self.device)).to(self.dtype)
            vector = torch.cat([cond.pooled.to(self.device, self.dtype), sizes], dim=1)
        if self._half:
            with own_dtype(self._unet, self.dtype):
                return self._unet(noisy, timesteps=timesteps, context=context, y=vector)
        # In the WebUI's own way, which knows what to do where types are mixed.
        named = {"c_crossattn": [context]} if vector is None else {"crossattn": context, "vector": vector}
        return self.sd_model.apply_model(noisy, timesteps, named)

    def sites(self) -> list[Site]:
        """Where adapters attach: text encoders first, then U-Net, each in kohya's order."""
        return self._text.sites() + find_unet_sites(self._unet, self.family)

    def blocks(self) -> list[str]:
        """Names of the blocks that can be recomputed, in forward order."""
        return list(self._blocks)

    def recompute(self, count: int) -> None:
        """From now on the first `count` of `blocks()` are computed again in the backward pass."""
        self._recomputation.use(count)

    def rest(self, part: str) -> None:
        """Not needed for now; see the protocol."""
        self._placement.rest(part)


def _schedule(sd_model: nn.Module, where: str) -> Tensor:
    """(1000,) fp32. An option can have rounded it to half before this checkpoint took another one's place."""
    original = sd_model.alphas_cumprod_original.detach()
    if original.dtype == torch.float32:
        return original.clone()
    config = {"beta_schedule": "scaled_linear", "num_train_timesteps": len(original)}
    ends = {"beta_start": sd_model.linear_start, "beta_end": sd_model.linear_end}
    return alphas_cumprod({**config, **ends}, where).to(original.device)


def _prediction(sd_model: nn.Module, request: BorrowRequest) -> str:
    if request.prediction == "auto":
        return "v_prediction" if sd_model.parameterization == "v" else "epsilon"
    if request.prediction not in PREDICTIONS:
        raise UserError("host.prediction", "prediction", value=request.prediction)
    return request.prediction
