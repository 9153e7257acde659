"""What is proposed to whoever wants to use a cell: a name, trigger words, and what else there is of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.network.rewriting import read_metadata
from lib_lora_train.previews.store import Source
from lib_lora_train.project import Project, run_folder
from lib_lora_train.runs.pick_files import run_checkpoints, source_file
from lib_lora_train.runs.picking import suggest_name
from lib_lora_train.runs.records import read_record

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

NOTHING: dict[str, Any] = {"name": "", "trigger": "", "others": 0}


def offered(host: Host, project: Project, source: Source) -> dict[str, Any]:
    """`name` is one that picking would take, `others` counts the run's other checkpoints. Empty where the file or its
    run is gone: the cell can be looked at, not picked."""
    try:
        path = source_file(host, project, source.run, Path(source.file).name)
        name = suggest_name(host, project, source.run, path.name)
        if not source.run:
            trigger = read_metadata(path).get("modelspec.trigger_phrase", "")
            return {"name": name, "trigger": trigger, "others": 0}
        others = [each for each in run_checkpoints(host, project, source.run) if each.name != path.name]
        return {"name": name, "trigger": read_record(run_folder(project, source.run)).trigger_word, "others": len(others)}  # fmt: skip
    except UserError:
        return NOTHING
