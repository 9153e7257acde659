"""The shapes of the demo's text encoder, U-Net and noise schedule, and a plain sampler."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 64  # of the text encoder, and so of cross-attention


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers. Token vectors start larger than CLIP's, for so few dimensions."""
    end = tokenizer.eos_token_id
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=end,
            pad_token_id=end,
        )
    )
    torch.nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.25)
    return model


def build_unet() -> UNet2DConditionModel:
    """Stable Diffusion 1's layout (two layers per block, so tools that count blocks find them), few channels."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 64, 64, 64),
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    )


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
    )


def write_index(folder: Path) -> None:
    """``model_index.json`` and the scheduler, so that ``StableDiffusionPipeline.from_pretrained`` opens the folder."""
    build_scheduler().save_pretrained(str(folder / "scheduler"))
    parts = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", **parts}
    index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def load_parts(folder: Path) -> tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel, AutoencoderKL]:
    """The checkpoint in fp32, channels last where that is faster."""
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    text_encoder = CLIPTextModel.from_pretrained(str(folder / "text_encoder")).float()
    unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"), torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(str(folder / "vae"), torch_dtype=torch.float32)
    channels_last = torch.channels_last
    return (
        tokenizer,
        text_encoder.eval(),
        unet.eval().to(memory_format=channels_last),
        vae.eval().to(memory_format=channels_last),
    )


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """(n, 77) ids, padded as Stable Diffusion 1 does."""
    return tokenizer(captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def sample_latents(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    prompts: list[str],
    seeds: list[int],
    guidance: float = 2.5,
    steps: int = 20,
    batch: int = 32,
) -> Tensor:
    """Latents (n, 4, 16, 16), scaled, by DDIM with classifier-free guidance; one seed per prompt."""
    scheduler = build_scheduler()
    results = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]]
        latents = torch.stack([torch.randn(4, 16, 16, generator=generator) for generator in generators])
        hidden = text_encoder(token_ids(tokenizer, [""] * len(part) + part)).last_hidden_state
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            doubled = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
            empty, asked = unet(doubled, t, hidden).sample.chunk(2)
            latents = scheduler.step(empty + guidance * (asked - empty), t, latents).prev_sample
        results.append(latents)
    return torch.cat(results)
