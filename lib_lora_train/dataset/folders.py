"""From folders to pictures: what is trained on, with which captions, how often; and what was left out, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.dataset.buckets import bucket_limits, bucket_list, plan_crop
from lib_lora_train.dataset.captions import caption_paths, read_caption
from lib_lora_train.dataset.held_back import hold_back, validation_seed
from lib_lora_train.dataset.images import read_size
from lib_lora_train.dataset.listing import (
    MASK_FOLDER,
    Concept,
    file_hash,
    file_inside,
    find_concepts,
    list_folder,
    root_folder,
    same_stem_notes,
)
from lib_lora_train.dataset.masks import MaskFolder, mask_folder, mask_root
from lib_lora_train.dataset.pictures import Picture, Scan, balance_regularization, report
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

READERS = 4  # threads that read headers and hashes: enough to hide a slow disk
LITTLE_KEPT = 0.6  # share of a picture below which its crop is worth a note


def scan(
    settings: DatasetSettings, events: EventSink = ignore_events, commands: Commands | None = None, seed: int = 0
) -> Scan:
    """Reads the training folder, and the regularization folder when one is set; writes nothing.

    `seed` is the run's, for pictures that are held back without a seed of their own. Each problem and note is also sent
    as a Log event. Raises UserError when a folder or a setting is wrong, or no picture is left ("dataset.empty",
    "dataset.all_broken", "dataset.all_held_back"); Stopped when told to stop.
    """
    bucket_list(settings)  # a wrong setting is one error, not one for each picture
    root = root_folder(settings.train_data_dir, "train_data_dir")
    found = Scan(notes=_limit_notes(settings))
    masks = mask_root(settings, root)
    jobs = _jobs(found, root, "train_data_dir", settings, masks)
    if settings.reg_data_dir.strip():
        jobs += _jobs(found, root_folder(settings.reg_data_dir, "reg_data_dir"), "reg_data_dir", settings, None)
    with ThreadPoolExecutor(READERS) as pool:
        for done, part in enumerate(pool.map(lambda job: _inspect(job, settings, commands), jobs), start=1):
            found.pictures += part.pictures
            found.problems += part.problems
            found.notes += part.notes
            events(Stage("dataset.reading", done, len(jobs)))
    found.notes += _twin_notes(found.pictures) + _mask_notes(found.pictures, masks)
    if settings.validation_split:
        _hold_back(found, settings, seed)
    found.pictures, balance_notes = balance_regularization(found.pictures)
    found.notes += balance_notes
    report(found, events)
    if not any(not picture.is_regularization for picture in found.pictures):
        if found.held_back:
            raise UserError("dataset.all_held_back", "validation_split", count=len(found.held_back))
        raise _nothing_left(found, len(jobs), root)
    return found


@dataclass(frozen=True)
class _Job:
    """One file to look at; `where` is its name in messages."""

    root: Path
    concept: Concept
    name: str
    where: str
    parts: tuple[str, ...]
    masks: MaskFolder | None


def _jobs(found: Scan, root: Path, setting: str, settings: DatasetSettings, masks: Path | None) -> list[_Job]:
    """All pictures below one root; what is noticed on the way goes into `found`."""
    regularization = setting == "reg_data_dir"
    repeats, tokens = (1, "") if regularization else (settings.repeats, settings.class_tokens)
    concepts, problems, notes = find_concepts(root, setting, repeats, tokens, regularization, MASK_FOLDER)
    found.problems += problems
    found.notes += notes
    jobs = []
    for concept in concepts:
        plain = concept.path == root
        listing = list_folder(concept.path, setting)
        found.notes += same_stem_notes(concept, listing.pictures)
        if listing.subfolders and not plain:
            found.notes.append(
                Log("dataset.nested", {"where": concept.name, "count": len(listing.subfolders)}, "warning")
            )
        if not listing.pictures:
            found.notes.append(Log("dataset.no_pictures", {"where": concept.name}, "warning"))
        folder_masks = mask_folder(masks, concept, plain)
        for name in listing.pictures:
            parts = (name,) if plain else (concept.name, name)
            jobs.append(_Job(root, concept, name, "/".join(parts), parts, folder_masks))
    return jobs


def _inspect(job: _Job, settings: DatasetSettings, commands: Commands | None) -> Scan:
    """Header, caption, mask and hash of one file."""
    if commands is not None and commands.stopping:
        raise Stopped
    part = Scan()
    try:
        path = file_inside(job.root, *job.parts, where=job.where)
        size = read_size(path, job.where)
        crop = plan_crop(size, settings, job.where)
        mask = job.masks.find(path, size) if job.masks else None
        content_hash = file_hash(path, job.where)
    except UserError as error:
        part.problems.append(error)
        return part
    caption = _caption(job, path, settings, part)
    if crop.share_kept < LITTLE_KEPT:
        part.notes.append(Log("dataset.cropped", {"where": job.where, "share": f"{crop.share_kept:.0%}"}, "warning"))
    concept = job.concept
    part.pictures.append(Picture(path, job.where, concept, caption, concept.repeats, size, crop, content_hash, mask))
    return part


def _caption(job: _Job, path: Path, settings: DatasetSettings, part: Scan) -> str:
    """Text of the first caption file that has any, else the concept's class tokens."""
    for candidate in caption_paths(path, settings.caption_extension):
        where = "/".join((*job.parts[:-1], candidate.name))
        try:
            if not candidate.is_symlink() and not candidate.exists():
                continue
            read = read_caption(file_inside(job.root, *job.parts[:-1], candidate.name, where=where), where)
        except OSError as error:
            part.problems.append(UserError("caption.unreadable", where, reason=error.strerror or "?"))
            continue
        except UserError as error:
            part.problems.append(error)
            continue
        part.notes += read.notes
        if read.text is not None:
            return read.text
        part.notes.append(Log("caption.empty", {"where": where}, "warning"))
    if not job.concept.class_tokens:
        part.notes.append(Log("caption.none", {"where": job.where}, "warning"))
    return job.concept.class_tokens


def _limit_notes(settings: DatasetSettings) -> list[Log]:
    """Says so when bucket limits gave way."""
    limits = bucket_limits(settings)
    if not settings.enable_bucket or settings.bucket_no_upscale:
        return []
    if limits == (settings.min_bucket_reso, settings.max_bucket_reso):
        return []
    return [Log("bucket.limits", {"smallest": limits[0], "largest": limits[1]})]


def _twin_notes(pictures: Sequence[Picture]) -> list[Log]:
    """One note for each group of files with the same bytes."""
    twins: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        twins[picture.content_hash].append(picture.where)
    return [
        Log("dataset.same_content", {"names": ", ".join(group)}, "warning")
        for group in twins.values()
        if len(group) > 1
    ]


def _mask_notes(pictures: Sequence[Picture], masks: Path | None) -> list[Log]:
    training = [picture for picture in pictures if not picture.is_regularization]
    without = sum(picture.mask is None for picture in training)
    if masks is None or not without:
        return []
    return [Log("mask.missing", {"count": without, "total": len(training)}, "warning")]


def _hold_back(found: Scan, settings: DatasetSettings, seed: int) -> None:
    total = sum(not picture.is_regularization for picture in found.pictures)
    found.pictures, found.held_back = hold_back(
        found.pictures, settings.validation_split, validation_seed(settings, seed)
    )
    if found.held_back:
        found.notes.append(Log("dataset.held_back", {"count": len(found.held_back), "total": total}))
    else:
        found.notes.append(Log("dataset.none_held_back", {"share": f"{settings.validation_split:g}"}, "warning"))


def _nothing_left(found: Scan, files: int, root: Path) -> UserError:
    if files == 0:
        listing = list_folder(root, "train_data_dir")
        counts = {"folders": len(listing.folders), "files": len(listing.files)}
        return UserError("dataset.empty", "train_data_dir", folder=root.name, **counts)
    first = found.problems[0].where if found.problems else ""
    return UserError("dataset.all_broken", "train_data_dir", count=files, broken=len(found.problems), first=first)
