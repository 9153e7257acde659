"""From a cell to the WebUI's txt2img: the text to paste there, with a name under which its LoRA can be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.preview.grids import Cell
from lib_lora_train.previews.showing import View
from lib_lora_train.project import Project
from lib_lora_train.runs.naming import find_lora
from lib_lora_train.runs.pick_records import DONE, list_picks

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_HASHES = re.compile(r'(?:, )?Lora hashes: (?:"(?:\\.|[^"\\])*"|[^,\n]*)')


def paste_of(host: Host, project: Project, view: View, cell: Cell, infotext: str) -> dict[str, str]:
    """`usable` is the name of the cell's file in the LoRA folder, `paste` the text that names it.

    A name that the file was published under comes before its own. Both are empty where the file is not in the folder,
    or where no prompt can name it; a cell without a LoRA has its text alone.
    """
    if cell.column < 0:
        return {"usable": "", "paste": without_hashes(infotext)}
    from lib_lora_train.host.infotext import with_lora, with_other_name  # torch; a page that starts needs none

    path, source = view.kept.grid.columns[cell.column].path, view.kept.sources[cell.column]
    name = _published(host, project, source.run, Path(source.file).name) or _own(host, path)
    if not name or with_lora("", name, cell.weight)[1] is not None:
        return {"usable": "", "paste": ""}
    return {"usable": name, "paste": without_hashes(with_other_name(infotext, path.stem, name, cell.weight))}


def without_hashes(infotext: str) -> str:
    """A LoRA that is published has the hash of its checkpoint: by it the WebUI would put the other's name into the prompt."""
    head, line, last = infotext.rpartition("\n")
    return f"{head}{line}{_HASHES.sub('', last).removeprefix(', ')}"


def _published(host: Host, project: Project, run_id: str, file: str) -> str:
    """The newest name of those that are there."""
    picks = [made for made in list_picks(project) if (made.state, made.run, made.file) == (DONE, run_id, file)]
    return next((made.name for made in picks if made.files and (host.paths.loras / made.files[-1]).is_file()), "")


def _own(host: Host, path: Path) -> str:
    try:
        return path.stem if find_lora(host, path.name).resolve() == path.resolve() else ""
    except UserError:  # moved out of the folder, or deleted
        return ""
