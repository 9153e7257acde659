"""What a grid consists of: LoRA files at weights, by prompts and seeds, on one or several checkpoints.

A cell is known by everything that decides its pixels (`Cell.key`), not by its place. So cells are kept when an axis
changes, one that two grids share is drawn once, and the cells of weight 0 are those of every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError

if TYPE_CHECKING:
    from lib_lora_train.host.base import GenerateRequest

MOST_CELLS = 20_000
MOST_COLUMNS = 200


@dataclass(frozen=True)
class Base:
    """A checkpoint to draw with. `identity` tells one state of it from another."""

    name: str
    identity: str


@dataclass(frozen=True)
class Column:
    """A LoRA file. `label` is what is shown of it, `identity` the hash of its content."""

    path: Path
    label: str
    identity: str
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class GridPrompt:
    """`kind` is caption, template, leak (without the trigger word) or own; `asks` are the tags it asks for."""

    text: str
    kind: str = "own"
    label: str = ""
    asks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """What all cells have in common."""

    negative_prompt: str
    sampler: str
    steps: int
    cfg_scale: float
    width: int
    height: int
    clip_skip: int


@dataclass(frozen=True)
class Cell:
    """One picture. The numbers are places in the grid's axes; `column` is -1 where no LoRA is on."""

    key: str
    base: int
    column: int
    weight: float
    prompt: int
    seed: int


@dataclass(frozen=True)
class Grid:
    """The axes. `host` is the name of the host whose pipeline draws: another's pictures are other pictures."""

    bases: tuple[Base, ...]
    columns: tuple[Column, ...]
    weights: tuple[float, ...]
    prompts: tuple[GridPrompt, ...]
    seeds: tuple[int, ...]
    drawing: Drawing
    host: str

    def check(self) -> None:
        """Raises UserError: preview.nothing, preview.too_many."""
        if not (self.bases and self.columns and self.weights and self.prompts and self.seeds):
            raise UserError("preview.nothing", "files")
        if len(self.columns) > MOST_COLUMNS or self.size > MOST_CELLS:
            raise UserError("preview.too_many", "grid", count=self.size, most=MOST_CELLS)

    @property
    def size(self) -> int:
        """How many pictures there are to draw at most."""
        drawn = sum(weight != 0 for weight in self.weights) * len(self.columns) + (0.0 in self.weights)
        return len(self.bases) * drawn * len(self.prompts) * len(self.seeds)

    def cells(self) -> list[Cell]:
        """Each picture once, in the order in which they are drawn: a checkpoint is loaded once, and each (file, weight)
        put on the model once."""
        return [
            self.cell(base, column, weight, prompt, seed)
            for base in range(len(self.bases))
            for column, weight in self._adapted()
            for prompt in range(len(self.prompts))
            for seed in self.seeds
        ]

    def cell(self, base: int, column: int, weight: float, prompt: int, seed: int) -> Cell:
        """That at a place. At weight 0 it is the same in every column."""
        column = column if weight != 0 else -1
        drawing = self.drawing
        said = [
            self.host,
            self.bases[base].identity,
            self.columns[column].identity if column >= 0 else "",
            weight if column >= 0 else 0,
            self.prompts[prompt].text,
            seed,
            *asdict(drawing).values(),
        ]
        key = hashlib.sha256(json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return Cell(key, base, column, weight, prompt, seed)

    def request(self, cell: Cell) -> GenerateRequest:
        from lib_lora_train.host.base import GenerateRequest  # torch; axes are looked at without

        drawing = self.drawing
        return GenerateRequest(
            prompt=self.prompts[cell.prompt].text,
            negative_prompt=drawing.negative_prompt,
            width=drawing.width,
            height=drawing.height,
            steps=drawing.steps,
            cfg_scale=drawing.cfg_scale,
            seed=cell.seed,
            sampler=drawing.sampler,
            clip_skip=drawing.clip_skip,
            lora=self.columns[cell.column].path if cell.column >= 0 else None,
            weight=cell.weight if cell.column >= 0 else 0.0,
            checkpoint=self.bases[cell.base].name,
        )

    def _adapted(self) -> Iterator[tuple[int, float]]:
        if 0.0 in self.weights:
            yield -1, 0.0
        for column in range(len(self.columns)):
            for weight in self.weights:
                if weight != 0:
                    yield column, weight


def file_identity(path: Path) -> str:
    """SHA-256 of a file's content. Raises UserError("preview.no_file")."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
    except OSError as error:
        raise UserError("preview.no_file", path.name, reason=error.strerror or "?") from error
    return digest.hexdigest()


def batches(cells: Sequence[Cell], most: int) -> Iterator[list[Cell]]:
    """Cells that are drawn together: of one checkpoint, file and weight, at most `most` of them.

    The division does not depend on what is drawn already, so a grid that is gone on with is drawn in the same batches
    as one that is made in one go, and gets the same pixels.
    """
    batch: list[Cell] = []
    for cell in cells:
        if batch and (len(batch) == most or _adapted(cell) != _adapted(batch[0])):
            yield batch
            batch = []
        batch.append(cell)
    if batch:
        yield batch


def _adapted(cell: Cell) -> tuple[int, int, float]:
    return cell.base, cell.column, cell.weight
