"""What is published of a LoRA: the file under a plain name, its thumbnail and its card, put in place as one set.

    <lora folder>/Alice.safetensors  Alice.png  Alice.json

Nothing is ever overwritten. The model comes last, so that a set is seen by the WebUI as soon as it is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.files import TEMPORARY_SUFFIX, sweep_temporaries, sync_folder, write_bytes, write_json
from lib_lora_train.runs.naming import MODEL_SUFFIXES, base_name, fold, lora_files
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from PIL.Image import Image

    from lib_lora_train.host.base import GenerateRequest, Host, LoraCheck

SD_VERSIONS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}
# What the WebUI takes for a file's own: card and thumbnails.
COMPANIONS = (".json", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".txt")
_BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_STAGE = ".publishing-"
_OLD = 24 * 3600.0  # seconds, after which nobody is still publishing
LONGEST_NOTES = 10_000
HEAVIEST = 10.0


@dataclass(frozen=True)
class Shown:
    """The cell of a grid that a LoRA is picked for. `request` drew it; without one it is not drawn again."""

    image: Image
    infotext: str = ""
    request: GenerateRequest | None = None


@dataclass(frozen=True)
class Edition:
    """A LoRA file as it is to be published. `family` is sd1, sd2, sdxl or "", `checkpoint` the base model's name.

    With `scrub` nothing is kept that tells of pictures, their folders and tags, of times and settings.
    """

    source: Path
    name: str
    weight: float = 1.0
    trigger: str = ""
    negative: str = ""
    notes: str = ""
    description: str = ""
    family: str = ""
    checkpoint: str = ""
    scrub: bool = False
    shown: Shown | None = None


def check_edition(edition: Edition) -> None:
    """Raises UserError: picking.name, picking.weight, picking.text."""
    better = base_name(edition.name)
    if better != edition.name:
        raise UserError("picking.name", "name", name=edition.name[:120], better=better)
    if not -HEAVIEST <= edition.weight <= HEAVIEST:
        raise UserError("picking.weight", "weight", most=f"{HEAVIEST:g}")
    for where in ("trigger", "negative", "notes", "description"):
        if len(getattr(edition, where)) > LONGEST_NOTES:
            raise UserError("picking.text", where, most=LONGEST_NOTES)


def names_in_use(folder: Path) -> set[str]:
    """Folded stems of all models below the LoRA folder, and of cards and thumbnails that lie in it without one."""
    found = {fold(path.stem) for path in lora_files(folder, MODEL_SUFFIXES)}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.suffix.lower() in COMPANIONS and not path.name.startswith("."):
            found.add(fold(path.stem.removesuffix(".preview")))
    return found


def free_name(wanted: str, used: Collection[str], allowed: Callable[[str], bool] = lambda name: True) -> str:
    """`wanted`, or the first of "wanted 2", "wanted 3", ... that nobody has."""
    base = base_name(wanted)
    number = 1
    while True:
        name = base if number == 1 else f"{base} {number}"
        if fold(name) not in used and allowed(name):
            return name
        number += 1


@contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """A folder for a set in the making: on the disk of the LoRA folder, seen by no model list, gone afterwards."""
    place = folder / f"{_STAGE}{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
    try:
        place.mkdir(parents=True)
    except OSError as error:
        raise UserError("file.write", folder.name, reason=error.strerror or str(error)) from error
    sweep_temporaries(folder, _OLD)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_set(place: Path, edition: Edition) -> list[str]:
    """Writes an edition's files to a folder; their names in the order in which they go to their place.

    Raises UserError as `check_edition` and `rewriting.rewrite_metadata`, and file.write.
    """
    from lib_lora_train.network.rewriting import read_metadata, rewrite_metadata  # safetensors; the page needs none

    check_edition(edition)
    names = [f"{edition.name}.json"]
    write_json(place / names[0], card_of(edition))
    if edition.shown is not None:
        from lib_lora_train.preview.cells import png_bytes

        names.append(f"{edition.name}.png")
        write_bytes(place / names[-1], png_bytes(edition.shown.image, infotext_of(edition)))
    names.append(f"{edition.name}{LORA_SUFFIX}")
    metadata = metadata_of(edition, read_metadata(edition.source))
    rewrite_metadata(edition.source, place / names[-1], metadata)
    return names


def place_set(source: Path, target: Path, names: Sequence[str]) -> None:
    """Moves files of a set from one folder to another on the same disk; none is moved where one cannot be.

    Raises UserError: picking.appeared for a name that is taken, file.write.
    """
    done: list[str] = []
    try:
        for name in names:
            put(source / name, target / name)
            done.append(name)
    except UserError:
        for name in reversed(done):
            (target / name).replace(source / name)
        raise
    sync_folder(target)


def publish_edition(
    host: Host, folder: Path, edition: Edition, checkpoint: str = ""
) -> tuple[list[str], LoraCheck | None]:
    """An edition in a folder that belongs to no project; the names of its files, the model last.

    With a `checkpoint` the file is loaded on it by the host before it is there. Raises UserError: picking.taken,
    picking.unfit, picking.copied, and as `write_set` and `Host.check_lora`.
    """
    from lib_lora_train.network.rewriting import same_tensors

    used = names_in_use(folder)
    if fold(edition.name) in used:
        raise UserError("picking.taken", "name", name=edition.name, free=free_name(edition.name, used))
    with stage(folder) as place:
        names = write_set(place, edition)
        if not same_tensors(edition.source, place / names[-1]):
            raise UserError("picking.copied", edition.source.name)
        check = host.check_lora(place / names[-1], checkpoint) if checkpoint else None
        if check is not None and not check.matched:
            raise UserError("picking.unfit", edition.source.name, total=check.total)
        place_set(place, folder, names)
    host.refresh_loras()
    return names, check


def put(source: Path, target: Path) -> None:
    """Moves a file to where there is none; also to another disk. Raises UserError: picking.appeared, file.write."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)  # refused where a file is, also one that came this very moment
        except FileExistsError:
            raise
        except OSError:  # a disk without links, or another disk
            if os.path.lexists(target):
                raise FileExistsError from None
            _move(source, target)
        else:
            source.unlink()
    except FileExistsError as error:
        raise UserError("picking.appeared", target.name) from error
    except OSError as error:
        raise UserError("file.write", source.name, reason=error.strerror or str(error)) from error


def metadata_of(edition: Edition, old: Mapping[str, str]) -> dict[str, str]:
    """The file's own entries, with name, trigger words, preferred weight and base model as published."""
    from lib_lora_train.network.reshape import needed_metadata
    from lib_lora_train.network.rewriting import family_of

    kept = needed_metadata(old) if edition.scrub else dict(old)
    if "ss_sd_model_name" in old:
        kept["ss_sd_model_name"] = old["ss_sd_model_name"]
    elif edition.checkpoint:
        kept["ss_sd_model_name"] = PureWindowsPath(PurePosixPath(edition.checkpoint).name).name
    family = family_of(old) or edition.family
    if family and "ss_base_model_version" not in kept:
        kept["ss_base_model_version"] = _BASE_VERSIONS[family]
    if family and "ss_v2" not in kept:
        kept["ss_v2"] = str(family == "sd2")
    kept["ss_output_name"] = kept["modelspec.title"] = edition.name
    kept["ss_preferred_weight"] = f"{edition.weight:g}"
    kept["modelspec.usage_hint"] = f"<lora:{edition.name}:{edition.weight:g}>"
    if edition.trigger:
        kept["modelspec.trigger_phrase"] = edition.trigger
    return kept


def card_of(edition: Edition) -> dict[str, object]:
    """What the WebUI's Lora extension shows of a file, and puts into prompts."""
    source = "" if edition.scrub else ", ".join(filter(None, (edition.source.stem, edition.checkpoint)))
    return {
        "description": edition.description,
        "sd version": SD_VERSIONS.get(edition.family, "Unknown"),
        "activation text": edition.trigger,
        "preferred weight": edition.weight,
        "negative text": edition.negative,
        "notes": "\n".join(filter(None, (edition.notes, source))),
    }


def infotext_of(edition: Edition) -> str:
    """The cell's text with the published name, so that the picture pastes into txt2img with the published file."""
    if edition.shown is None or edition.scrub:
        return ""
    from lib_lora_train.host.infotext import with_other_name  # torch; the page needs none

    request = edition.shown.request
    weight = edition.weight if request is None else request.weight
    return with_other_name(edition.shown.infotext, edition.source.stem, edition.name, weight)


def _move(source: Path, target: Path) -> None:
    """Never half of a file under the name that it will have: a model list could be read this moment."""
    aside = target.with_name(f".{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        shutil.copy2(source, aside)
        with aside.open("rb+") as handle:
            os.fsync(handle.fileno())
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)
    source.unlink()
