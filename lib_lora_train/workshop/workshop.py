"""What can be asked of a project's preparation, and what it answers. Who may ask is the studio's to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Exposure, Visitor
from lib_lora_train.collection.limits import Limits
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.prepare.one_pass import Passing
from lib_lora_train.prepare.planning import PreparePlan, plan_preparation
from lib_lora_train.prepare.reading import from_dict, to_dict
from lib_lora_train.prepare.state import STEPS, changed_state
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.prepare.undoing import list_undo, undo
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink
from lib_lora_train.vision.models import known_model
from lib_lora_train.vision.store import ModelStore
from lib_lora_train.workshop.context import Context, Contexts
from lib_lora_train.workshop.line import Line
from lib_lora_train.workshop.toolbox import shown_tools

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host
    from lib_lora_train.jobs import Job

_USUAL_SIZE = 512


class Workshop:
    """All methods may be called from any thread. `busy` raises a UserError when a project's data set is not to change."""

    def __init__(self, host: Host, exposure: Exposure, busy: Callable[[Project], None], limits: Limits) -> None:
        self.host = host
        self.exposure = exposure
        shown = Path(*host.paths.models.parts[-2:])  # enough to find it by, and no path of the server
        self.store = ModelStore(host.paths.models, extra=host.model_files(), shown=str(shown))
        self.models_folder = shown.as_posix() if exposure.names_folders else ""
        self.tools = Tools(self.store, host, downloads=not exposure.has_quotas)
        self.line = Line(exposure)
        self.contexts = Contexts(self.tools)
        self._busy = busy
        self._limits = limits

    def context(self, project: Project) -> Context:
        return self.contexts.of(project, busy=self.line.of(project) is not None)

    # ------------------------------------------------------------------ what there is

    def overview(self, project: Project, visitor: Visitor) -> dict[str, Any]:
        """`GET /prepare`."""
        context = self.context(project)
        planned = self.plan(project)
        state, language = context.state, visitor.language
        undos = list_undo(project)
        return {
            "settings": to_dict(self.settings(project)),
            "sources": len(context.wanted.entries),
            "planned": {"settings": to_dict(planned.settings), "reasons": planned.texts(language)},
            "job": self.line.living(self.line.of(project), visitor),
            "last": self.line.ended(self.line.folder(project), language),
            "steps": context.steps,
            "changes": context.counts,
            "prepared": bool(state.ran),
            "undo": {"id": undos[0].id, "time": undos[0].time, "title": _title(undos[0].counts, language)}
            if undos
            else None,
            "tools": shown_tools(self, language),
        }

    def settings(self, project: Project) -> PrepareSettings:
        """Those in the form; planned ones until somebody changes them."""
        state = self.context(project).state
        return self.plan(project).settings if state.planned else state.settings

    def plan(self, project: Project) -> PreparePlan:
        """What suits the project."""
        ready = [status.model.name for status in self.store.known("tagger") if status.state == "ready"]
        usable = [*ready, *self.store.user_folders()]
        return plan_preparation(project.kind, self._size(), usable, self.tools.may_download)

    # ------------------------------------------------------------------ what is done

    def change_settings(self, project: Project, values: object) -> None:
        """Raises UserError as `reading.from_dict`."""
        settings = from_dict(values, self.settings(project))
        with changed_state(project) as state:
            state.settings, state.planned = settings, False

    def start(
        self,
        project: Project,
        visitor: Visitor,
        steps: Sequence[str],
        apply_it: bool = False,
        then: Callable[[], None] | None = None,
    ) -> Job:
        """Puts a pass in line. Raises UserError: prepare.step, prepare.no_pictures, and as `Line.start`."""
        unknown = [step for step in steps if step not in STEPS]
        if unknown or not (steps or apply_it):
            raise UserError("prepare.step", "steps", value=", ".join(unknown)[:60], choices=", ".join(STEPS))
        if not self.context(project).wanted.entries:
            raise UserError("prepare.no_pictures", "pictures")
        if apply_it:
            self._busy(project)
        settings = self.settings(project)

        def work(events: EventSink, commands: Commands) -> None:
            passing = Passing(project, self.tools, settings, events, commands, self._limits)
            passing.run(steps, apply_it, lambda: self._busy(project))

        return self.line.start(project, visitor, work, then)

    def discard(self, project: Project) -> None:
        """Forgets what was prepared and not applied. Raises UserError("prepare.busy") while a pass is under way."""
        self.check_idle(project)
        with changed_state(project) as state:
            state.discard()

    def undo(self, project: Project, entry_id: str) -> int:
        """Raises UserError: prepare.busy, prepare.no_undo, and what `busy` raises."""
        self.check_idle(project)
        self._busy(project)
        return undo(project, entry_id)

    def fetch_model(self, visitor: Visitor, name: str) -> Job:
        """Puts the download of a known model in line. Raises UserError: models.unknown, prepare.no_downloads, and as
        `Line.start`."""
        model = known_model(name)
        if not self.tools.downloads:
            raise UserError("prepare.no_downloads", model.label)

        def work(events: EventSink, commands: Commands) -> None:
            self.store.fetch(name, events, commands)

        return self.line.put(model.label, self._download_folder(name), visitor, work)

    def stop_model(self, visitor: Visitor, name: str) -> None:
        """Raises UserError: models.unknown, access.not_owner."""
        self.line.end(self.line.in_folder(self._download_folder(known_model(name).name)), visitor)

    def download(self, name: str, visitor: Visitor) -> dict[str, Any] | None:
        """How far the download of a model is, or how it ended; None where nobody wanted it."""
        folder = self._download_folder(name)
        living = self.line.living(self.line.in_folder(folder), visitor)
        return living or self.line.ended(folder, visitor.language)

    def _download_folder(self, name: str) -> Path:
        return self.store.folder / ".downloads" / name

    def check_idle(self, project: Project) -> None:
        """Raises UserError("prepare.busy")."""
        if self.line.of(project) is not None:
            raise UserError("prepare.busy", project.title)

    def close(self, timeout: float | None = None) -> bool:
        return self.line.registry.close(timeout)

    def _size(self) -> int:
        """Px: the side that the loaded checkpoint was made for."""
        current = self.host.current() or next(iter(self.host.checkpoints()), None)
        if current is None:
            return _USUAL_SIZE
        try:
            return self.host.describe(current.name).native
        except UserError:  # said in full when it is trained on
            return _USUAL_SIZE


def _title(counts: dict[str, int], language: str) -> str:
    return message("prepare.undo_title", language, pictures=sum(counts.get(name, 0) for name in ("pictures", "added", "removed")), captions=counts.get("captions", 0))  # fmt: skip
