"""What the page does when something is pressed: open a project, plan, keep the form, train.

Each takes a visitor and the values of its inputs, and answers with new values by component. None waits for anything:
the work happens in the job's own thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from lib_lora_train.access import Visitor
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.project import Project
from lib_lora_train.runs.drafts import has_draft, read_draft, read_wishes, set_aside
from lib_lora_train.runs.estimate import estimate
from lib_lora_train.runs.presets import list_presets
from lib_lora_train.settings import TrainSettings
from lib_lora_train.studio import Studio
from lib_lora_train.ui.form import value_of
from lib_lora_train.ui.given import Given, open_given, read_given
from lib_lora_train.ui.handlers import Answer
from lib_lora_train.ui.markup import memory_line, notice, plan_list, problem
from lib_lora_train.ui.parts import Parts
from lib_lora_train.ui.train import CHOICES, KINDS, MEDIA


class Actions:
    """Handlers of the sub-tab Train and of the bridge to the page's scripts."""

    def __init__(self, studio: Studio, parts: Parts) -> None:
        self.studio = studio
        self.parts = parts
        self.train = parts.train

    def open_session(self, visitor: Visitor) -> Answer:
        """A token by which the REST routes know this page."""
        return {self.parts.bridge.token: self.studio.sessions.open(visitor.name).token}

    def open_project(self, visitor: Visitor, project_id: object, before: object) -> Answer:
        """Fills the form with the project's draft, or with a plan where nobody has changed anything yet.

        What was said goes with the project that was open `before`, and stays where it is the same.
        """
        project = open_given(self.studio, visitor, project_id)
        settings, said = None, ""
        if has_draft(project):
            try:
                settings = read_draft(project)
            except UserError as error:
                kept = set_aside(project)
                said = message("ui.draft_unreadable", visitor.language, reason=error.text(visitor.language), file=kept)
        given = self._given(project, settings or self.train.form.defaults())
        answer = self._fill(visitor, given if settings else self._planned(visitor, given) or given)
        told = gr.update() if before == project.id else ""
        told = notice(said, "warning") if said else told
        return {**answer, self.parts.bridge.opened: project.id, self.parts.message: told}

    def look(self, visitor: Visitor, *values: object) -> Answer:
        """When the sub-tab is opened: pictures may have come since. What is in the form stays, once it was changed."""
        if not values[0]:
            return {}
        if not has_draft(open_given(self.studio, visitor, values[0])):
            return self.open_project(visitor, values[0], values[0])
        return self._judge(visitor, self.read(visitor, values))

    def keep(self, visitor: Visitor, *values: object) -> Answer:
        """A moment after the last change in the form: it is written down, and looked at anew."""
        return self._judge(visitor, self.read(visitor, values).keep()) if values[0] else {}

    def plan(self, visitor: Visitor, *values: object) -> Answer:
        """Settings for what is wished, on top of what is not planned; the pictures get the planned repeats.

        Only what the plan decides or changes is put into the form: the rest may have been changed there since.
        """
        given = self.read(visitor, values)
        planned = self.studio.plan(visitor, given.project, given.wishes, given.settings)
        said = message("ui.planned", visitor.language)
        try:
            self.studio.take_repeats(given.project, planned.repeats)
        except UserError as error:  # a run of this project needs its folders as they are
            said = error.text(visitor.language)
        form, decided = self.train.form, planned.plan.changes
        before = form.show(given.settings)
        given = given.with_plan(planned).keep()
        after = form.show(given.settings)
        # Also what is decided as it was sent: the answer to an earlier choice may have changed it in the page.
        put = [one.component for one in form if one.key in decided or after[one.component] != before[one.component]]
        answer = {component: after[component] for component in put}
        if self.train.checkpoint in answer:  # it may be newer than the list
            answer[self.train.checkpoint] = self._checkpoint_list(given.settings.model.checkpoint)
        return {**answer, **self._judge(visitor, given), self.parts.message: notice(said)}

    def choose(self, visitor: Visitor, *values: object) -> Answer:
        """Plans anew after another choice. Of gradio 4 the same event comes when the page fills in what is stored."""
        given = self.read(visitor, values)
        stored = read_wishes(given.project)
        if replace(given.wishes, checkpoint=stored.checkpoint) == stored:
            return {self.parts.message: gr.update()}
        return self.plan(visitor, *values)

    def start(self, visitor: Visitor, *values: object) -> Answer:
        """Starts the run, or puts it in line. A form that was never kept is a plan, and its repeats are planned too."""
        given = self.read(visitor, values)
        if not has_draft(given.project):
            planned = self.studio.plan(visitor, given.project, given.wishes, given.settings)
            self.studio.take_repeats(given.project, planned.repeats)
        given = given.keep()
        started = self.studio.start(visitor, given.project, given.settings)
        record = started.job.record
        code = "ui.queued" if record.state == "queued" else "ui.started"
        return {self.parts.message: notice(message(code, visitor.language, place=record.place, run=started.run_id))}

    def refresh_checkpoints(self, visitor: Visitor, chosen: object) -> Answer:
        """The list as it is now."""
        return {self.train.checkpoint: self._checkpoint_list(self._checkpoint(chosen))}

    def refresh_loras(self, visitor: Visitor, chosen: object) -> Answer:
        """The list as it is now."""
        return {self.train.lora: listed(["", *self.studio.loras(visitor)], chosen)}

    def read(self, visitor: Visitor, values: tuple[object, ...]) -> Given:
        """What the form holds. Raises UserError naming the field."""
        return read_given(self.studio, self.train.form, visitor, values)

    def replace(self, visitor: Visitor, given: Given, settings: TrainSettings, text: str) -> Answer:
        """Other settings in the form, kept at once, and what is to be said about them."""
        answer = self._fill(visitor, given.with_settings(settings).keep())
        return {**answer, self.parts.message: notice(text)}

    def _given(self, project: Project, settings: TrainSettings) -> Given:
        """What the project's form holds when it is opened with these settings."""
        settings.model.checkpoint = self._checkpoint(settings.model.checkpoint)
        wishes = read_wishes(project)
        wishes.checkpoint = settings.model.checkpoint
        return Given(project, wishes, project.title, project.trigger_word, settings)

    def _planned(self, visitor: Visitor, given: Given) -> Given | None:
        """The same with planned settings; None as long as nothing can be planned."""
        try:
            planned = self.studio.plan(visitor, given.project, given.wishes, given.settings)
        except UserError:
            return None
        return given.with_plan(planned)

    def _fill(self, visitor: Visitor, given: Given) -> Answer:
        """Everything that the opening of a project fills in."""
        train, settings = self.train, given.settings
        presets = [preset.name for preset in list_presets(self.studio.root)]
        return {
            **train.form.show(settings),
            train.kind: _shown(KINDS, given.wishes.kind),
            train.medium: _shown(MEDIA, given.wishes.medium),
            train.choice: _shown(CHOICES, given.wishes.choice),
            train.name: given.name,
            train.trigger: given.trigger,
            train.checkpoint: self._checkpoint_list(settings.model.checkpoint),
            train.lora: listed(["", *self.studio.loras(visitor)], settings.network.network_weights),
            train.transfer.preset: gr.update(choices=presets),
            **self._judge(visitor, given),
        }

    def _judge(self, visitor: Visitor, given: Given) -> Answer:
        """The plan with its reasons beside what is there, and the memory that the form takes."""
        language, train, answer = visitor.language, self.train, {}
        planned = None
        try:
            planned = self.studio.plan(visitor, given.project, given.wishes, given.settings)
            answer[train.plan] = plan_list(planned.plan, self._there(given), language)
        except UserError as error:
            answer[train.plan] = problem(error, language, "info")
        try:
            found = estimate(self.studio.host, given.project, given.settings)
            steps = found.steps if planned is None or has_draft(given.project) else planned.plan.steps
            answer[train.estimate] = memory_line(found, steps, language)
        except UserError as error:
            answer[train.estimate] = problem(error, language, "warning")
        return answer

    def _there(self, given: Given) -> dict[str, object]:
        """The form's values, and the repeats of the pictures; those of a form that nobody has changed are planned."""
        there = {field.key: value_of(given.settings, field.key) for field in self.train.form}
        repeats = {concept.repeats for concept in list_concepts(given.project) if not concept.regularization}
        if repeats and has_draft(given.project):
            there["dataset.repeats"] = repeats.pop() if len(repeats) == 1 else ", ".join(map(str, sorted(repeats)))
        return there

    def _checkpoint(self, chosen: object) -> str:
        """The chosen one where it is still there, else the usual one; empty where there is none at all."""
        names, current = self.studio.checkpoint_names(), self.studio.current_checkpoint()
        if isinstance(chosen, str) and chosen in names:
            return chosen
        return current or next(iter(names), "")

    def _checkpoint_list(self, chosen: str) -> Any:
        return listed(self.studio.checkpoint_names(), chosen)


def listed(names: list[str], chosen: object) -> Any:
    """A dropdown's new choices; what is chosen stays only when it is still among them."""
    return gr.update(choices=names, value=chosen if chosen in names else None)


def _shown(choices: dict[str, str], value: str) -> str:
    return next(shown for shown, meant in choices.items() if meant == value)
