"""The borrowed model of the embedded host: diffusers and transformers modules behind the protocol."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import Conditioning
from lib_lora_train.host.loading import LoadedModel
from lib_lora_train.host.recompute import Recomputation, diffusers_blocks
from lib_lora_train.host.tokens import CHUNK, count_tokens, join_chunks, tokenize
from lib_lora_train.network.keys import TEXT_ENCODER_PREFIXES, find_text_encoder_sites, find_unet_sites
from lib_lora_train.network.sites import Site


class EmbeddedModel:
    """Implements `host.base.BorrowedModel` for SD1.x. Holds no state of its own but how prompts are read.

    `prediction` is what the U-Net is taken to predict, `clip_skip` and `max_token_length` are kohya's.
    """

    def __init__(self, loaded: LoadedModel, prediction: str, clip_skip: int = 1, max_token_length: int = CHUNK) -> None:
        self.loaded = loaded
        self.family = loaded.info.family
        self.prediction = prediction
        self.checkpoint = loaded.info
        self.device = loaded.device
        self.dtype = loaded.dtype
        self.latent_scale = loaded.latent_scale
        self.alphas_cumprod = loaded.alphas_cumprod.clone()
        self.unet_config = loaded.architecture.unet
        self.recomputation: Recomputation | None = None  # the borrowing's, set by the session
        self._clip_skip = clip_skip
        self._max_tokens = max_token_length

    def encode_images(self, pixels: Tensor, full_precision: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's posterior, fp32, unscaled, each (batch, 4, height/8, width/8).

        `pixels` is (batch, 3, height, width) in -1..1. `full_precision` computes with fp32 copies of the weights;
        the weights themselves are not touched.
        """
        vae = self.loaded.vae
        hidden = self._pass_through((vae.encoder, vae.quant_conv), pixels, full_precision)
        mean, log_variance = hidden.chunk(2, dim=1)
        # The limits are those of the original autoencoder's diagonal Gaussian.
        return mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))

    def decode_latents(self, latents: Tensor, full_precision: bool = False) -> Tensor:
        """Pixels (batch, 3, height, width), about -1..1, fp32, from scaled latents (batch, 4, height/8, width/8).

        They are not clamped, so that an overflow in half precision can be seen.
        """
        vae = self.loaded.vae
        modules = (vae.post_quant_conv, vae.decoder)
        return self._pass_through(modules, latents / self.latent_scale, full_precision)

    def _pass_through(self, modules: Sequence[nn.Module], hidden: Tensor, full_precision: bool) -> Tensor:
        dtype = torch.float32 if full_precision else self.dtype
        hidden = hidden.to(self.device, dtype)
        # Full precision means full precision, also inside somebody's autocast.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            for module in modules:
                if dtype == self.dtype:
                    hidden = module(hidden)
                else:
                    weights = {name: value.to(dtype) for name, value in module.named_parameters()}
                    hidden = functional_call(module, weights, (hidden,))
        return hidden.float()

    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Plain tokens as kohya's: no emphasis, no BREAK, no embedding names. With gradient when grad mode is on."""
        return self.encode(prompts, self._clip_skip, self._max_tokens)

    def encode(self, prompts: Sequence[str], clip_skip: int, max_tokens: int) -> Conditioning:
        """As `encode_prompts`, for another clip skip and another limit (a multiple of 75 tokens).

        Each chunk of 75 tokens passes the text encoder by itself, between its own start and end marks; one pair of
        marks is kept. The result is (prompts, max_tokens + 2, width). For `clip_skip` n the output of the n-th layer
        from the end passes the final normalisation, as the last layer's does.
        """
        text_model = self.loaded.text_encoder.text_model
        ids = tokenize(self.loaded.tokenizer, prompts, max_tokens).to(self.device)
        hidden = self.loaded.text_encoder(ids.flatten(0, 1), output_hidden_states=True, return_dict=True).hidden_states
        states = text_model.final_layer_norm(hidden[-clip_skip])
        return Conditioning(join_chunks(states.unflatten(0, ids.shape[:2])))

    def check_clip_skip(self, clip_skip: int) -> None:
        """Raises UserError("host.clip_skip") when the text encoder has not that many layers."""
        layers = self.loaded.text_encoder.config.num_hidden_layers
        if not 1 <= clip_skip <= layers:
            raise UserError("host.clip_skip", "clip_skip", value=clip_skip, layers=layers)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt, start and end marks not counted."""
        return count_tokens(self.loaded.tokenizer, prompt)

    def denoise(self, noisy: Tensor, timesteps: Tensor, cond: Conditioning, size_ids: Tensor | None = None) -> Tensor:
        """The U-Net's prediction, in its own dtype; shapes as in the protocol. `size_ids` is of no use to SD1."""
        inputs = noisy.to(self.device, self.dtype), timesteps.to(self.device), cond.context.to(self.device, self.dtype)
        return self.loaded.unet(*inputs, return_dict=False)[0]

    def sites(self) -> list[Site]:
        """Where adapters attach: text encoder first, then U-Net, each in kohya's order."""
        return sites_of(self.loaded.text_encoder, self.loaded.unet, self.family)

    def blocks(self) -> list[str]:
        """Names of the blocks that can be recomputed, in forward order."""
        return diffusers_blocks(self.loaded.unet)

    def recompute(self, count: int) -> None:
        """From now on the first `count` of `blocks()` are computed again in the backward pass."""
        if self.recomputation is None:
            raise RuntimeError("the model is not borrowed for training")
        self.recomputation.use(count)

    def rest(self, part: str) -> None:
        """Leaves every part where it is: beside an SD1.x U-Net in training the others are a few hundred MB."""


def sites_of(text_encoder: nn.Module, unet: nn.Module, family: str) -> list[Site]:
    """See `EmbeddedModel.sites`."""
    text = find_text_encoder_sites(text_encoder, family, TEXT_ENCODER_PREFIXES[family][0])
    return text + find_unet_sites(unet, family)
