"""The loss of each file on pictures that were held back from training, with the same noise for all.

The training loss goes on falling while a LoRA learns its pictures by heart; the loss on others turns. Noise and timesteps
are fixed by picture, so that files can be compared by a handful of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean

import torch
from PIL import Image, ImageOps
from torch import Tensor

from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowedModel, BorrowRequest, Session
from lib_lora_train.network.files import load_lora
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.preview.grids import Grid
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped, ignore_events

ENOUGH = 4  # pictures; with fewer, chance decides
MOST = 32
TIMESTEPS = (100, 300, 500, 700, 900)
_SEED = 7


def validation_losses(
    session: Session,
    grid: Grid,
    pictures: Sequence[Path],
    captions: Sequence[str],
    base: int = 0,
    dtype: torch.dtype = torch.float32,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> dict[int, float]:
    """By column the mean square error of the U-Net's answer, over pictures and timesteps, each file at weight 1.

    `captions` are those of the pictures, with the trigger word. Pictures are brought to the size of the grid's cells.
    Empty with fewer than ENOUGH pictures. Raises Stopped; UserError as `Session.borrow` and `load_lora`, and
    scores.no_picture.
    """
    pairs = list(zip(pictures, captions, strict=True))[:MOST]
    if len(pairs) < ENOUGH:
        return {}
    size = (grid.drawing.width // 8 * 8, grid.drawing.height // 8 * 8)
    request = BorrowRequest(grid.bases[base].name, clip_skip=grid.drawing.clip_skip, dtype=dtype, resolutions=(size,))
    losses: dict[int, float] = {}
    with session.borrow(request) as model, torch.no_grad():
        latents = [_latents(model, path, size) for path, _ in pairs]
        texts = [caption for _, caption in pairs]
        for column, file in enumerate(grid.columns):
            events(Stage("scores.stage_validating", column, len(grid.columns)))
            network = AdapterNetwork(
                model.sites(), NetworkSettings(dim_from_weights=True), seed=0, start=load_lora(file.path)
            )
            network.to(model.device).eval()
            found = []
            with network.attached():
                for place, (latent, text) in enumerate(zip(latents, texts, strict=True)):
                    if commands is not None and commands.stopping:
                        raise Stopped
                    found.append(_loss(model, latent, text, place, size, dtype))
            losses[column] = fmean(found)
    return losses


def _loss(
    model: BorrowedModel, latent: Tensor, text: str, place: int, size: tuple[int, int], dtype: torch.dtype
) -> float:
    """Of one picture, over all timesteps in one batch."""
    count = len(TIMESTEPS)
    noise = torch.randn((count, *latent.shape[1:]), generator=torch_generator(_SEED, "validation", place))
    noise = noise.to(model.device)
    timesteps = torch.tensor(TIMESTEPS, device=model.device)
    kept = model.alphas_cumprod.to(model.device)[timesteps].reshape(-1, 1, 1, 1)
    noisy = kept.sqrt() * latent + (1 - kept).sqrt() * noise
    wanted = noise if model.prediction == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * latent
    ids = None
    if model.family == "sdxl":
        ids = torch.tensor([[size[1], size[0], 0, 0, size[1], size[0]]] * count, device=model.device)
    half = dtype != torch.float32
    with torch.autocast(model.device.type, dtype=dtype) if half else nullcontext():
        answer = model.denoise(noisy, timesteps, model.encode_prompts([text] * count), ids)
    return float((answer.float() - wanted).square().mean())


def _latents(model: BorrowedModel, path: Path, size: tuple[int, int]) -> Tensor:
    """(1, 4, height/8, width/8) fp32: the posterior's mean, scaled."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), size, Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("scores.no_picture", path.name) from error
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, size[1], size[0], 3)
    pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, _ = model.encode_images(pixels.to(model.device), full_precision=True)
    return mean.float() * model.latent_scale
