"""The loss on pictures that were held back, computed alike each time: same pictures, captions, timesteps and noise.

The training loss goes on falling while pictures are learned by heart; this one turns. What it is made of is kohya's
validation loss: four timesteps evenly between the first and the last that are trained (200, 400, 600 and 800 of 1000),
the loss with all its weights and masks, no dropout. Captions stay as written, where kohya's are shuffled and dropped as
in training, by a fixed seed; each picture counts alike, where kohya takes the mean of batches.

Nothing of it touches a draw of the training: noise comes from generators seeded by (seed, picture, timestep).
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from lib_lora_train.dataset.captions import compose
from lib_lora_train.dataset.held_back import validation_seed
from lib_lora_train.dataset.latents import CachedPicture
from lib_lora_train.draws import torch_generator
from lib_lora_train.host.base import BorrowedModel, CheckpointInfo
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings import DatasetSettings, LossSettings, TrainSettings
from lib_lora_train.signals import Commands, EventSink, Stage
from lib_lora_train.train.loss import sample_losses
from lib_lora_train.train.noise import NoiseSchedule, noise_from
from lib_lora_train.train.prompts import PromptEncoder

TIMESTEPS = 4  # of each picture


@dataclass(frozen=True)
class _Sample:
    entry: CachedPicture
    caption: str
    timestep: int


class Validation:
    """What one run is looked at with. `pictures` is their number, which may be 0.

    `key` is the same for two runs whose losses can be compared: it covers pictures, captions, seed, loss and checkpoint.
    """

    def __init__(self, entries: Sequence[CachedPicture], settings: TrainSettings, checkpoint: CheckpointInfo) -> None:
        self._settings = settings.loss
        self._at_once = settings.run.train_batch_size
        self._seed = validation_seed(settings.dataset, settings.run.seed)
        dataset = _as_written(settings.dataset)
        said = [compose(entry.picture.caption, dataset, 0, random.Random(0)) for entry in entries]
        self._entries = list(zip(entries, said, strict=True))
        self._timesteps = validation_timesteps(settings.loss)
        self.pictures = len(self._entries)
        self.key = self._key(settings, checkpoint)

    def loss(
        self,
        model: BorrowedModel,
        network: AdapterNetwork,
        encode: PromptEncoder,
        schedule: NoiseSchedule,
        events: EventSink,
        commands: Commands,
    ) -> float | None:
        """The mean over pictures and timesteps with the attached `network` as it stands, in training mode afterwards.

        None without pictures, and when a stop came on the way: who stops does not wait for it.
        """
        losses: list[float] = []
        network.eval()
        try:
            for samples in self._batches():
                if commands.stopping:
                    return None
                events(Stage("train.stage_validating", len(losses), self.pictures * len(self._timesteps)))
                losses += self._losses(samples, model, encode, schedule)
        finally:
            network.train()
        return math.fsum(losses) / len(losses) if losses else None

    def _batches(self) -> Iterator[list[_Sample]]:
        """As many at once as in training, of one bucket each: what fits there fits here."""
        buckets: dict[tuple[int, int], list[_Sample]] = {}
        for entry, caption in self._entries:
            samples = buckets.setdefault(entry.bucket, [])
            samples += [_Sample(entry, caption, timestep) for timestep in self._timesteps]
        for samples in buckets.values():
            for start in range(0, len(samples), self._at_once):
                yield samples[start : start + self._at_once]

    @torch.no_grad()
    def _losses(
        self, samples: Sequence[_Sample], model: BorrowedModel, encode: PromptEncoder, schedule: NoiseSchedule
    ) -> list[float]:
        entries = [sample.entry for sample in samples]
        latents = torch.stack([entry.latents for entry in entries]).to(model.device)
        noise = torch.cat([self._noise(sample) for sample in samples]).to(model.device)
        timesteps = torch.tensor([sample.timestep for sample in samples], device=model.device)
        ids = torch.tensor([entry.size_ids(False) for entry in entries], dtype=torch.float32)
        masks = None
        if any(entry.mask is not None for entry in entries):
            white = torch.ones_like(entries[0].latents[:1])
            masks = torch.stack([white if entry.mask is None else entry.mask for entry in entries]).to(model.device)
        cond = encode([sample.caption for sample in samples])
        prediction = model.denoise(schedule.add_noise(latents, noise, timesteps), timesteps, cond, ids)
        target = schedule.target(latents, noise, timesteps)
        return sample_losses(prediction, target, timesteps, schedule, self._settings, masks).tolist()

    def _noise(self, sample: _Sample) -> torch.Tensor:
        """(1, 4, height/8, width/8): of its own, whatever others there are."""
        place = (sample.entry.picture.content_hash, sample.timestep)
        generator = torch_generator(self._seed, "validation noise", *place)
        return noise_from(generator, self._settings, sample.entry.latents[None].shape)

    def _key(self, settings: TrainSettings, checkpoint: CheckpointInfo) -> str:
        model = settings.model
        said = [
            checkpoint.sha256 or checkpoint.name,
            [model.prediction, model.clip_skip, model.max_token_length, settings.dataset.masked_loss, self._seed],
            asdict(settings.loss),
            [[entry.picture.content_hash, entry.bucket, caption] for entry, caption in self._entries],
        ]
        return hashlib.sha256(json.dumps(said).encode("utf-8")).hexdigest()[:16]


def validation_timesteps(settings: LossSettings) -> tuple[int, ...]:
    """Evenly between the first and the last timestep, without these, rounded down."""
    first, span = settings.min_timestep, settings.max_timestep - settings.min_timestep
    return tuple(first + span * place // (TIMESTEPS + 1) for place in range(1, TIMESTEPS + 1))


def _as_written(settings: DatasetSettings) -> DatasetSettings:
    return replace(
        settings,
        shuffle_caption=False,
        caption_dropout_rate=0.0,
        caption_dropout_every_n_epochs=0,
        caption_tag_dropout_rate=0.0,
    )
