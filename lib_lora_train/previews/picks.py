"""From a cell of a grid to a LoRA with name, card and thumbnail, and back."""

from __future__ import annotations

from dataclasses import dataclass
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
from lib_lora_train.runs.editions import Edition, Shown, infotext_of
from lib_lora_train.runs.pick_records import DONE, Pick, list_picks, read_pick
from lib_lora_train.runs.picking import Choice, Picked, check_choice, pick, shown_cell
from lib_lora_train.signals import Commands, EventSink

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

PARTS = {"lora": ".safetensors", "card": ".json", "picture": ".png"}  # of what is published


def check_pickable(view: View, cell: Cell) -> None:
    """Raises UserError("previews.without_lora")."""
    if cell.column < 0:
        raise UserError("previews.without_lora", "cell")


@dataclass(frozen=True)
class CellPick:
    """A cell that is to be used, looked at so far that it is worth while to have its turn."""

    choice: Choice
    shown: Shown
    source: Path

    def make(self, host: Host, project: Project, commands: Commands, events: EventSink) -> Picked:
        """Raises Stopped, and UserError as `picking.pick`."""
        return pick(host, project, self.choice, self.shown, commands, events)

    def told(self, made: Picked, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
        """The answer has the cell's text with the new name, for txt2img."""
        infotext = infotext_of(Edition(self.source, made.name, shown=self.shown))
        return {**made.as_dict(language), "weight": self.choice.weight, "infotext": infotext}


def look_at_pick(host: Host, project: Project, view: View, cell: Cell, values: dict[str, Any]) -> CellPick:
    """`values` are fields of `Choice`. Raises UserError: previews.without_lora, preview.no_cell, and as
    `picking.check_choice`."""
    check_pickable(view, cell)
    picture_path(project, view, cell.key)
    source = view.kept.sources[cell.column]
    shown = shown_cell(view.kept.grid, cell_store(project), cell)
    choice = Choice(source.run, Path(source.file).name, **{"weight": cell.weight, **values})
    check_choice(host, project, choice, shown)
    return CellPick(choice, shown, view.kept.grid.columns[cell.column].path)


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
