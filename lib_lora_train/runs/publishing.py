"""A run's last LoRA under its plain name, where the WebUI shows it, with a card beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.files import atomic_path, write_json
from lib_lora_train.runs.editions import SD_VERSIONS
from lib_lora_train.runs.naming import MODEL_SUFFIXES, fold, lora_files
from lib_lora_train.runs.records import RunRecord
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

PUBLISHED = "published.json"


def publish(host: Host, run_folder: Path, record: RunRecord, lora: Path, family: str) -> str | None:
    """Copies a LoRA file of a run to its plain name, with a card; returns the name, or None when it is taken.

    Nothing is ever overwritten. Raises UserError("file.write").
    """
    taken = {fold(path.stem) for path in lora_files(host.paths.loras, MODEL_SUFFIXES)}
    if fold(record.base) in taken:
        return None
    target = host.paths.loras / f"{record.base}{LORA_SUFFIX}"
    with atomic_path(target) as temporary:
        shutil.copyfile(lora, temporary)
    write_json(run_folder / PUBLISHED, {"name": record.base, "file": lora.name})
    card = target.with_suffix(".json")
    if not card.exists():
        write_json(card, make_card(record, lora.stem, family))
    return record.base


def make_card(record: RunRecord, source: str, family: str) -> dict[str, object]:
    """What the WebUI's Lora extension shows of a file, and puts into prompts."""
    return {
        "description": record.title,
        "sd version": SD_VERSIONS.get(family, "Unknown"),
        "activation text": record.trigger_word,
        "preferred weight": 1.0,
        "notes": f"{source}, {record.checkpoint}",
    }


def published(host: Host, run_folder: Path) -> tuple[str, str]:
    """The plain name that a run took at its end, and the file it was given to; empty when its copy is gone."""
    try:
        content = json.loads((run_folder / PUBLISHED).read_text(encoding="utf-8"))
        name, file = str(content["name"]), str(content["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""
    return (name, file) if (host.paths.loras / f"{name}{LORA_SUFFIX}").is_file() else ("", "")


def published_file(host: Host, run_folder: Path) -> str:
    """The file of a run whose copy has the plain name; empty when there is none, or the copy is gone."""
    return published(host, run_folder)[1]
