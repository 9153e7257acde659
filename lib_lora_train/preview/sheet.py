"""A grid as one large labelled picture: for every prompt a table, files across and weights down."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lib_lora_train.errors import UserError
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.fonts import Font, label_font, readable
from lib_lora_train.preview.grids import Cell, Grid

MOST_PIXELS = 120_000_000  # of the sheet; beyond it the cells are reduced
_INK, _FAINT, _PAPER, _EMPTY, _MARK = (32, 32, 36), (110, 110, 118), (250, 250, 250), (226, 226, 230), (214, 120, 20)
_GAP, _MARGIN, _LEAST = 6, 12, 32


@dataclass(frozen=True)
class _Measures:
    """Px. `cell` is that of one picture, `slot` of all seeds of a place beside one another."""

    cell: tuple[int, int]
    slot: int
    left: int
    header: int
    prompt: int
    font: Font

    def block(self, rows: int) -> int:
        return self.prompt + self.header + rows * (self.cell[1] + _GAP) + _MARGIN


def draw_sheet(grid: Grid, store: CellStore, marked: Collection[str] = ()) -> Image.Image:
    """RGB. Cells that are missing stay grey; those whose keys are `marked` get a frame.

    Raises UserError("preview.nothing") for a grid without cells.
    """
    grid.check()
    measures = _measures(grid)
    blocks = len(grid.bases) * len(grid.prompts)
    width = measures.left + len(grid.columns) * (measures.slot + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, _MARGIN + blocks * measures.block(len(grid.weights))), _PAPER)
    present = store.present()
    top = _MARGIN
    for base in range(len(grid.bases)):
        for prompt in range(len(grid.prompts)):
            _draw_block(sheet, top, grid, base, prompt, measures, store, present, marked)
            top += measures.block(len(grid.weights))
    return sheet


def _measures(grid: Grid) -> _Measures:
    drawing, seeds = grid.drawing, len(grid.seeds)
    columns, rows = len(grid.columns), len(grid.bases) * len(grid.prompts) * len(grid.weights)
    wanted = columns * seeds * drawing.width * rows * drawing.height
    reduced = min(1.0, (MOST_PIXELS / wanted) ** 0.5)
    cell = (max(_LEAST, int(drawing.width * reduced)), max(_LEAST, int(drawing.height * reduced)))
    size = max(12, min(28, cell[0] // 12))
    font = label_font(size)
    left = _MARGIN + max(int(font.getlength(_weight(weight))) for weight in grid.weights) + _GAP * 2
    return _Measures(cell, seeds * (cell[0] + 2) - 2, left, size + _GAP * 2, size + _GAP * 2, font)


def _draw_block(
    sheet: Image.Image,
    top: int,
    grid: Grid,
    base: int,
    prompt: int,
    measures: _Measures,
    store: CellStore,
    present: Collection[str],
    marked: Collection[str],
) -> None:
    pen, font = ImageDraw.Draw(sheet), measures.font
    title = grid.prompts[prompt].text
    if len(grid.bases) > 1:
        title = f"{grid.bases[base].name}: {title}"
    pen.text((_MARGIN, top), _fit(title, sheet.width - 2 * _MARGIN, font, keep_end=False), fill=_INK, font=font)
    top += measures.prompt
    for column, file in enumerate(grid.columns):
        left = measures.left + column * (measures.slot + _GAP)
        pen.text((left, top), _fit(file.label, measures.slot, font), fill=_FAINT, font=font)
    top += measures.header
    for row, weight in enumerate(grid.weights):
        y = top + row * (measures.cell[1] + _GAP)
        pen.text((_MARGIN, y + measures.cell[1] // 2 - measures.header // 3), _weight(weight), fill=_FAINT, font=font)
        for column in range(len(grid.columns)):
            left = measures.left + column * (measures.slot + _GAP)
            for place, seed in enumerate(grid.seeds):
                cell = grid.cell(base, column, weight, prompt, seed)
                corner = (left + place * (measures.cell[0] + 2), y)
                _draw_cell(sheet, corner, cell, measures, store, cell.key in present, cell.key in marked)


def _draw_cell(
    sheet: Image.Image,
    corner: tuple[int, int],
    cell: Cell,
    measures: _Measures,
    store: CellStore,
    present: bool,
    marked: bool,
) -> None:
    width, height = measures.cell
    box = (corner[0], corner[1], corner[0] + width - 1, corner[1] + height - 1)
    pen = ImageDraw.Draw(sheet)
    picture = None
    if present:
        try:
            picture = store.read(cell.key)
        except UserError:  # damaged since it was looked at: an empty place, as any that is missing
            picture = None
    if picture is None:
        pen.rectangle(box, fill=_EMPTY)
    else:
        if picture.size != measures.cell:
            picture = picture.resize(measures.cell, Image.Resampling.LANCZOS)
        sheet.paste(picture, corner)
    if marked:
        pen.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), outline=_MARK, width=4)


def _weight(weight: float) -> str:
    return f"{weight:g}"


def _fit(text: str, width: int, font: Font, keep_end: bool = True) -> str:
    """A text that is too long loses its beginning (names differ in their last characters) or its end."""
    text = readable(" ".join(text.split()))
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # characters that are kept; found by halving, as a prompt may be long
    while low < high:
        middle = (low + high + 1) // 2
        shown = "…" + text[-middle:] if keep_end else text[:middle] + "…"
        low, high = (middle, high) if font.getlength(readable(shown)) <= width else (low, middle - 1)
    if not low:
        return ""
    return readable("…" + text[-low:] if keep_end else text[:low] + "…")
