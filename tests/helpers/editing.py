"""A tag editor without a server, and what is on the disk beside what it shows."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib_lora_train.editor import batches, finding, going_back, overview
from lib_lora_train.editor.batches import Target
from lib_lora_train.editor.desk import Desk
from lib_lora_train.editor.editor import Editor
from lib_lora_train.project import Project, create_project, open_project
from tests.helpers.pictures import encoded, gradient
from tests.helpers.sheets import WordCounter

PNG = encoded(gradient(16, 12), "PNG")
FOLDER = "10_hero"


class Office:
    """An editor with one project in `root`, whose pictures have the captions given (None: no file)."""

    def __init__(self, root: Path, captions: list[str | bytes | None], trigger: str = "hero") -> None:
        self.root = root / "projects"
        self.models = root / "models"
        self.counter: Any = WordCounter()
        self.project: Project = create_project(self.root, "Hero", "character", trigger)
        self.folder = self.project.folder / "dataset" / FOLDER
        self.folder.mkdir()
        for number, caption in enumerate(captions, 1):
            (self.folder / f"{number}.png").write_bytes(PNG)
            if caption is not None:
                self.put(number, caption)
        self.open()

    def open(self) -> None:
        """As a new process would."""
        host: Any = SimpleNamespace(
            paths=SimpleNamespace(models=self.models),
            model_files=lambda: {"wd-tagger": [self.root / "elsewhere" / "selected_tags.csv"]},
            token_counter=lambda: self.counter,
        )
        self.editor = Editor(host, self.root)
        self.editor.tools.tokens.counter(patience=60)

    @property
    def desk(self) -> Desk:
        return self.editor.desk(open_project(self.root, self.project.id))

    def put(self, number: int, caption: str | bytes) -> None:
        """As another program writes a caption."""
        (self.folder / f"{number}.txt").write_bytes(caption.encode() if isinstance(caption, str) else caption)

    def age(self) -> None:
        """As if all files had been written a minute ago; those of a moment ago are not trusted to stay as they are."""
        for path in self.folder.iterdir():
            when = path.stat().st_mtime_ns - 60 * 10**9
            os.utime(path, ns=(when, when))

    def disk(self) -> dict[str, bytes]:
        """What the caption files hold, when all is written."""
        assert self.desk.writer.close(60)
        return {path.name: path.read_bytes() for path in sorted(self.folder.glob("*.txt"))}

    def texts(self) -> list[str]:
        """What is shown, picture by picture."""
        return [item.text for item in self.desk.sheet(now=True).items]

    def id(self, number: int) -> str:
        return next(item.id for item in self.desk.sheet().items if item.name == f"{number}.png")

    def found(self, filter: str = "") -> list[str]:
        desk = self.desk
        names = {item.id: item.name for item in desk.sheet().items}
        return [names[each] for each in finding.find(desk, filter, "name", False, "en")["pictures"]]

    def do(self, edit: dict[str, Any], filter: str = "", pictures: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Previews an edit and applies what was shown."""
        target = Target(filter, pictures)
        shown = batches.preview(self.desk, edit, target, 0, 200, "en")
        batches.apply(self.desk, edit, target, shown["digest"], "en")
        return shown

    def overview(self, language: str = "en") -> dict[str, Any]:
        return overview.show(self.desk, language)

    def undo(self) -> None:
        going_back.undo(self.desk, self.overview()["undo"]["number"])

    def redo(self) -> None:
        going_back.redo(self.desk, self.overview()["redo"]["number"])
