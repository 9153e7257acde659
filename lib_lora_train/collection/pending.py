"""Captions that came before their pictures, so that files may be uploaded in any order.

Also remembered is which picture had to be renamed when it came, as the name was taken: a caption of the old name that
comes soon after is its own. What nobody called for within an hour is forgotten. One small file in `.cache/pending`
for each concept and stem; the project's lock must be held.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib_lora_train.collection.layout import CACHE, ConceptFolder
from lib_lora_train.collection.names import fold, identify
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.project import Project

KEPT_SECONDS = 3600.0


@dataclass
class Waiting:
    """What is known of one stem as it was given."""

    caption: str = ""
    pictures: list[str] = field(default_factory=list)  # stored names of pictures without a caption, newest last


class Pending:
    """The waiting room of one project."""

    def __init__(self, project: Project) -> None:
        self._folder = project.path(CACHE, "pending")

    def take(self, folder: ConceptFolder, stem: str) -> Waiting:
        """What waits under `stem`; it waits no longer."""
        path = self._path(folder, stem)
        try:
            if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                return Waiting()
            content = json.loads(path.read_text(encoding="utf-8"))
            waiting = Waiting(str(content["caption"]), [str(name) for name in content["pictures"]])
            path.unlink(missing_ok=True)
        except (OSError, ValueError, TypeError, KeyError):  # nothing waits, or not ours
            return Waiting()
        return waiting

    def put(self, folder: ConceptFolder, stem: str, waiting: Waiting) -> None:
        """Raises UserError("file.write")."""
        if waiting.caption or waiting.pictures:
            write_json(self._path(folder, stem), asdict(waiting))

    def sweep(self) -> None:
        """Forgets what is too old."""
        for path in self._folder.glob("*.json"):
            try:
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError("file.write", path.name, reason=error.strerror or "?") from error

    def _path(self, folder: ConceptFolder, stem: str) -> Path:
        return self._folder / f"{identify('pending', folder.id, fold(stem))}.json"
