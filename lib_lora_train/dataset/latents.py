"""Every picture through the VAE once, before training: latents in memory, and on disk where wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lib_lora_train.dataset.buckets import Size, plan_crop
from lib_lora_train.dataset.held_back import validation_seed
from lib_lora_train.dataset.images import open_image
from lib_lora_train.dataset.masks import load_mask
from lib_lora_train.dataset.pictures import Picture, Scan, balance_regularization
from lib_lora_train.dataset.pixels import fit
from lib_lora_train.dataset.store import DamagedError, LatentStore, Posterior
from lib_lora_train.draws import torch_generator
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

Encode = Callable[..., tuple[Tensor, Tensor]]  # (pixels, full_precision=False) -> mean, std; see host/base.py

DECODERS = 2  # threads that open pictures while the VAE works
AHEAD = 8  # pictures opened ahead; bounds the memory they take
MAX_BATCH = 4
BATCH_PIXELS = 1_048_576  # four pictures of 512 x 512, one of 1024 x 1024: what a small GPU's VAE can hold


@dataclass
class CachedPicture:
    """A picture as training sees it: latents (4, height/8, width/8) fp32, scaled, plain and, where pictures are
    mirrored, of the mirrored pixels; mask (1, height/8, width/8) in 0..1 or None."""

    picture: Picture
    latents: Tensor
    flipped: Tensor | None = None
    mask: Tensor | None = None

    @property
    def bucket(self) -> Size:
        return self.picture.crop.bucket

    def size_ids(self, flipped: bool) -> tuple[int, int, int, int, int, int]:
        """SDXL's size conditioning (arXiv 2307.01952, 2.2): original height, width; crop top, left; target height,
        width."""
        plan = self.picture.crop
        left = plan.resized[0] - plan.box[2] if flipped else plan.box[0]
        return (*reversed(self.picture.size), plan.box[1], left, *reversed(plan.bucket))


@dataclass
class LatentCache:
    """All pictures that could be encoded, in the order of the scan; `problems` are those that could not. `held_back` are
    not trained on, and never mirrored."""

    entries: list[CachedPicture] = field(default_factory=list)
    problems: list[UserError] = field(default_factory=list)
    held_back: list[CachedPicture] = field(default_factory=list)


def cache_latents(
    found: Scan,
    settings: DatasetSettings,
    encode: Encode,
    latent_scale: float,
    seed: int,
    vae_key: str,
    disk_folder: Path | None = None,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> LatentCache:
    """Opens and encodes each picture once, and its mirror image with `flip_aug`.

    A latent is (mean + std * noise) * `latent_scale`, its noise drawn from (seed, content hash, mirrored or not), so
    that it does not depend on which other pictures there are. With `disk_folder`, means and deviations are kept
    there under `vae_key`; a damaged file is made anew. A picture that turns out broken is logged and left out. Pictures
    that are held back are encoded after the others: beside them in a batch, trained ones could round differently.
    Raises UserError("latents.not_finite") when the VAE fails on a picture even in full precision,
    UserError("dataset.all_broken") when nothing is left, and Stopped when told to stop.
    """
    work = _Work(settings, encode, LatentStore(disk_folder, vae_key) if disk_folder else None, events)
    done, problems = _encode_all(found.pictures, work, commands)
    pictures = [done[picture.path][0] for picture in found.pictures if picture.path in done]
    if problems:  # with training pictures gone, regularization pictures are shown less often as well
        pictures, notes = balance_regularization(pictures)
        for note in notes:
            events(note)
    if not any(not picture.is_regularization for picture in pictures):
        first = problems[0].where if problems else ""
        raise UserError(
            "dataset.all_broken", "train_data_dir", count=len(found.pictures), broken=len(problems), first=first
        )
    entries = [_sample(picture, done[picture.path][1], latent_scale, seed) for picture in pictures]
    plain = replace(work, settings=replace(settings, flip_aug=False))
    encoded, unread = _encode_all(found.held_back, plain, commands)
    own_seed = validation_seed(settings, seed)
    held_back = [
        _sample(*encoded[each.path], latent_scale, own_seed) for each in found.held_back if each.path in encoded
    ]
    return LatentCache(entries, problems + unread, held_back)


def _encode_all(
    pictures: Sequence[Picture], work: _Work, commands: Commands | None
) -> tuple[dict[Path, tuple[Picture, list[Posterior]]], list[UserError]]:
    """By path what was encoded, and why others could not be."""
    done: dict[Path, tuple[Picture, list[Posterior]]] = {}
    problems: list[UserError] = []
    waiting: defaultdict[Size, list[_Opened]] = defaultdict(list)
    for opened in _open_all(pictures, work, commands):
        for note in opened.notes:
            work.events(note)
        if opened.problem is not None:
            problems.append(opened.problem)
            work.events(Log(opened.problem.code, {"where": opened.problem.where, **opened.problem.values}, "warning"))
        elif opened.pixels is None:
            done[opened.picture.path] = (opened.picture, opened.posteriors)
        else:
            group = waiting[opened.picture.crop.bucket]
            group.append(opened)
            if len(group) == _batch_size(opened.picture.crop.bucket):
                done.update(work.encode_batch(group))
                group.clear()
        work.events(Stage("dataset.encoding", len(done) + len(problems), len(pictures)))
    for group in waiting.values():
        _check_stop(commands)
        if group:
            done.update(work.encode_batch(group))
            work.events(Stage("dataset.encoding", len(done) + len(problems), len(pictures)))
    return done, problems


def _sample(picture: Picture, posteriors: Sequence[Posterior], latent_scale: float, seed: int) -> CachedPicture:
    latents = []
    for flipped, posterior in enumerate(posteriors):
        generator = torch_generator(seed, "posterior", picture.content_hash, flipped)
        noise = torch.randn(posterior.mean.shape, generator=generator)
        latents.append((posterior.mean + posterior.std * noise) * latent_scale)
    return CachedPicture(picture, latents[0], latents[1] if len(latents) > 1 else None, posteriors[0].mask)


def _batch_size(bucket: Size) -> int:
    return max(1, min(MAX_BATCH, BATCH_PIXELS // (bucket[0] * bucket[1])))


def _check_stop(commands: Commands | None) -> None:
    if commands is not None and commands.stopping:
        raise Stopped


@dataclass
class _Opened:
    """A picture on its way: with pixels it waits for the VAE, without it came from disk or is broken."""

    picture: Picture
    pixels: Tensor | None = None
    mask: Tensor | None = None
    posteriors: list[Posterior] = field(default_factory=list)
    notes: list[Log] = field(default_factory=list)
    problem: UserError | None = None


def _open_all(pictures: Sequence[Picture], work: _Work, commands: Commands | None) -> Iterator[_Opened]:
    """All pictures, those of one bucket one after the other, a few ahead of the caller."""
    ordered = sorted(pictures, key=lambda picture: picture.crop.bucket)
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(ordered), AHEAD):
            for opened in pool.map(work.open, ordered[start : start + AHEAD]):
                _check_stop(commands)
                yield opened


@dataclass
class _Work:
    """What opening and encoding need to know."""

    settings: DatasetSettings
    vae: Encode
    store: LatentStore | None
    events: EventSink

    def open(self, picture: Picture) -> _Opened:
        """The picture from disk where it is stored, else decoded, scaled and cropped."""
        opened = _Opened(picture)
        try:
            if self._load(opened):
                return opened
            decoded = open_image(picture.path, picture.where)
            opened.notes += decoded.notes
            if decoded.image.size != picture.size:  # the file was changed since the scan
                plan = plan_crop(decoded.image.size, self.settings, picture.where)
                opened.picture = picture = replace(picture, size=decoded.image.size, crop=plan)
            opened.mask = load_mask(picture.mask, picture.crop) if picture.mask else None
            opened.pixels = fit(decoded.image, picture.crop)
        except UserError as error:
            opened.problem = error
        return opened

    def _load(self, opened: _Opened) -> bool:
        """Fills in what is stored; True when that is all there is to do."""
        if self.store is None:
            return False
        posteriors = []
        for flipped in self._directions():
            try:
                stored = self.store.load(opened.picture, flipped)
            except DamagedError:
                opened.notes.append(Log("latents.stored_damaged", {"where": opened.picture.where}, "warning"))
                return False
            if stored is None:
                return False
            posteriors.append(stored)
        opened.posteriors = posteriors
        return True

    def _directions(self) -> tuple[bool, ...]:
        return (False, True) if self.settings.flip_aug else (False,)

    def encode_batch(self, group: Sequence[_Opened]) -> dict[Path, tuple[Picture, list[Posterior]]]:
        """Posteriors of pictures of one bucket, stored where wanted."""
        pixels = torch.stack([opened.pixels for opened in group if opened.pixels is not None])
        results: dict[Path, tuple[Picture, list[Posterior]]] = {each.picture.path: (each.picture, []) for each in group}
        for flipped in self._directions():
            posteriors = self._encode(pixels.flip(-1) if flipped else pixels, [each.picture.where for each in group])
            for opened, posterior in zip(group, posteriors, strict=True):
                if opened.mask is not None:
                    posterior.mask = opened.mask.flip(-1) if flipped else opened.mask
                results[opened.picture.path][1].append(posterior)
                self._keep(opened.picture, flipped, posterior)
        return results

    def _encode(self, pixels: Tensor, names: Sequence[str]) -> list[Posterior]:
        """One posterior per picture, all finite; those that are not are tried again in full precision."""
        posteriors = self._run(pixels, False)
        broken = [index for index, posterior in enumerate(posteriors) if not posterior.finite]
        if broken:
            self.events(Log("latents.full_precision", {"where": ", ".join(names[i] for i in broken)}, "warning"))
            for index, posterior in zip(broken, self._run(pixels[broken], True), strict=True):
                if not posterior.finite:
                    raise UserError("latents.not_finite", names[index])
                posteriors[index] = posterior
        return posteriors

    def _run(self, pixels: Tensor, full_precision: bool) -> list[Posterior]:
        with torch.no_grad():
            mean, std = self.vae(pixels, full_precision=full_precision)
        # Copies: a slice would keep the whole batch alive, and must not be an inference tensor of the host's.
        rows = zip(mean.detach().float().cpu(), std.detach().float().cpu(), strict=True)
        return [Posterior(mean_row.clone(), std_row.clone()) for mean_row, std_row in rows]

    def _keep(self, picture: Picture, flipped: bool, posterior: Posterior) -> None:
        if self.store is None:
            return
        try:
            self.store.save(picture, flipped, posterior)
        except UserError as error:  # a full disk must not stop a run that does not need it
            self.store = None
            self.events(Log("latents.not_kept", {"reason": error.values["reason"]}, "warning"))
