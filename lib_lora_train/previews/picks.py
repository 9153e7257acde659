"""From a cell of a grid to a LoRA with name, card and thumbnail, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.files import resolve_inside
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.preview.grids import Cell
from lib_lora_train.previews.pictures import picture_path
from lib_lora_train.previews.showing import View
from lib_lora_train.previews.store import cell_store
from lib_lora_train.project import Project
from lib_lora_train.runs.editions import Edition, infotext_of
from lib_lora_train.runs.pick_records import DONE, Pick, list_picks, read_pick
from lib_lora_train.runs.picking import Choice, pick, shown_cell

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

PARTS = {"lora": ".safetensors", "card": ".json", "picture": ".png"}  # of what is published


def check_pickable(view: View, cell: Cell) -> None:
    """Raises UserError("previews.without_lora")."""
    if cell.column < 0:
        raise UserError("previews.without_lora", "cell")


def pick_cell(
    host: Host, project: Project, view: View, cell: Cell, values: dict[str, Any], language: str = DEFAULT_LANGUAGE
) -> dict[str, Any]:
    """`values` are fields of `Choice`. The answer has the cell's text with the new name, for txt2img.

    Raises UserError: previews.without_lora, preview.no_cell, and as `picking.pick`.
    """
    check_pickable(view, cell)
    picture_path(project, view, cell.key)
    source = view.kept.sources[cell.column]
    shown = shown_cell(view.kept.grid, cell_store(project), cell)
    choice = Choice(source.run, Path(source.file).name, **{"weight": cell.weight, **values})
    made = pick(host, project, choice, shown)
    path = view.kept.grid.columns[cell.column].path
    infotext = infotext_of(Edition(path, made.name, shown=shown))
    return {**made.as_dict(language), "weight": choice.weight, "infotext": infotext}


def shown_picks(project: Project) -> list[dict[str, Any]]:
    """Of the newest picks what can be undone."""
    return [shown_pick(each) for each in list_picks(project)[:20] if each.state == DONE]


def picked_file(host: Host, project: Project, pick_id: str, part: str) -> Path:
    """A file that a pick has published; it may be gone. Raises UserError("picking.no_pick"), also for an undone one."""
    made = read_pick(project, pick_id)
    names = [name for name in made.files if name.endswith(PARTS[part])]
    if made.state != DONE or not names:
        raise UserError("picking.no_pick", made.name)
    return resolve_inside(host.paths.loras, names[0])


def shown_pick(made: Pick) -> dict[str, Any]:
    return {
        "pick": made.id,
        "name": made.name,
        "run": made.run,
        "file": made.file,
        "weight": made.weight,
        "time": made.time,
        "state": made.state,
    }
