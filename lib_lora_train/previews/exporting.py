"""A grid as files to take away: one large picture, a table, everything in a zip, the text of an X/Y/Z plot."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lib_lora_train.collection.layout import CACHE
from lib_lora_train.collection.packing import Entry, pack
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, safe_name, write_json, write_text
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.preview.grids import Cell, Grid
from lib_lora_train.preview.plot_text import plot_text
from lib_lora_train.preview.sheet import draw_sheet
from lib_lora_train.preview.table import scores_csv
from lib_lora_train.previews.showing import View, shown_recommendation
from lib_lora_train.previews.store import cell_store
from lib_lora_train.project import Project

KINDS = {"png": "image/png", "csv": "text/csv", "zip": "application/zip", "plot": "text/plain"}
_CHUNK = 1 << 20


def export(project: Project, view: View, kind: str, language: str = DEFAULT_LANGUAGE) -> tuple[Iterator[bytes], str, str]:  # fmt: skip
    """Content piece by piece, name and media type. Raises UserError: previews.export_kind, file.write, preview.*."""
    if kind not in KINDS:
        raise UserError("previews.export_kind", "as", value=kind[:40], choices=", ".join(KINDS))
    name = safe_name(f"{project.title} {view.kept.id}")
    if kind == "csv":
        return iter([_table(view).encode("utf-8", "replace")]), f"{name}.csv", KINDS[kind]
    if kind == "plot":
        return iter([_plots(view.kept.grid).encode("utf-8", "replace")]), f"{name}.txt", KINDS[kind]
    folder = project.path(CACHE, "grids", f"export-{secrets.token_hex(6)}")
    try:
        if kind == "png":
            _write_sheet(project, view, folder / "grid.png")
            return _cleared(_pieces(folder / "grid.png"), folder), f"{name}.png", KINDS[kind]
        entries = _entries(project, view, folder, language)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _cleared(pack(entries), folder), f"{name}.zip", KINDS[kind]


def _entries(project: Project, view: View, folder: Path, language: str) -> list[Entry]:
    """The sheet, the table, the plots, the recommendation, and each picture under a name that says what it shows."""
    store, grid = cell_store(project), view.kept.grid
    present = store.present()
    _write_sheet(project, view, folder / "grid.png")
    write_text(folder / "scores.csv", _table(view))
    write_text(folder / "plot.txt", _plots(grid))
    write_json(folder / "recommendation.json", {"recommendation": shown_recommendation(view, language)})
    made = [Entry(path.name, path) for path in sorted(folder.iterdir())]
    cells = [cell for cell in view.cells.values() if cell.key in present]
    return made + [Entry(f"cells/{cell_name(grid, cell)}", store.path(cell.key)) for cell in cells]


def cell_name(grid: Grid, cell: Cell) -> str:
    """A file name of its own for each cell: no two say the same."""
    file = grid.columns[cell.column].path.stem[:80] if cell.column >= 0 else "without"
    base = f"-b{cell.base + 1}" if len(grid.bases) > 1 else ""
    place = f"-f{cell.column + 1:02d}" if cell.column >= 0 else ""
    return safe_name(f"{file}{place}{base}-w{cell.weight:g}-p{cell.prompt + 1:02d}-s{cell.seed}.png")


def _write_sheet(project: Project, view: View, path: Path) -> None:
    found = view.recommendation
    sheet = draw_sheet(view.kept.grid, cell_store(project), {found.cell} if found is not None else set())
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", compress_level=4)


def _table(view: View) -> str:
    return scores_csv(view.kept.grid, view.scores, view.kept.stars)


def _plots(grid: Grid) -> str:
    texts = [plot_text(grid, prompt, base) for base in range(len(grid.bases)) for prompt in range(len(grid.prompts))]
    return "\n\n".join(texts) + "\n"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            yield chunk


def _cleared(chunks: Iterator[bytes], folder: Path) -> Iterator[bytes]:
    try:
        yield from chunks
    finally:
        shutil.rmtree(folder, ignore_errors=True)
