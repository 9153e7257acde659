"""A plain LoRA loop, for tuning the base and the demo's settings; the real trainer is ``lib_lora_train``."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from demo.character import Settings, regularisation_set, training_set
from demo.models import build_scheduler, token_ids
from demo.training import encode

Parts = tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel, AutoencoderKL]


class Adapter(nn.Module):
    """A low-rank addition to one Linear or 1x1 convolution, hung into the module's own ``forward``."""

    def __init__(self, module: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        if isinstance(module, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(module.in_channels, rank, 1, bias=False)
            self.up: nn.Module = nn.Conv2d(rank, module.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(module.in_features, rank, bias=False)
            self.up = nn.Linear(rank, module.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)
        self.scale, self.original = alpha / rank, module.forward
        module.forward = self.forward

    def forward(self, x: Tensor) -> Tensor:
        return self.original(x) + self.up(self.down(x)) * self.scale


def unet_sites(unet: nn.Module) -> list[nn.Module]:
    """kohya's: every Linear and 1x1 convolution in the transformer blocks."""
    return [
        module
        for name, module in unet.named_modules()
        if "attentions" in name
        and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)))
    ]


def text_sites(text_encoder: nn.Module) -> list[nn.Module]:
    return [
        module
        for name, module in text_encoder.named_modules()
        if isinstance(module, nn.Linear) and ("self_attn" in name or "mlp" in name)
    ]


class Probe:
    """Character pictures and, each time equally many, regularisation pictures; AdamW, cosine, min-SNR."""

    def __init__(self, parts: Parts, settings: Settings, seed: int) -> None:
        torch.manual_seed(seed)
        self.tokenizer, self.text_encoder, self.unet, vae = parts
        self.settings, self.rng = settings, random.Random(seed)
        for module in (self.text_encoder, self.unet):
            module.requires_grad_(False)
        self.sites = [unet_sites(self.unet), text_sites(self.text_encoder)]
        self.adapters = [
            nn.ModuleList(Adapter(m, settings.rank, settings.alpha) for m in group) for group in self.sites
        ]
        self.sets = [training_set(seed, settings.images)]
        if settings.regularisation_images:
            self.sets.append(regularisation_set(seed + 1, settings.regularisation_images))
        self.latents = []
        for pairs in self.sets:
            pictures = torch.from_numpy(np.stack([np.asarray(image) for image, _ in pairs])).permute(0, 3, 1, 2)
            self.latents.append(encode(vae, pictures))

    def batch(self) -> tuple[Tensor, list[str]]:
        """Half character, half regularisation (if there is any); tags shuffled."""
        latents, captions = [], []
        for i in range(self.settings.batch_size):
            kind = i % len(self.sets)
            number = self.rng.randrange(len(self.sets[kind]))
            first, *words = self.sets[kind][number][1].split(", ")
            self.rng.shuffle(words)
            latents.append(self.latents[kind][number])
            captions.append(", ".join([first, *words]))
        return torch.stack(latents), captions

    def train(self) -> None:
        settings = self.settings
        rates = (settings.unet_lr, settings.text_encoder_lr)
        groups = [{"params": list(a.parameters()), "lr": r} for a, r in zip(self.adapters, rates, strict=True)]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
        parameters = [p for group in groups for p in group["params"]]
        cumulative = build_scheduler().alphas_cumprod
        ratio = cumulative / (1 - cumulative)
        weight = ratio.clamp(max=settings.min_snr_gamma) / ratio
        for step in range(settings.steps):
            rate = min(1.0, (step + 1) / settings.warmup_steps) * (
                0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
            )
            for group, base in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = base * rate
            latents, captions = self.batch()
            t = torch.randint(0, 1000, (len(latents),))
            noise = torch.randn_like(latents)
            share = cumulative[t].view(-1, 1, 1, 1)
            noisy = (share.sqrt() * latents + (1 - share).sqrt() * noise).contiguous(memory_format=torch.channels_last)
            hidden = self.text_encoder(token_ids(self.tokenizer, captions)).last_hidden_state
            error = (self.unet(noisy, t, hidden).sample - noise).square().mean((1, 2, 3))
            (error * weight[t]).mean().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    def detach(self) -> None:
        """The modules' own ``forward`` again."""
        for module in [*self.sites[0], *self.sites[1]]:
            del module.forward
