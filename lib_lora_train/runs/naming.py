"""Names of LoRA files, unique in the whole LoRA folder.

The WebUI knows a LoRA by its base name alone, whatever the folder, and keeps showing the old weights of a name it has
seen. So a project takes a base name once and for all (`.names` in the projects' folder says whose it is), a run adds
its number, and the trainer adds epoch or step:

    <lora folder>/<project id>/Alice-r02-000010.safetensors
    <lora folder>/Alice.safetensors                  the published one (`publishing`)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.files import safe_name
from lib_lora_train.project import Project
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

NAMES = ".names"
MODEL_SUFFIXES = (LORA_SUFFIX, ".ckpt", ".pt")  # what the WebUI's Lora extension lists
_LONGEST = 120  # bytes of a base name; numbers and endings come on top
_TRIES, _PAUSE = 50, 0.02
_LIKE_A_RUN = re.compile(r"-(r\d+)(?=-|$)", re.IGNORECASE)


@dataclass(frozen=True)
class RunName:
    """`base` is what publishing gives, `name` what the run's files begin with."""

    base: str
    name: str


def loras_folder(host: Host, project: Project) -> Path:
    """Where the LoRA files of a project's runs are."""
    return host.paths.loras / project.id


def lora_files(folder: Path, suffixes: tuple[str, ...] = (LORA_SUFFIX,)) -> Iterator[Path]:
    """Model files below a folder, in no order; nothing in folders whose names begin with a dot."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(suffixes):
                yield Path(place) / name


def find_lora(host: Host, name: str) -> Path:
    """A LoRA file by its name, with or without ending. Raises UserError("run.no_lora")."""
    for path in lora_files(host.paths.loras):
        if name in (path.name, path.stem):
            return path
    raise UserError("run.no_lora", "network_weights", name=name[:120])


def take_name(host: Host, project: Project, run_id: str) -> RunName:
    """Names for a run that no other project has and that no file in the LoRA folder has. Raises file.write."""
    own = loras_folder(host, project)
    foreign = [fold(path.stem) for path in lora_files(host.paths.loras, MODEL_SUFFIXES) if own not in path.parents]
    base, number = base_name(project.title), 1
    while True:
        candidate = base if number == 1 else f"{base} {number}"
        name = f"{candidate}-{run_id}"
        taken = any(stem == fold(name) or stem.startswith(f"{fold(name)}-") for stem in foreign)
        if not taken and reserve_name(project, candidate):
            return RunName(candidate, name)
        number += 1


def base_name(title: str) -> str:
    """A title as the beginning of file names; nothing that looks like a run's number, which would be another file."""
    name = _LIKE_A_RUN.sub(r"_\1", safe_name(title, "lora"))
    while len(name.encode("utf-8")) > _LONGEST:
        name = name[:-1]
    return name.rstrip(" .")


def fold(name: str) -> str:
    """Two names that some file system or the WebUI takes for one are the same when folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_free_for(project: Project, base: str) -> bool:
    """Whether no other project has taken the base name."""
    path = _reservation(project, base)
    return not path.exists() or _owner(path) == project.id


def reserve_name(project: Project, base: str) -> bool:
    """Takes a base name; whether it is the project's, now or from before. Raises UserError("file.write")."""
    path = _reservation(project, base)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as handle:  # of two who come at once, one makes the file
            json.dump({"name": base, "project": project.id}, handle, ensure_ascii=False)
        return True
    except FileExistsError:
        return _owner(path) == project.id
    except OSError as error:
        raise UserError("file.write", base, reason=error.strerror or str(error)) from error


def _reservation(project: Project, base: str) -> Path:
    return project.root / NAMES / f"{hashlib.sha256(fold(base).encode()).hexdigest()[:32]}.json"


def _owner(path: Path) -> str | None:
    """The project that has the name; none when the file was cut by a crash, and not only being written this moment."""
    for _ in range(_TRIES):
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["project"])
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(_PAUSE)
    return None
