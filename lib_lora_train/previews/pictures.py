"""The pictures of a grid for the page: small ones, what differs from the picture without the LoRA, and what to paste."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops

from lib_lora_train.collection.layout import CACHE
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.preview.grids import Cell
from lib_lora_train.previews.offers import NOTHING, offered
from lib_lora_train.previews.sending import paste_of
from lib_lora_train.previews.showing import View
from lib_lora_train.previews.store import cell_store
from lib_lora_train.project import Project

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

SIDE = 256  # px of the longer side of a small one
QUALITY = 85


def find_cell(view: View, key: str) -> Cell:
    """Raises UserError("preview.no_cell")."""
    cell = view.cells.get(key)
    if cell is None:
        raise UserError("preview.no_cell", key[:40])
    return cell


def picture_path(project: Project, view: View, key: str) -> Path:
    """The PNG of a cell, with its infotext. Raises UserError("preview.no_cell"), also while it is not drawn."""
    path = cell_store(project).path(find_cell(view, key).key)
    if not path.is_file():
        raise UserError("preview.no_cell", key[:40])
    return path


def thumbnail(project: Project, view: View, key: str) -> Path:
    """A JPEG of at most `SIDE`, made once. Raises UserError: preview.no_cell, file.write."""
    source = picture_path(project, view, key)
    path = project.path(CACHE, "grids", str(SIDE), f"{key}.jpg")
    try:
        drawn = source.stat().st_mtime_ns
    except OSError as error:
        raise UserError("preview.no_cell", key[:40]) from error
    try:
        if path.stat().st_mtime_ns == drawn:
            return path
    except OSError:  # not there yet
        pass
    image = cell_store(project).read(key)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    with atomic_path(path) as temporary:
        image.save(temporary, "JPEG", quality=QUALITY)
        os.utime(temporary, ns=(drawn, drawn))  # of what was read: it may be drawn again this very moment
    return path


def difference(project: Project, view: View, key: str) -> bytes:
    """A PNG of the grey levels by which a cell differs from the one without the LoRA, of the same prompt and seed, made
    brighter so that the largest difference is white. Raises UserError("preview.no_cell")."""
    cell = find_cell(view, key)
    plain = view.kept.grid.cell(cell.base, -1, 0.0, cell.prompt, cell.seed)
    store = cell_store(project)
    apart = ImageChops.difference(store.read(key), store.read(plain.key))
    most = max(high for _, high in apart.getextrema())
    if most:
        apart = apart.point([min(255, round(level * 255 / most)) for level in range(256)] * 3)
    buffer = io.BytesIO()
    apart.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def cell_text(host: Host, project: Project, view: View, key: str) -> dict[str, Any]:
    """What draws the cell again in txt2img, and what picking it would take: as `paste_of` and `offered` say.

    Raises UserError("preview.no_cell").
    """
    cell, grid = find_cell(view, key), view.kept.grid
    drawing, prompt = grid.drawing, grid.prompts[cell.prompt].text
    path = picture_path(project, view, key)
    lora = grid.columns[cell.column].path.stem if cell.column >= 0 else ""
    tag = f"<lora:{lora}:{cell.weight:g}>" if lora else ""
    infotext = cell_store(project).infotext(path.stem)
    return {
        "prompt": " ".join(filter(None, (prompt, tag))),
        "text": prompt,
        "negative_prompt": drawing.negative_prompt,
        "infotext": infotext,
        **paste_of(host, project, view, cell, infotext),
        "lora": lora,
        "weight": cell.weight if lora else 0.0,
        **(offered(host, project, view.kept.sources[cell.column]) if lora else NOTHING),
        "sampler": drawing.sampler,
        "steps": drawing.steps,
        "cfg_scale": drawing.cfg_scale,
        "seed": cell.seed,
        "width": drawing.width,
        "height": drawing.height,
        "clip_skip": drawing.clip_skip,
        "checkpoint": grid.bases[cell.base].name,
    }
