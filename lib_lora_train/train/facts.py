"""What a LoRA file says of the run it comes from, gathered for `network/metadata.py`."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence

from lib_lora_train.dataset.latents import LatentCache
from lib_lora_train.dataset.pictures import Picture
from lib_lora_train.dataset.summary import bucket_info, dataset_dirs, tag_frequency
from lib_lora_train.host.base import BorrowedModel
from lib_lora_train.network.metadata import FolderFacts, RunFacts, checkpoint_hashes
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings import OptimizerSettings, TrainSettings
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.train.state import Progress


def picture_digest(pictures: Sequence[Picture]) -> str:
    """Tells one set of training pictures from another: contents, order and repeats, not captions or names."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.content_hash} {picture.repeats}\n".encode())
    return digest.hexdigest()


def run_facts(
    settings: TrainSettings,
    model: BorrowedModel,
    network: AdapterNetwork,
    caches: LatentCache,
    progress: Progress,
    totals: tuple[int, int, int],
    output_name: str,
    recomputed_blocks: int,
) -> RunFacts:
    """`totals` are batches per epoch, epochs and steps; `output_name` the file's stem."""
    sizes = {(adapter.rank, adapter.alpha) for adapter in network.adapters.values()}
    dim, alpha = sizes.pop() if len(sizes) == 1 else (None, None)
    batches_per_epoch, total_epochs, total_steps = totals
    pictures = [entry.picture for entry in caches.entries]
    short_hash, sha256 = _hashes(model)
    return RunFacts(
        settings=settings,
        output_name=output_name,
        family=model.family,
        prediction=model.prediction,
        session_id=int(progress.session_id),
        started_at=progress.started_at,
        finished_at=time.time(),
        resolution=parse_resolution(settings.dataset.resolution),
        dim=dim,
        alpha=alpha,
        train_images=sum(picture.repeats for picture in pictures if not picture.is_regularization),
        reg_images=sum(picture.repeats for picture in pictures if picture.is_regularization),
        validation_images=len(caches.held_back),
        batches_per_epoch=batches_per_epoch,
        total_epochs=total_epochs,
        total_steps=total_steps,
        step=progress.step,
        epoch=progress.epoch,
        optimizer=_optimizer_text(settings.optimizer),
        gradient_checkpointing=recomputed_blocks > 0,
        folders=_folders(pictures),
        buckets=_buckets(pictures),
        mean_aspect_error=float(bucket_info(pictures)["mean_img_ar_error"]),
        checkpoint=model.checkpoint.path.name,
        checkpoint_hash=short_hash,
        checkpoint_sha256=sha256,
    )


def _hashes(model: BorrowedModel) -> tuple[str, str]:
    path = model.checkpoint.path
    return checkpoint_hashes(path, model.checkpoint.sha256) if path.is_file() else ("", "")


def _optimizer_text(optimizer: OptimizerSettings) -> str:
    return f"{optimizer.optimizer_type}({','.join(optimizer.optimizer_args)})"


def _folders(pictures: Sequence[Picture]) -> tuple[FolderFacts, ...]:
    tags = tag_frequency(pictures)
    return tuple(
        FolderFacts(name, facts["n_repeats"], facts["img_count"], tags.get(name, {}), regularization)
        for regularization in (False, True)
        for name, facts in dataset_dirs(pictures, regularization).items()
    )


def _buckets(pictures: Sequence[Picture]) -> dict[tuple[int, int], int]:
    shown: Counter[tuple[int, int]] = Counter()
    for picture in pictures:
        shown[picture.crop.bucket] += picture.repeats
    return dict(shown)
