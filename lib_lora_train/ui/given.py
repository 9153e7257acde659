"""What the browser sent, as what it stands for. Nothing of it is believed before it is here."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from lib_lora_train.access import Visitor
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project, edit_project
from lib_lora_train.runs.drafts import write_draft, write_wishes
from lib_lora_train.runs.planning import Planned
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.studio import Studio
from lib_lora_train.ui.form import MAX_TEXT, Form
from lib_lora_train.ui.train import CHOICES, KINDS, MEDIA
from lib_lora_train.words import word

MAX_DOCUMENT = 1_000_000  # characters of a settings file


@dataclass(frozen=True)
class Given:
    """A project and what its form holds."""

    project: Project
    wishes: Wishes
    name: str
    trigger: str
    settings: TrainSettings

    def keep(self) -> Given:
        """Writes the form down: the project's own facts, its wishes and its draft. Raises project.title, file.write."""
        project = self.project
        if (self.name.strip(), self.trigger.strip(), self.wishes.kind) != (
            project.title, project.trigger_word, project.kind
        ):  # fmt: skip
            project = edit_project(project, self.name, self.wishes.kind, self.trigger)
        write_wishes(project, self.wishes)
        write_draft(project, self.settings)
        return replace(self, project=project)

    def with_settings(self, settings: TrainSettings) -> Given:
        """The same with other settings."""
        return replace(self, settings=settings)

    def with_plan(self, planned: Planned) -> Given:
        """The same with planned settings. Sample prompts that somebody wrote stay."""
        settings = copy.deepcopy(planned.settings)
        settings.run.sample_prompts = self.settings.run.sample_prompts.strip() or settings.run.sample_prompts
        return replace(self, settings=settings)


def open_given(studio: Studio, visitor: Visitor, project_id: object) -> Project:
    """Raises UserError: ui.no_project, project.unknown and others of `project.open_project`."""
    if not isinstance(project_id, str) or not project_id:
        raise UserError("ui.no_project")
    return studio.project(visitor, project_id)


def read_given(studio: Studio, form: Form, visitor: Visitor, values: tuple[object, ...]) -> Given:
    """From the values of `Parts.given`. Raises UserError naming the field."""
    words = partial(word, language=visitor.language)
    project_id, kind, medium, choice, name, trigger, *settings = values
    project = open_given(studio, visitor, project_id)
    read = form.read(settings, words)
    wishes = Wishes(
        kind=_choice(kind, KINDS, words("Kind of subject")),
        medium=_choice(medium, MEDIA, words("Pictures are")),
        choice=_choice(choice, CHOICES, words("Quality against time")),
        checkpoint=read.model.checkpoint,
    )
    weights = read.network.network_weights
    if weights and weights not in studio.loras(visitor):
        raise UserError("run.no_lora", words("Continue from LoRA"), name=weights[:120])
    return Given(project, wishes, text_of(name, words("Name")), text_of(trigger, words("Trigger word")), read)


def text_of(value: object, where: str, longest: int = MAX_TEXT) -> str:
    """Raises UserError: ui.unreadable, ui.too_long."""
    if not isinstance(value, str):
        raise UserError("ui.unreadable", where)
    if len(value) > longest:
        raise UserError("ui.too_long", where, longest=longest)
    return value


def read_document(value: object) -> tuple[str, str]:
    """Name and text of a file that the page has read. Raises UserError: ui.unreadable, ui.too_long."""
    try:
        document = json.loads(text_of(value, "", 2 * MAX_DOCUMENT))
        name, text = document["name"], document["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("ui.unreadable") from error
    name = text_of(name, "")
    return name[-80:], text_of(text, name[-80:], MAX_DOCUMENT)


def _choice(value: object, known: Mapping[str, str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        shown = value[:60] if isinstance(value, str) else "-"
        raise UserError("settings.choice", where, value=shown, choices=", ".join(known))
    return known[value]
