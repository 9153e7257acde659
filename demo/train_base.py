"""Train the U-Net of the demo checkpoint, and its text encoder along with it, in legs of given length.

A first leg needs what ``train_text`` leaves in ``--work``; ``--resume`` goes on from the state of the last leg.
The averaged weights go to ``demo/checkpoint`` every ten minutes, with a sheet of samples in ``--work``.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from demo.attributes import sample
from demo.captions import caption
from demo.data import Data
from demo.models import build_scheduler, build_text_encoder, build_unet, sample_latents, token_ids, write_index
from demo.muon import Muon
from demo.train_text import cosines
from demo.training import CHECKPOINT, Average, Clock, decode, export, load_state, save_state, setup

MIN_SNR = 5.0
MUON_LR, ADAM_LR = 3e-3, 1.5e-3
EXPORT_EVERY = 600.0  # seconds


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """True for what Muon may train: hidden weights, not embeddings, norms, first and last layers."""
    return parameter.ndim >= 2 and not any(part in name for part in ("embedding", "conv_in", "conv_out"))


class Base(nn.Module):
    """Text encoder and U-Net as one module, so that average, state and optimizer see one list of parameters."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = build_text_encoder(tokenizer)
        self.unet = build_unet().to(memory_format=torch.channels_last)
        cumulative = build_scheduler().alphas_cumprod
        ratio = cumulative / (1 - cumulative)
        self.signal, self.noise = cumulative.sqrt(), (1 - cumulative).sqrt()
        self.timestep_weight = ratio.clamp(max=MIN_SNR) / ratio

    def loss(self, latents: Tensor, weights: Tensor, captions: list[str]) -> Tensor:
        """Min-SNR-weighted error of the predicted noise; ``weights`` (n, 1, 16, 16) favours small details."""
        t = torch.randint(0, 1000, (len(latents),))
        noise = torch.randn_like(latents)
        shape = (-1, 1, 1, 1)
        noisy = self.signal[t].view(shape) * latents + self.noise[t].view(shape) * noise
        hidden = self.text_encoder(token_ids(self.tokenizer, captions)).last_hidden_state
        output = self.unet(noisy.contiguous(memory_format=torch.channels_last), t, hidden).sample
        return (((output - noise).square() * weights).mean((1, 2, 3)) * self.timestep_weight[t]).mean()


@torch.no_grad()
def show(base: Base, vae: AutoencoderKL, path: Path) -> None:
    """A sheet of 24 samples; the same prompts and seeds every time."""
    rng = random.Random(99)
    prompts = [caption(sample(rng), rng) for _ in range(16)]
    prompts += ["1girl, alice, smile, close-up, blue sky", "1girl, vera, frown, upper body, forest"] * 2
    prompts += ["1girl, red eyes, close-up", "1girl, zelkova, smile, close-up, sunset", "1girl", ""]
    latents = sample_latents(base.tokenizer, base.text_encoder, base.unet, prompts, list(range(24)), 2.5)
    pictures = decode(vae, latents).permute(0, 2, 3, 1)
    rows = pictures.reshape(3, 8, 128, 128, 3).permute(0, 2, 1, 3, 4).reshape(384, 1024, 3)
    Image.fromarray(rows.numpy()).save(path)


def main() -> None:
    arguments = setup(__doc__)
    work: Path = arguments.work
    torch.manual_seed(30)
    tokenizer = CLIPTokenizer.from_pretrained(str(CHECKPOINT / "tokenizer"))
    base, state_path = Base(tokenizer), work / "base.safetensors"
    vae = AutoencoderKL.from_pretrained(str(CHECKPOINT / "vae"), torch_dtype=torch.float32).eval()
    base.text_encoder.load_state_dict(load_state(work / "text.safetensors")[0])
    named = dict(base.named_parameters())
    hidden = [p for n, p in named.items() if is_matrix(n, p)]
    optimizer = Muon(hidden, [p for n, p in named.items() if not is_matrix(n, p)], MUON_LR, ADAM_LR)
    average, step = Average(base, 0.998), 0
    if arguments.resume:
        tensors, facts = load_state(state_path)
        base.load_state_dict({n: tensors[f"model.{n}"] for n in named}, strict=False)
        average.values = [tensors[f"average.{n}"] for n in named]
        average.steps = step = facts["step"]
        torch.manual_seed(30 + step)
        optimizer.load({key[10:]: value for key, value in tensors.items() if key.startswith("optimizer.")})
    print(f"{sum(p.numel() for p in named.values()) / 1e6:.2f} M parameters", flush=True)

    def save(name: str) -> None:
        """State for the next leg; then, with the averaged weights, sheet, cosines and checkpoint."""
        tensors = {f"model.{n}": p.detach() for n, p in named.items()}
        tensors |= {f"average.{n}": value for n, value in zip(named, average.values, strict=True)}
        tensors |= {f"optimizer.{key}": value for key, value in optimizer.state().items()}
        save_state(state_path, tensors, {"step": step})
        average.swap()
        show(base, vae, work / f"sheet-{name}.png")
        print(f"cosines {cosines(tokenizer, base.text_encoder)}", flush=True)
        export(base.unet, CHECKPOINT / "unet")
        export(base.text_encoder, CHECKPOINT / "text_encoder")
        write_index(CHECKPOINT)
        average.swap()

    data, clock, losses, saved = Data(work, step), Clock(arguments.minutes), [], time.monotonic()
    while clock.share() < 1:
        loss = base.loss(*data.batch())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step(clock.rate())
        average.update()
        step += 1
        losses.append(loss.item())
        if step % 100 == 0:
            minutes = clock.share() * arguments.minutes
            print(f"{step} {minutes:.1f} min rate {clock.rate():.3f} loss {sum(losses[-200:]) / 200:.4f}", flush=True)
        if time.monotonic() - saved > EXPORT_EVERY:
            saved = time.monotonic()
            save(f"{step:06d}")
    save(f"{step:06d}")


if __name__ == "__main__":
    main()
