"""A labelled grid of pictures: checkpoints across, weights down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lib_lora_train.host.base import GenerateRequest, Session, places

_INK = (32, 32, 36)
_PAPER = (250, 250, 250)
_GAP = 6
_EMPTY = (64, 64)  # of cells when none has a picture


def grid_requests(
    base: GenerateRequest, loras: Sequence[Path], weights: Sequence[float]
) -> list[list[GenerateRequest]]:
    """One row per weight, one column per file; everything else, the seed too, the same in each cell."""
    return [[replace(base, lora=lora, weight=weight) for lora in loras] for weight in weights]


def draw_grid(
    session: Session,
    base: GenerateRequest,
    loras: Sequence[Path],
    weights: Sequence[float],
    columns: Sequence[str] = (),
) -> Image.Image:
    """Generates every cell and puts them together. `columns` are the labels, by default the files' names.

    A picture that somebody cancelled leaves its cell empty.
    """
    requests = [request for row in grid_requests(base, loras, weights) for request in row]
    drawn = session.generate(requests)
    images = {place: picture.image for place, picture in zip(places(requests, drawn), drawn, strict=True)}
    starts = range(0, len(requests), len(loras))
    cells = [[images.get(start + column) for column in range(len(loras))] for start in starts]
    labels = list(columns) or [lora.stem for lora in loras]
    return compose(cells, labels, [f"weight {weight:g}" for weight in weights])


def compose(cells: Sequence[Sequence[Image.Image | None]], columns: Sequence[str], rows: Sequence[str]) -> Image.Image:
    """Pictures in rows and columns with their labels; cells of one size, taken from the first that is not empty."""
    width, height = next((image.size for images in cells for image in images if image is not None), _EMPTY)
    font = ImageFont.load_default()
    left = _GAP * 2 + max((int(font.getlength(row)) for row in rows), default=0)
    top = _GAP * 2 + 12
    size = (left + len(columns) * (width + _GAP), top + len(cells) * (height + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, label in enumerate(columns):
        pen.text((left + number * (width + _GAP), _GAP), _fit(label, width, font), fill=_INK, font=font)
    for number, (label, images) in enumerate(zip(rows, cells, strict=True)):
        y = top + number * (height + _GAP)
        pen.text((_GAP, y + height // 2 - 6), label, fill=_INK, font=font)
        for column, image in enumerate(images):
            if image is not None:
                sheet.paste(image, (left + column * (width + _GAP), y))
    return sheet


def _fit(label: str, width: int, font: ImageFont.ImageFont) -> str:
    """The end of a label that is too long: names differ in their last characters."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(".." + label) > width:
        label = label[1:]
    return ".." + label
