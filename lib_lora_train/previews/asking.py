"""From what somebody asks for to a grid: its settings checked, its files found, its prompts chosen."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Visitor
from lib_lora_train.collection.bound import bound_tags
from lib_lora_train.errors import UserError
from lib_lora_train.host.samplers import sampler_names
from lib_lora_train.network.rewriting import read_metadata
from lib_lora_train.preview.files import base_of, columns_of, in_order, spread
from lib_lora_train.preview.grids import Column, Drawing, Grid
from lib_lora_train.preview.prompts import prompts_for
from lib_lora_train.preview.scores import TrainingSet
from lib_lora_train.preview.tables import GridSettings, seeds_of, weights_of
from lib_lora_train.previews.judging import Judges
from lib_lora_train.previews.store import Asked, Source
from lib_lora_train.project import Project, list_runs, run_folder
from lib_lora_train.runs.naming import find_lora
from lib_lora_train.runs.pick_files import run_checkpoints
from lib_lora_train.runs.records import read_record
from lib_lora_train.runs.sources import Sources
from lib_lora_train.runs.sweeps import read_sweep
from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.settings.kohya import nearest
from lib_lora_train.settings.values import check_value
from lib_lora_train.signals import Commands, EventSink, Log, ignore_events
from lib_lora_train.vision.tags_file import tag_words

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

MOST_NAMED = 64  # runs, or checkpoints
_KNOWN_FILES = 1_000


@dataclass(frozen=True)
class Question:
    """What a grid is asked for by, as it comes from outside."""

    runs: Sequence[str] = ()
    files: Sequence[str] = ()
    bases: Sequence[str] = ()
    settings: object = None


@dataclass(frozen=True)
class Wanted:
    """A grid that could be made; `notes` are worth saying before."""

    title: str
    asked: Asked
    grid: Grid
    sources: tuple[Source, ...]
    notes: tuple[Log, ...] = ()


def grid_settings() -> tuple[Setting, ...]:
    return describe_group("grid", GridSettings)


class Asking:
    """`loras` tells the names of the LoRA files that a visitor may use. All methods may be called from any thread."""

    def __init__(self, host: Host, judges: Judges, loras: Callable[[Visitor], Collection[str]]) -> None:
        self.host = host
        self.judges = judges
        self.loras = loras
        self._guard = threading.Lock()
        self._columns: OrderedDict[tuple[str, int, int], Column] = OrderedDict()

    def wanted(
        self,
        visitor: Visitor,
        project: Project,
        runs: Sequence[str],
        files: Sequence[str],
        bases: Sequence[str],
        settings: object,
        training: TrainingSet | None = None,
    ) -> Wanted:
        """`training` is looked for where it is not known. Without `runs` and `files` it is the newest run that has saved a file; without `bases` the checkpoint that was
        trained on.

        Raises UserError: previews.named, preview.nothing, preview.too_many, grid.nothing, grid.side, run.no_lora,
        host.checkpoint_missing, host.sampler, project.no_run, settings.*, and as `weights_of`, `seeds_of`,
        `prompts_for` and `files.check_lora`.
        """
        for where, named in (("runs", runs), ("files", files), ("bases", bases)):
            if len(named) > MOST_NAMED:
                raise UserError("previews.named", where, most=MOST_NAMED)
        runs = list(dict.fromkeys(runs)) or ([] if files else self._newest(project))
        of_runs = [self._of_run(project, run_id) for run_id in runs]
        of_folder = [self._of_folder(visitor, name) for name in dict.fromkeys(files)]
        if not (of_runs or of_folder):
            raise UserError("preview.nothing", "files")
        checkpoints = self._bases(project, runs, [path for _, path, _ in of_folder], bases)
        chosen = self.settings(settings, checkpoints[0])
        found = [each for run in of_runs for each in spread(run, chosen.checkpoints)] + of_folder
        columns: dict[str, tuple[Source, Column]] = {}
        for source, path, label in found:
            column = self._column(path, label)
            columns.setdefault(column.identity, (source, column))
        training = training or self.training(project, runs)
        kind = read_record(run_folder(project, runs[0])).kind if runs else project.kind
        captions = [", ".join(caption) for caption in training.captions]
        grid = Grid(
            bases=tuple(base_of(self.host, name) for name in checkpoints),
            columns=tuple(column for _, column in columns.values()),
            weights=weights_of(chosen.weights),
            prompts=tuple(prompts_for(kind, training.trigger, captions, chosen, self.judges.known_tags())),
            seeds=seeds_of(chosen.seeds),
            drawing=_drawing(chosen),
            host=self.host.name,
        )
        grid.check()
        asked = Asked(tuple(runs), tuple(dict.fromkeys(files)), tuple(checkpoints), dict(vars(chosen)))
        title = ", ".join([*runs, *dict.fromkeys(files)])[:120]
        sources = tuple(source for source, _ in columns.values())
        return Wanted(title, asked, grid, sources, tuple(self._notes(grid, training)))

    def settings(self, values: object, base: str) -> GridSettings:
        """Values on top of the defaults; sizes that are not given are those that the checkpoint was made for.

        Raises UserError: settings.not_a_table, settings.unknown, grid.side, host.sampler, and as `check_value`.
        """
        if values is not None and not isinstance(values, Mapping):
            raise UserError("settings.not_a_table", "settings")
        settings = GridSettings()
        settings.width = settings.height = self.host.describe(base).native
        known = {item.name: item for item in grid_settings()}
        given: Mapping[str, Any] = values or {}
        for name, value in given.items():
            if name not in known:
                raise UserError("settings.unknown", str(name)[:60], nearest=nearest(str(name)[:60], list(known)))
            setattr(settings, name, check_value(known[name], value, name))
        for side in ("width", "height"):
            if getattr(settings, side) % 8:
                raise UserError("grid.side", side, value=getattr(settings, side))
        samplers, asked = sampler_names(self.host), settings.sampler.lower()
        # The WebUI takes a schedule behind the name as well ("DPM++ 2M Karras"); it is the host's to refuse that.
        if not any(asked == name.lower() or asked.startswith(f"{name.lower()} ") for name in samplers):
            raise UserError("host.sampler", "sampler", value=settings.sampler[:60], known=", ".join(samplers))
        return settings

    def training(
        self,
        project: Project,
        runs: Sequence[str],
        events: EventSink = ignore_events,
        commands: Commands | None = None,
    ) -> TrainingSet:
        """The project's own pictures; none where there are none that can be trained on. Bound are the tags that were
        bound in the tag editor and that no caption says now. Raises Stopped."""
        trigger = read_record(run_folder(project, runs[0])).trigger_word if runs else project.trigger_word
        sources = Sources(data=project.path("dataset"), trigger=trigger, kind=project.kind)
        try:
            found = sources.training(events, commands)
        except UserError:
            return TrainingSet(trigger=trigger)
        said = {tag_words(tag).lower() for caption in found.captions for tag in caption}
        bound = (tag_words(tag) for tag in bound_tags(project))
        return replace(found, trigger=trigger, bound=tuple(tag for tag in bound if tag.lower() not in said))

    # ------------------------------------------------------------------ files

    def _newest(self, project: Project) -> list[str]:
        for run_id in reversed(list_runs(project)):
            try:
                if run_checkpoints(self.host, project, run_id):
                    return [run_id]
            except UserError:  # a run whose record is damaged has no files that are known
                continue
        return []

    def _of_run(self, project: Project, run_id: str) -> list[tuple[Source, Path, str]]:
        paths = run_checkpoints(self.host, project, run_id)
        if not paths:
            raise UserError("grid.nothing", run_id)
        swept = read_sweep(run_folder(project, run_id))
        found = []
        for path in in_order(paths):
            label = f"{path.stem} ({swept.label})" if swept is not None else path.stem
            found.append((Source(run_id, path.name), path, label))
        return found

    def _of_folder(self, visitor: Visitor, name: str) -> tuple[Source, Path, str]:
        """Raises UserError("run.no_lora"), also for a file of somebody else's project."""
        stem = name.removesuffix(".safetensors")
        if stem not in self.loras(visitor):
            raise UserError("run.no_lora", "files", name=name[:120])
        path = find_lora(self.host, stem)
        return Source("", path.relative_to(self.host.paths.loras).as_posix()), path, path.stem

    def _column(self, path: Path, label: str) -> Column:
        """Files are large, and are read whole only once."""
        try:
            state = path.stat()
        except OSError as error:
            raise UserError("preview.no_file", path.name, reason=error.strerror or "?") from error
        key = (str(path), state.st_size, state.st_mtime_ns)
        with self._guard:
            known = self._columns.get(key)
        if known is None:
            known = columns_of([path], [label])[0]
            with self._guard:
                self._columns[key] = known
                while len(self._columns) > _KNOWN_FILES:
                    self._columns.popitem(last=False)
        return replace(known, label=label)

    def _bases(self, project: Project, runs: Sequence[str], paths: Sequence[Path], bases: Sequence[str]) -> list[str]:
        infos = self.host.checkpoints()
        names = [info.name for info in infos]
        for name in bases:
            if name not in names:
                raise UserError("host.checkpoint_missing", name[:120])
        if bases:
            return list(dict.fromkeys(bases))
        wanted = [read_record(run_folder(project, run_id)).checkpoint for run_id in runs]
        wanted += [read_metadata(path).get("ss_sd_model_name", "") for path in paths[:1] if not runs]
        for name in wanted:
            for info in infos:
                if name and name in (info.name, info.path.name, info.path.stem):
                    return [info.name]
        current = self.host.current()
        here = [info.name for info in infos if current is not None and info.path == current.path]
        if not (here or names):
            raise UserError("host.checkpoint_missing", (wanted or [""])[0][:120])
        return [(here or names)[0]]

    def _notes(self, grid: Grid, training: TrainingSet) -> list[Log]:
        notes = []
        if not training.pictures:
            notes.append(Log("previews.no_pictures"))
        if not self.judges.tagger_name() and not self.judges.has_embedder():
            notes.append(Log("previews.no_tools"))
        if len(grid.seeds) < 2:
            notes.append(Log("previews.one_seed"))
        return notes


def _drawing(settings: GridSettings) -> Drawing:
    return Drawing(
        negative_prompt=settings.negative_prompt,
        sampler=settings.sampler,
        steps=settings.steps,
        cfg_scale=settings.cfg_scale,
        width=settings.width,
        height=settings.height,
        clip_skip=settings.clip_skip,
    )
