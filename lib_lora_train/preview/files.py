"""The axes of a grid from what lies on disk: LoRA files with their place in the training, and checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lib_lora_train.network.rewriting import read_metadata
from lib_lora_train.preview.grids import Base, Column, file_identity

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_File = TypeVar("_File")


def columns_of(files: Sequence[Path], labels: Sequence[str] = ()) -> tuple[Column, ...]:
    """A column for each file, each content once. Epoch and step are what the file's metadata says, else 0.

    Without `labels` a file is called by its stem, with its folder's name where two have the same. Raises UserError as
    `files.check_lora`, and preview.no_file.
    """
    stems = [path.stem for path in files]
    found: dict[str, Column] = {}
    for place, path in enumerate(files):
        metadata = read_metadata(path)
        label = labels[place] if place < len(labels) else ""
        label = label or (path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}/{path.stem}")
        epoch, step = (_whole(metadata.get(name, "")) for name in ("ss_epoch", "ss_steps"))
        identity = file_identity(path)
        found.setdefault(identity, Column(path, label, identity, epoch, step))
    return tuple(found.values())


def in_order(files: Iterable[Path]) -> list[Path]:
    """Files of one training as they were written: by step, then epoch, then name. Raises as `columns_of`."""

    def place(path: Path) -> tuple[int, int, str]:
        metadata = read_metadata(path)
        return _whole(metadata.get("ss_steps", "")), _whole(metadata.get("ss_epoch", "")), path.name

    return sorted(files, key=place)


def spread(files: Sequence[_File], most: int) -> list[_File]:
    """At most `most` of one training's files, evenly spread, the last among them; all for 0."""
    if not most or len(files) <= most:
        return list(files)
    return [files[round((number + 1) * len(files) / most) - 1] for number in range(most)]


def base_of(host: Host, checkpoint: str) -> Base:
    """A checkpoint by name or path. Raises UserError as `Host.describe`."""
    from lib_lora_train.host.facts import header_stamps  # torch

    info = host.describe(checkpoint).info
    stamps = f"{info.path.name} {header_stamps(info.path)}"
    return Base(checkpoint, info.sha256 or hashlib.sha256(stamps.encode("utf-8", "replace")).hexdigest())


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
