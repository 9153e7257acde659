"""What stands in a project's form: its settings and wishes, kept until the next time it is opened."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json
from lib_lora_train.project import Project
from lib_lora_train.runs.managed import MANAGED, without
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import load_settings
from lib_lora_train.settings.writing import write_settings

DRAFT = "settings.json"
WISHES = "wishes.json"


def has_draft(project: Project) -> bool:
    """Whether somebody has changed the form of this project."""
    return (project.folder / DRAFT).exists()


def read_draft(project: Project) -> TrainSettings:
    """The settings as they were left, or the defaults. Raises UserError as `reading.load_settings`."""
    path = project.folder / DRAFT
    return load_settings(path).settings if path.exists() else TrainSettings()


def write_draft(project: Project, settings: TrainSettings) -> None:
    """Keeps the settings, without those that the project decides. Raises UserError("file.write")."""
    write_settings(project.folder / DRAFT, without(settings, MANAGED))


def set_aside(project: Project) -> str:
    """Gives a draft that cannot be read another name, which is returned. Raises UserError("file.write")."""
    target = project.folder / f"settings-unreadable-{time.time_ns():x}.json"
    try:
        (project.folder / DRAFT).rename(target)
    except OSError as error:
        raise UserError("file.write", DRAFT, reason=error.strerror or str(error)) from error
    return target.name


def read_wishes(project: Project) -> Wishes:
    """The wishes as they were left; before the first time, and when they cannot be read, those of the project's kind."""
    try:
        stored = json.loads((project.folder / WISHES).read_text(encoding="utf-8"))
        wishes = Wishes(**{name: str(value) for name, value in stored.items() if name in asdict(Wishes())})
        wishes.kind = project.kind
        wishes.check()
    except (OSError, ValueError, AttributeError, UserError):
        return Wishes(kind=project.kind)
    return wishes


def write_wishes(project: Project, wishes: Wishes) -> None:
    """Raises UserError: run.wish, file.write."""
    wishes.check()
    write_json(project.folder / WISHES, asdict(wishes))
