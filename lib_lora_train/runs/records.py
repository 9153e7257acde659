"""run.json: what a run was asked to do, written once when it is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lib_lora_train import __version__
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import from_document
from lib_lora_train.settings.writing import to_dict

RECORD = "run.json"
RECORD_VERSION = 1
_PACKAGES = ("torch", "diffusers", "transformers", "safetensors")


@dataclass(frozen=True)
class RunRecord:
    """A run as it was started. `name` is that of its LoRA files without epoch or step, `steps` how many were expected.

    `settings` are the user's; folders are filled in when the run begins (`managed.prepare`), so that no path of this
    machine is written down. `created` is in seconds since 1970.
    """

    settings: TrainSettings
    title: str  # the project's, then
    kind: str
    trigger_word: str
    checkpoint: str
    name: str
    base: str  # the name that publishing gives
    created: float
    steps: int
    versions: dict[str, str]


def installed_versions() -> dict[str, str]:
    """This program's and the packages' that decide what a run computes; those that are not there are left out."""
    found = {"lora_train": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_record(folder: Path, record: RunRecord) -> None:
    """Raises UserError("file.write")."""
    facts = {name: value for name, value in asdict(record).items() if name not in ("settings", "title", "kind")}
    facts.pop("trigger_word")
    project = {"title": record.title, "kind": record.kind, "trigger_word": record.trigger_word}
    document = {"version": RECORD_VERSION, "project": project, **facts, "settings": to_dict(record.settings)}
    write_json(folder / RECORD, document)


def read_record(folder: Path) -> RunRecord:
    """Raises UserError("run.damaged") when it is not there, cut, or not ours."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if content["version"] != RECORD_VERSION:
            raise UserError("run.damaged", folder.name)
        project = content["project"]
        return RunRecord(
            settings=from_document(content["settings"], RECORD).settings,
            title=str(project["title"]),
            kind=str(project["kind"]),
            trigger_word=str(project["trigger_word"]),
            checkpoint=str(content["checkpoint"]),
            name=str(content["name"]),
            base=str(content["base"]),
            created=float(content["created"]),
            steps=int(content["steps"]),
            versions=dict(content["versions"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("run.damaged", folder.name) from error
