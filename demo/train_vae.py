"""Train the auto-encoder (factor 8, 4 latent channels), then fold the latents' scale into it.

``--stage all`` trains encoder and decoder; ``--stage decoder`` keeps the encoder (and with it every cached latent) and
goes on with the decoder alone. Half of the first leg sees crops of 64 pixels, which are cheaper and show more edges.
"""

from __future__ import annotations

import math
import random

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from demo.training import CHECKPOINT, SCALE, Average, Clock, draw_many, export, load_state, save_state, setup, tensor

DRAWINGS = 10_000
HELD_OUT_SHARE = 0.12
CROP = 64
DETAIL = 3.0  # extra weight of eyes, mouth and worn things


def build() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
        scaling_factor=SCALE,
    )


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 + MSE + L1 of the differences between neighbours at two scales; ``weight`` (n, 1, h, w) averages to 1."""
    difference = output - target
    loss = ((difference.abs() + difference.square()) * weight).mean()
    for scale in (1, 2):
        if scale > 1:
            difference, weight = functional.avg_pool2d(difference, 2), functional.avg_pool2d(weight, 2)
        loss = loss + ((difference[..., 1:] - difference[..., :-1]).abs() * weight[..., 1:]).mean()
        loss = loss + ((difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
    return loss


def batch(pictures: Tensor, masks: Tensor, cropped: bool) -> tuple[Tensor, Tensor]:
    """16 crops or 8 whole pictures, half of them mirrored, with their weights."""
    index = torch.randint(len(pictures), (16 if cropped else 8,))
    part, mask = pictures[index], masks[index].float() / 255
    if cropped:
        corners = [(random.randint(0, 128 - CROP), random.randint(0, 128 - CROP)) for _ in index]
        part = torch.stack([p[:, y : y + CROP, x : x + CROP] for p, (y, x) in zip(part, corners, strict=True)])
        mask = torch.stack([m[:, y : y + CROP, x : x + CROP] for m, (y, x) in zip(mask, corners, strict=True)])
    if random.random() < 0.5:
        part, mask = part.flip(3), mask.flip(3)
    weight = 1 + DETAIL * mask
    return tensor(part), weight / weight.mean()


@torch.no_grad()
def quality(vae: AutoencoderKL, pictures: Tensor) -> str:
    target = tensor(pictures)
    latents = vae.encode(target).latent_dist
    output = vae.decode(latents.mean).sample.clamp(-1, 1)
    psnr = 10 * math.log10(4 / (output - target).square().mean().item())
    spread = [round(v, 2) for v in latents.mean.std((0, 2, 3)).tolist()]
    return f"PSNR {psnr:.2f} dB, latent deviation {spread}, posterior noise {latents.std.mean():.3f}"


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Make each latent channel zero-mean and, after the customary 0.18215, of unit variance.

    Mean and deviation go into the two 1x1 convolutions around the latents, so tools that ignore the config still work.
    """
    means = torch.cat([vae.encode(tensor(part)).latent_dist.mean for part in pictures.split(32)])
    mean, factor = means.mean((0, 2, 3)), 1 / (means.std((0, 2, 3)) * SCALE)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] *= factor.view(4, 1, 1, 1)
    into.bias[:4] = (into.bias[:4] - mean) * factor
    into.bias[4:] += 2 * factor.log()  # the log-variance scales too
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight /= factor.view(1, 4, 1, 1)


def main() -> None:
    arguments = setup(__doc__)
    torch.manual_seed(0)
    random.seed(0)
    vae = build().to(memory_format=torch.channels_last)
    state = arguments.work / "vae.safetensors"
    if arguments.resume or arguments.stage == "decoder":
        vae.load_state_dict(load_state(state)[0])
    frozen = arguments.stage == "decoder"
    if frozen:
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        vae.post_quant_conv.requires_grad_(True)
    _, pictures, masks = draw_many(DRAWINGS, 7 + frozen, HELD_OUT_SHARE, 1)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=1e-3)
    top = 1e-3 if frozen or arguments.resume else 2e-3
    average, clock, step = Average(vae, 0.998), Clock(arguments.minutes), 0
    while clock.share() < 1:
        for group in optimizer.param_groups:
            group["lr"] = top * clock.rate()
        target, weight = batch(pictures, masks, cropped=not frozen and clock.share() < 0.5)
        posterior = vae.encode(target).latent_dist
        output = vae.decode(posterior.mean if frozen else posterior.sample()).sample
        loss = reconstruction_loss(output, target, weight)
        if not frozen:
            divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
            loss = loss + 2e-4 * divergence
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        step += 1
        if step % 500 == 0:
            average.swap()
            print(f"step {step} {clock.share():.0%} loss {loss.item():.4f} {quality(vae, pictures[:32])}", flush=True)
            save_state(arguments.work / "vae-part.safetensors", vae.state_dict(), {"step": step})
            average.swap()
    average.swap()
    if not frozen:
        fold_scale(vae, pictures[:2000])
    print(quality(vae, pictures[:256]), flush=True)
    save_state(state, vae.state_dict(), {"step": step})
    export(vae, CHECKPOINT / "vae")


if __name__ == "__main__":
    main()
