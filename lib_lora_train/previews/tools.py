"""LoRA files made from LoRA files: another rank, a sum, less said of the pictures, another precision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.runs.editions import free_name, names_in_use, place_set, stage
from lib_lora_train.runs.naming import base_name, find_lora, fold, is_free_for, reserve_name
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from pathlib import Path

    from lib_lora_train.host.base import Host

# What each takes beside its file and the new name.
TOOLS: dict[str, tuple[str, ...]] = {
    "resize": ("rank", "keep", "precision"),
    "merge": ("weights", "rank", "precision"),
    "scrub": ("precision",),
    "convert": ("precision",),
}


def shown_tools(names: Sequence[str]) -> dict[str, Any]:
    """`files` are the LoRA files that can be taken, by name."""
    from lib_lora_train.network.files import MAX_RANK
    from lib_lora_train.network.reshape import DTYPES, MAX_FILES

    tools = [{"name": name, "takes": list(takes), "files": MAX_FILES if name == "merge" else 1} for name, takes in TOOLS.items()]  # fmt: skip
    return {"tools": tools, "files": list(names), "precisions": list(DTYPES), "largest_rank": MAX_RANK}


def use_tool(
    host: Host,
    project: Project,
    tool: str,
    files: Sequence[str],
    name: str,
    weights: Sequence[float] = (),
    rank: int | None = None,
    keep: float = 1.0,
    precision: str = "",
) -> dict[str, Any]:
    """Writes a new file to the LoRA folder; nothing is overwritten. Who may take which file is not checked here.

    Raises UserError: previews.tool, previews.one_file, previews.precision, previews.rank, picking.name, picking.taken,
    run.no_lora, reshape.*, network.*, file.write.
    """
    from lib_lora_train.network import reshape

    if tool not in TOOLS:
        raise UserError("previews.tool", "tool", value=tool[:40], choices=", ".join(TOOLS))
    if precision not in ("", *reshape.DTYPES) or (tool == "convert" and not precision):
        raise UserError("previews.precision", "precision", value=precision[:40], choices=", ".join(reshape.DTYPES))
    if tool == "resize" and rank is None:
        raise UserError("previews.rank", "rank")
    if tool != "merge" and len(files) != 1:
        raise UserError("previews.one_file", "files")
    if tool == "merge" and (not 2 <= len(files) <= reshape.MAX_FILES or len(weights) != len(files)):
        raise UserError("reshape.few", "files", most=reshape.MAX_FILES)
    _check_name(host, project, name)
    opened = [reshape.open_factors(find_lora(host, each)) for each in files]
    metadata, factors = opened[0].metadata, opened[0].factors
    if tool == "resize" and rank is not None:
        factors = reshape.resize(opened[0], rank, keep)
    elif tool == "merge":
        factors, metadata = reshape.merge(opened, weights, rank), reshape.merged_metadata(opened, weights)
    elif tool == "scrub":
        metadata = reshape.needed_metadata(metadata)
    dtype = reshape.DTYPES[precision] if precision else opened[0].dtype
    file = f"{name}{LORA_SUFFIX}"
    with stage(host.paths.loras) as place:
        reshape.write_factors(place / file, factors, metadata, dtype)
        _check_name(host, project, name)
        if not reserve_name(project, name):
            raise _taken(host, project, name)
        place_set(place, host.paths.loras, [file])
    host.refresh_loras()
    ranks = [each.rank for each in factors.values()]
    return {
        "name": name,
        "file": file,
        "rank": [min(ranks, default=0), max(ranks, default=0)],
        "precision": next(known for known, kind in reshape.DTYPES.items() if kind is dtype),
        "bytes": _size(host.paths.loras / file),
    }


def _check_name(host: Host, project: Project, name: str) -> None:
    better = base_name(name)
    if better != name:
        raise UserError("picking.name", "name", name=name[:120], better=better)
    if fold(name) in names_in_use(host.paths.loras) or not is_free_for(project, name):
        raise _taken(host, project, name)


def _taken(host: Host, project: Project, name: str) -> UserError:
    free = free_name(name, names_in_use(host.paths.loras), partial(is_free_for, project))
    return UserError("picking.taken", "name", name=name[:120], free=free)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # moved away this very moment
        return 0
