"""How much a project may take in, and how much it holds."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lib_lora_train.dataset.images import MAX_FILE_BYTES
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project

MAX_CONCEPTS = 200
MAX_REPEATS = 10_000  # as the setting `repeats`
MAX_CONCEPT_NAME = 100  # characters
MAX_CAPTION_BYTES = 65_536
_HOLDERS = ("images", "dataset", "regularization", "masks", "prepare", "history", "grids", ".trash")


@dataclass(frozen=True)
class Limits:
    """Of one project: `files` pictures, each of `file_bytes`, all with captions, masks and trash of `total_bytes`.

    `ratio` is how many times larger than packed the contents of a zip may be.
    """

    files: int = 2_000
    file_bytes: int = 50_000_000
    total_bytes: int = 2_000_000_000
    ratio: int = 100

    @classmethod
    def local(cls) -> Limits:
        """For a server that only its own machine can reach: against accidents, not against strangers."""
        return cls(files=20_000, file_bytes=MAX_FILE_BYTES, total_bytes=50_000_000_000, ratio=1_000)

    @property
    def members(self) -> int:
        """Entries a zip may have: picture, caption and mask of each, folders, and some litter."""
        return 4 * self.files + 1_000


class Room:
    """What is left of a project's limits while pictures are taken in."""

    def __init__(self, project: Project, limits: Limits, pictures: int) -> None:
        self.limits = limits
        self._pictures = pictures
        self._bytes = used_bytes(project)

    def check(self, where: str, size: int) -> None:
        """Raises UserError("collection.too_many" or "collection.no_room") when a picture of `size` bytes is too much."""
        if self._pictures >= self.limits.files:
            raise UserError("collection.too_many", where, count=self._pictures, limit=self.limits.files)
        if self._bytes + size > self.limits.total_bytes:
            raise UserError(
                "collection.no_room", where, used=megabytes(self._bytes), limit=megabytes(self.limits.total_bytes)
            )

    def take(self, size: int) -> None:
        self._pictures += 1
        self._bytes += size


def used_bytes(project: Project) -> int:
    """What the pictures of a project, its captions, masks, grids and trash take; a linked file counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for holder in _HOLDERS:
        for folder, _, names in os.walk(project.path(holder)):
            for name in names:
                try:
                    information = os.lstat(f"{folder}{os.sep}{name}")
                except OSError:  # gone meanwhile
                    continue
                sizes[information.st_dev, information.st_ino] = information.st_size
    return sum(sizes.values())


def megabytes(size: int) -> int:
    return -(-size // 1_000_000)
