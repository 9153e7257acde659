"""A very small checkpoint with random weights in the layout of Stable Diffusion 1.x: about half a million parameters.

It has what the full one has (CLIP text encoder and byte-level BPE tokenizer, KL autoencoder with factor 8 and four
latent channels, U-Net with cross attention on three of four levels) and draws pictures of 64 pixels and up.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lib_lora_train.files import write_json, write_text

TEXT_WIDTH = 32
WORDS = ("a", "girl", "boy", "red", "blue", "hair", "eyes", "hat", "smile", "solo", "zuna")


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes of GPT-2's and CLIP's byte-level BPE, in their order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in kept]
    return symbols + [chr(256 + n) for n in range(256 - len(kept))]


def write_tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's format: every word of `WORDS` is one token, any other text falls apart into bytes."""
    symbols = byte_symbols()
    merges: list[str] = []
    pieces: list[str] = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merge = f"{parts[0]} {parts[1]}"
            parts[:2] = [parts[0] + parts[1]]
            if merge not in merges:
                merges.append(merge)
                pieces.append(parts[0])
    vocabulary = list(dict.fromkeys([*symbols, *(s + "</w>" for s in symbols), *pieces]))
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(vocabulary)})
    write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token="<|endoftext|>",
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    layers_per_block: int = 1,
    text_layers: int = 3,
    prediction_type: str = "epsilon",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Writes a diffusers folder and returns it. The same arguments give the same weights; global seeds stay as they were."""
    tokenizer = write_tiny_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16, 32, 32),
            layers_per_block=layers_per_block,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            attention_head_dim=4,
            cross_attention_dim=TEXT_WIDTH,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=layers_per_block,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=64,
                num_hidden_layers=text_layers,
                num_attention_heads=4,
                max_position_embeddings=77,
                hidden_act="quick_gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        with torch.no_grad():
            # CLIP's own initialisation is so small that captions would hardly differ.
            text_encoder.text_model.embeddings.token_embedding.weight.mul_(50)
            vae.quant_conv.bias[4:] = -6.0  # a posterior as narrow as a trained autoencoder's
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    StableDiffusionPipeline(
        vae=vae.to(dtype),
        text_encoder=text_encoder.to(dtype),
        tokenizer=tokenizer,
        unet=unet.to(dtype),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def parameter_count(folder: Path) -> int:
    """Parameters of all parts of a checkpoint folder, from the headers of its safetensors files."""
    count = 0
    for path in folder.glob("*/*.safetensors"):
        with path.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                size = 1
                for side in entry["shape"]:
                    size *= side
                count += size
    return count
