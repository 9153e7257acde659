"""What an action works with: the place, its captions, the pictures that are meant, and writing what comes of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.collection.history import Entry
from lib_lora_train.collection.locking import locked
from lib_lora_train.editor.desk import check_unchanged
from lib_lora_train.editor.trigger_note import TRIGGER
from lib_lora_train.errors import UserError
from lib_lora_train.progress import Progress
from lib_lora_train.project import open_project
from lib_lora_train.serve import DEMO, DEMO_NAME, models_folder
from lib_lora_train.signals import Log, Stage
from lib_lora_train.tags.edits import EditContext
from lib_lora_train.tags.filters import Filter, parse_filter, select
from lib_lora_train.tags.filters.grammar import Joined, Node, Term
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.place import Place
from lib_lora_train.tags.proposing import Proposal
from lib_lora_train.tags.sheet import Sheet
from lib_lora_train.tags.traits.rules import Rules, load_rules
from lib_lora_train.tags.translations import TRANSLATIONS_FOLDER, Translations
from lib_lora_train.tags.vocabulary import Vocabulary, find_vocabulary
from lib_lora_train.tags_commands.printing import marked

if TYPE_CHECKING:
    from lib_lora_train.host.base import TokenCounter

RULES_FILE = "binding.toml"  # of the user's, in the projects' folder
_PROJECT = "project.json"
_MANY = 200  # files, from which on writing them takes long enough to be told
_ABOVE = 3  # folders in which a project is looked for that a folder belongs to


class Bench:
    """Of one action. Nothing is read before it is asked for."""

    def __init__(self, folder: Path, options: argparse.Namespace, language: str) -> None:
        self.options = options
        self.language = language
        self.place = _place(folder.expanduser(), getattr(options, "trigger", None))
        self.history = self.place.history

    @cached_property
    def counter(self) -> TokenCounter | None:
        """Of the checkpoint that was named. Raises UserError when its vocabulary cannot be had."""
        if not self.options.checkpoint:
            return None
        from lib_lora_train.host.base import HostPaths
        from lib_lora_train.host.embedded import EmbeddedHost

        name = self.options.checkpoint
        path = DEMO if name == DEMO_NAME else Path(name).expanduser()
        if not path.exists():
            raise UserError("tags_cli.no_checkpoint", "--checkpoint", name=name)
        here = self.place.base
        counter = EmbeddedHost(
            HostPaths(projects=here, loras=here, models=here), named={path.name: path}
        ).token_counter()
        if counter is not None and counter.trouble is not None:
            raise counter.trouble
        return counter

    @cached_property
    def sheet(self) -> Sheet:
        """Raises UserError("tags_cli.no_pictures") where there is none."""
        self.head = self.history.head  # before reading: an edit that comes between is noticed when this one is written
        sheet = self.place.read(None, self.counter)
        if not sheet.total:
            raise UserError("tags_cli.no_pictures", str(self.place.base.name))
        return sheet

    @cached_property
    def meant(self) -> list[Item]:
        """The pictures that --where finds. Raises UserError: filter.*, tags_cli.no_tokens, tags_cli.none_meant."""
        wanted = self._filter()
        if self.counter is None and any(term.kind == "tokens" for term in _terms(wanted.root)):
            raise UserError("tags_cli.no_tokens", "--where")
        found = select(self.sheet, wanted, self.place.trigger, self.translations.search)
        if not found:
            raise UserError("tags_cli.none_meant", "--where")
        return [self.sheet.items[index] for index in found]

    @cached_property
    def translations(self) -> Translations:
        return Translations.load(self.language, self._models / TRANSLATIONS_FOLDER)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return find_vocabulary(self._models)

    @cached_property
    def rules(self) -> Rules:
        """Raises UserError as `load_rules`."""
        extra = getattr(self.options, "rules", None)
        if extra is None and self.place.project is not None:
            extra = self.place.project.root / RULES_FILE
        return load_rules(extra)

    @property
    def context(self) -> EditContext:
        counter = self.counter
        count: Callable[[str], int] | None = None if counter is None else lambda text: counter.count([text])[0]
        form = str(self.history.state().get("form", "tags"))
        return EditContext(self.sheet.counts, lambda tag: self.rules.rank(tag), count, self.place.trigger, form)

    def write(self, proposal: Proposal, title: Log, progress: Progress, note: Mapping[str, Any] | None = None) -> Entry:
        """One step of undo, and the files that follow it. Raises UserError: editor.changed when a file is no longer as
        it was read, history.changed when somebody edited meanwhile, file.write."""
        by_picture = {change.item.picture: change.after for change in proposal.changes}
        changes = {change.key: change for change in self.history.changes_for(by_picture)}
        check_unchanged([change.item for change in proposal.changes], changes.values())
        entry = self.history.append(list(changes.values()), title, note, expected_head=self.head)
        self.follow(progress)
        return entry

    @contextmanager
    def changing(self, progress: Progress) -> Iterator[None]:
        """Around what reads captions, decides and writes: no other change of a project's pictures comes between, and
        what a process that died has begun is finished first. Raises UserError("file.write")."""
        if self.place.project is None:
            self.history.finish(_teller(progress))
            yield
            return
        with locked(self.place.project, _teller(progress)):
            yield

    def follow(self, progress: Progress) -> None:
        """Within `changing`, brings the files to what the journal says. Raises UserError("file.write")."""
        tell = _teller(progress)
        if self.place.project is None:
            self.history.finish(tell)
        else:
            self.history.follow(tell)

    def settle(self, progress: Progress) -> None:
        """Before looking: finishes what a process that died has begun."""
        self.history.finish(_teller(progress))

    @property
    def _models(self) -> Path:
        return (self.options.models or models_folder()).expanduser()

    def _filter(self) -> Filter:
        """Raises UserError "filter.*", after showing on standard error where the mistake is."""
        try:
            return parse_filter(self.options.where)
        except UserError as error:
            position, length = error.values.get("position"), error.values.get("length")
            if isinstance(position, int) and isinstance(length, int):
                print(marked(self.options.where, position, length), file=sys.stderr)
            raise UserError(error.code, "--where", **error.values) from error


def _teller(progress: Progress) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if total >= _MANY:
            progress(Stage("tags_cli.writing", done, total))

    return tell


def _place(folder: Path, trigger: str | None) -> Place:
    """Raises UserError: dataset.folder_missing, dataset.folder, project.*, tags_cli.inside_project."""
    path = folder.resolve()
    if (path / _PROJECT).is_file():
        place = Place.of_project(open_project(path.parent, path.name))
    else:
        for above in list(path.parents)[:_ABOVE]:
            if (above / _PROJECT).is_file():
                raise UserError("tags_cli.inside_project", folder.name, project=above.name)
        place = Place.of_folder(path)
        given = place.history.state().get(TRIGGER)
        place = place if given is None else replace(place, trigger=str(given))
    return place if trigger is None else replace(place, trigger=trigger)


def _terms(node: Node | None) -> list[Term]:
    if node is None or isinstance(node, Term):
        return [] if node is None else [node]
    parts = node.parts if isinstance(node, Joined) else (node.inner,)
    return [term for part in parts for term in _terms(part)]
