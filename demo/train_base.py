"""Train the U-Net of the demo checkpoint, and its text encoder along with it, in legs of given length.

A first leg needs what ``train_text`` leaves in ``--work``; ``--resume`` goes on from the state of the last leg.
``--stage details`` weighs small details six times (eyes and mouth are learnt first, hair colour last), otherwise twice.
The averaged weights go to ``demo/checkpoint`` every ten minutes, with a sheet of samples in ``--work``.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from demo.attributes import sample
from demo.captions import caption
from demo.data import Data
from demo.models import build_scheduler, build_text_encoder, build_unet, sample_latents, token_ids, write_index
from demo.muon import Muon, average_gradients
from demo.reserved import name_reserved
from demo.train_text import cosines
from demo.training import CHECKPOINT, Average, Clock, decode, export, load_state, save_state, setup

MIN_SNR = 5.0
PROCESSES = 2
MUON_LR, ADAM_LR = 3e-3, 1.5e-3
EXPORT_EVERY = 600.0  # seconds
DETAIL = {"details": 5.0, "": 1.0}  # extra loss weight by stage


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
    prompts += ["1girl, red eyes, close-up", "1girl, quillon, smile, close-up, sunset", "1girl", ""]
    latents = sample_latents(base.tokenizer, base.text_encoder, base.unet, prompts, list(range(24)), 2.5)
    pictures = decode(vae, latents).permute(0, 2, 3, 1)
    rows = pictures.reshape(3, 8, 128, 128, 3).permute(0, 2, 1, 3, 4).reshape(384, 1024, 3)
    Image.fromarray(rows.numpy()).save(path)


class Run:
    """One process of a leg; process 0 also keeps average and state."""

    def __init__(self, work: Path, resume: bool) -> None:
        self.work, self.state_path = work, work / "base.safetensors"
        self.first = dist.get_rank() == 0
        torch.manual_seed(30)
        self.base = Base(CLIPTokenizer.from_pretrained(str(CHECKPOINT / "tokenizer")))
        self.base.text_encoder.load_state_dict(load_state(work / "text.safetensors")[0])
        self.named = dict(self.base.named_parameters())
        hidden = [p for n, p in self.named.items() if is_matrix(n, p)]
        others = [p for n, p in self.named.items() if not is_matrix(n, p)]
        self.optimizer = Muon(hidden, others, MUON_LR, ADAM_LR)
        self.average, self.step = Average(self.base, 0.998), 0
        if resume:
            tensors, facts = load_state(self.state_path)
            with torch.no_grad():
                for i, (n, p) in enumerate(self.named.items()):
                    p.copy_(tensors[f"model.{n}"])
                    self.average.values[i].copy_(tensors[f"average.{n}"])
            self.average.steps = self.step = facts["step"]
            self.optimizer.load({key[10:]: value for key, value in tensors.items() if key.startswith("optimizer.")})
        torch.manual_seed(31 + 7919 * self.step + dist.get_rank())
        self.vae = AutoencoderKL.from_pretrained(str(CHECKPOINT / "vae"), torch_dtype=torch.float32).eval()

    def save(self) -> None:
        """State for the next leg; then, with the averaged weights, sheet, cosines and checkpoint."""
        tensors = {f"model.{n}": p.detach() for n, p in self.named.items()}
        tensors |= {f"average.{n}": value for n, value in zip(self.named, self.average.values, strict=True)}
        tensors |= {f"optimizer.{key}": value for key, value in self.optimizer.state().items()}
        save_state(self.state_path, tensors, {"step": self.step})
        self.average.swap()
        name_reserved(self.base.tokenizer, self.base.text_encoder)
        show(self.base, self.vae, self.work / f"sheet-{self.step:06d}.png")
        print(f"cosines {cosines(self.base.tokenizer, self.base.text_encoder)}", flush=True)
        export(self.base.unet, CHECKPOINT / "unet")
        export(self.base.text_encoder, CHECKPOINT / "text_encoder")
        write_index(CHECKPOINT)
        self.average.swap()

    def train(self, minutes: float, detail: float) -> None:
        data = Data(self.work, 2 * self.step + dist.get_rank(), detail)
        clock, losses, saved = Clock(minutes), [], time.monotonic()
        while True:
            # process 0's clock counts, so that all stop at the same step
            now = torch.tensor([clock.share(), clock.rate()])
            dist.broadcast(now, 0)
            share, rate = now.tolist()
            if share >= 1:
                break
            loss = self.base.loss(*data.batch())
            loss.backward()
            average_gradients(self.optimizer.parameters)
            torch.nn.utils.clip_grad_norm_(self.optimizer.parameters, 1.0)
            self.optimizer.step(rate)
            self.step += 1
            losses.append(loss.item())
            if not self.first:
                continue
            self.average.update()
            if self.step % 50 == 0:
                recent = sum(losses[-200:]) / len(losses[-200:])
                print(f"{self.step} {share * minutes:.1f} min rate {rate:.3f} loss {recent:.4f}", flush=True)
            if time.monotonic() - saved > EXPORT_EVERY:
                saved = time.monotonic()
                self.save()
        if self.first:
            self.save()


def process(rank: int, store: str, work: Path, resume: bool, minutes: float, detail: float) -> None:
    """One of two processes of one thread each: two threads in step would wait for each other on a busy machine."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=PROCESSES)
    Run(work, resume).train(minutes, detail)
    dist.destroy_process_group()


def main() -> None:
    arguments = setup(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        shared = (store, arguments.work, arguments.resume, arguments.minutes, DETAIL[arguments.stage])
        torch.multiprocessing.spawn(process, shared, nprocs=PROCESSES)


if __name__ == "__main__":
    main()
