"""One pass over a project: models, check, crop, matte, tag, and if asked for into the data set.

Until the last of these nothing of the project's changes; a stop leaves it as it was, and what was found out is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lib_lora_train.collection.limits import Limits
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.applying import Applied, apply
from lib_lora_train.prepare.bench import Bench, Steps
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.describing import Content, describe
from lib_lora_train.prepare.health.findings import Report
from lib_lora_train.prepare.models import fetch_models
from lib_lora_train.prepare.report import project_report
from lib_lora_train.prepare.sources import cache_folder, digests_of, keep_originals, read_sources
from lib_lora_train.prepare.state import State, changed_state, read_state
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.wanted import Wanted, find_wanted, tasks_of
from lib_lora_train.prepare.working import work
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

MOST_SAID = 20  # problems of single pictures that are said one by one


@dataclass
class Outcome:
    """How a pass went. `problems` are what stood in the way of single pictures or of a step; the rest was done."""

    problems: list[UserError] = field(default_factory=list)
    report: Report | None = None
    applied: Applied | None = None


@dataclass
class Passing:
    """A project on its way through a pass."""

    project: Project
    tools: Tools
    settings: PrepareSettings
    events: EventSink = ignore_events
    commands: Commands | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        self.folder = cache_folder(self.project)
        self.outcome = Outcome()

    def run(self, steps: Sequence[str], apply_it: bool = False, may_apply: Callable[[], None] | None = None) -> Outcome:
        """Does the named steps; raises Stopped, and UserError for what stands in the way of all of it.

        `may_apply` raises a UserError when the data set is not to be changed now.
        """
        keep_originals(self.project)
        if steps:
            self._say(fetch_models(self.tools, self.settings, steps, self.events, self.commands))
        bench = self.tools.bench(self.folder)
        state = self._candidate(steps)
        if steps:
            self._pictures(bench, state, steps)
        if "tag" in steps:
            steps = self._captions(bench, state, steps)
        self._check_stop()
        self._note(steps, bench)
        if apply_it:
            self._apply(bench, may_apply)
        self._forget(bench)
        return self.outcome

    def _candidate(self, steps: Sequence[str]) -> State:
        """The state as it will be when the steps are done."""
        state = read_state(self.project)
        for step in steps:
            state.ran[step] = self.settings
        return state

    def _pictures(self, bench: Bench, state: State, steps: Sequence[str]) -> None:
        digests = digests_of(self.project)
        tasks = []
        for _, task, error in tasks_of(self.project, state, read_sources(self.project, digests=digests), digests):
            if task is not None:
                tasks.append(task)
            elif error is not None:
                self._say([error])
        if not tasks:
            raise UserError("prepare.no_pictures", "pictures")
        if list(steps) == ["tag"] and set(state.ran) <= {"check", "tag"} and not state.hands:
            return  # nothing is cut: taggers open the originals themselves
        only_check = list(steps) == ["check"] and set(state.ran) == {"check"} and not state.hands
        wanted = Steps(check=state.ran.get("check")) if only_check else state.steps
        self._say(work(bench, tasks, wanted, self.events, self.commands, rendering=not only_check))

    def _captions(self, bench: Bench, state: State, steps: Sequence[str]) -> Sequence[str]:
        """The steps that were done: without a tagger the others still count, and that is said."""
        wanted = find_wanted(self.project, state, bench, lambda content, own: None)
        contents = wanted_contents(wanted, bench)
        try:
            self._say(describe(contents, self.folder, self.tools, self.settings.tag, self.events, self.commands))
        except UserError as error:
            if list(steps) == ["tag"]:
                raise
            self._say([error])
            return [step for step in steps if step != "tag"]
        return steps

    def _note(self, steps: Sequence[str], bench: Bench) -> None:
        report = self._report(bench, self._candidate(steps)) if "check" in steps else None  # long, so without the lock
        with changed_state(self.project) as state:
            for step in steps:
                state.ran[step] = self.settings
                state.times[step] = time.time()
            if report is not None:
                self.outcome.report = report
                state.score, state.findings = report.score, len(report.findings)

    def _report(self, bench: Bench, state: State) -> Report:
        wanted = find_wanted(self.project, state, bench, lambda content, own: None)
        return project_report(self.project, state, bench, wanted)

    def _forget(self, bench: Bench) -> None:
        """What nobody wants any more of what was found out and rendered: the folder must not grow with every try."""
        state = read_state(self.project)
        wanted = find_wanted(self.project, state, bench, lambda content, own: None)
        recipes = [recipe for entry in wanted.entries for recipe in entry.recipes or ()]
        digests = {entry.task.digest for entry in wanted.entries if entry.task is not None}
        bench.forget(digests, recipes, {made.key for made in wanted.layout.made.values()}, state.steps)

    def _apply(self, bench: Bench, may_apply: Callable[[], None] | None) -> None:
        state = read_state(self.project)
        digests = digests_of(self.project)
        listed = tasks_of(self.project, state, read_sources(self.project, digests=digests), digests)
        tasks = [task for _, task, _ in listed if task is not None]
        if state.ran or state.hands:  # what was decided by hand since may not be rendered yet
            work(bench, tasks, state.steps, self.events, self.commands)
        self._check_stop()
        if may_apply is not None:
            may_apply()
        self.events(Stage("prepare.stage_applying"))
        tag = state.ran.get("tag")
        caption = captioning(self.tools.seen(self.folder), tag.tag if tag else None, self.project.trigger_word)
        self.outcome.applied = apply(self.project, bench, caption, self.limits, tag.tag.taggers if tag else ())

    def _say(self, problems: Sequence[UserError]) -> None:
        for problem in problems:
            if len(self.outcome.problems) < MOST_SAID:
                self.events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))
            self.outcome.problems.append(problem)

    def _check_stop(self) -> None:
        if self.commands is not None and self.commands.stopping:
            raise Stopped


def wanted_contents(wanted: Wanted, bench: Bench) -> list[Content]:
    """(content, name in messages, file) of every picture that the data set will have, each content once."""
    found: dict[str, Content] = {}
    for entry in wanted.entries:
        if entry.task is None:
            continue
        if entry.recipes is not None:
            for recipe in entry.recipes:
                path = bench.picture(recipe) if recipe.key else entry.source.path
                if path.is_file():
                    found.setdefault(recipe.content, (recipe.content, entry.source.name, path))
            continue
        for output in entry.source.outputs:
            content = output.made.key if output.made is not None and output.made.key else entry.task.digest
            found.setdefault(content, (content, entry.source.name, entry.source.folder.path / output.name))
    return list(found.values())
