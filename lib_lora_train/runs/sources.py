"""What a grid is made of when files and runs are named on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.network.rewriting import read_metadata
from lib_lora_train.preview.files import base_of, columns_of, in_order, spread
from lib_lora_train.preview.grids import Drawing, Grid
from lib_lora_train.preview.prompts import prompts_for
from lib_lora_train.preview.scores import ScoreTools, TrainingSet
from lib_lora_train.preview.tables import GridSettings, seeds_of, weights_of
from lib_lora_train.project import Project, open_project
from lib_lora_train.runs.pick_files import run_checkpoints
from lib_lora_train.runs.records import RECORD, read_record
from lib_lora_train.runs.validation import comparable, of_files, read_validation
from lib_lora_train.signals import Commands, EventSink, Log, ignore_events
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_RUN = re.compile(r"([a-z0-9]+-[0-9a-f]{6})/(r[0-9]{2,6})")
_SIDE = 64  # px, of buckets: pictures that are only looked at fit any


@dataclass
class Sources:
    """Files in the order in which they are shown, checkpoints to draw with, and what they were trained on."""

    files: list[Path] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)
    data: Path | None = None
    trigger: str = ""
    kind: str = "character"
    runs: list[list[Path]] = field(default_factory=list)  # of `files`, those of each run
    folders: list[Path] = field(default_factory=list)  # of the runs

    def take(self, most: int) -> None:
        """Leaves of each run at most so many files, evenly spread, the last among them; all for 0."""
        left_out = {path for run in self.runs for path in set(run) - set(spread(run, most))}
        self.files = [path for path in self.files if path not in left_out]

    def training(self, events: EventSink = ignore_events, commands: Commands | None = None) -> TrainingSet:
        """The subject's own pictures with their captions. Raises UserError as `folders.scan`, and Stopped."""
        if self.data is None:
            return TrainingSet(trigger=self.trigger)
        from lib_lora_train.dataset.folders import scan
        from lib_lora_train.settings.tables import DatasetSettings

        settings = DatasetSettings(train_data_dir=str(self.data), min_bucket_reso=_SIDE, bucket_no_upscale=True)
        own = [each for each in scan(settings, ignore_events, commands).pictures if not each.is_regularization]
        captions = tuple(tuple(part.strip() for part in each.caption.split(",") if part.strip()) for each in own)
        return TrainingSet(tuple(each.path for each in own), captions, trigger=self.trigger)

    def losses(self, grid: Grid) -> dict[int, float]:
        """On pictures that the runs had held back, by column; only what can be compared."""
        paths = [column.path for column in grid.columns]
        said = {each.file: each for folder in self.folders for each in read_validation(folder)}
        found = [beside or said.get(path.name) for path, beside in zip(paths, of_files(paths), strict=True)]
        return comparable(dict(enumerate(found)))

    def grid(self, host: Host, settings: GridSettings, training: TrainingSet, tools: ScoreTools) -> Grid:
        """Raises UserError as `columns_of`, `base_of`, `prompts_for`, `weights_of` and `seeds_of`."""
        known = frozenset(tools.tagger.tags) if tools.tagger is not None else frozenset()
        captions = [", ".join(caption) for caption in training.captions]
        return Grid(
            bases=tuple(base_of(host, name) for name in self.bases),
            columns=columns_of(self.files),
            weights=weights_of(settings.weights),
            prompts=tuple(prompts_for(self.kind, self.trigger, captions, settings, known)),
            seeds=seeds_of(settings.seeds),
            drawing=Drawing(
                settings.negative_prompt,
                settings.sampler,
                settings.steps,
                settings.cfg_scale,
                settings.width,
                settings.height,
                settings.clip_skip,
            ),
            host=host.name,
        )


def find_sources(
    host: Host,
    named: Sequence[str],
    bases: Sequence[str] = (),
    data: Path | None = None,
    trigger: str | None = None,
    kind: str | None = None,
) -> Sources:
    """Each of `named` is a LoRA file, a folder of them, the folder of a project's run, or `<project>/<run>`.

    What is not given comes from the first run, else from the first file. Raises UserError: grid.nothing, grid.no_base,
    network.file_missing, and as `read_record` and `files.check_lora`.
    """
    found = Sources(data=data)
    said: dict[str, str] = {}
    for name in named:
        run = _run(host, name)
        if run is None:
            found.files += _files(Path(name).expanduser())
            continue
        project, run_id = run
        record = read_record(project.path("runs", run_id))
        files = run_checkpoints(host, project, run_id)
        if not files:
            raise UserError("grid.nothing", name)
        found.runs.append(in_order(files))
        found.files += found.runs[-1]
        found.folders.append(project.path("runs", run_id))
        said = said or {"trigger": record.trigger_word, "kind": record.kind, "base": record.checkpoint}
        found.data = found.data or project.path("dataset")
    metadata = read_metadata(found.files[0])
    found.trigger = (
        trigger if trigger is not None else said.get("trigger", metadata.get("modelspec.trigger_phrase", ""))
    )
    found.kind = kind or said.get("kind", "character")
    base = said.get("base", "") or base_of_file(host, metadata)
    if not bases and not base:
        raise UserError("grid.no_base", "--base", name=metadata.get("ss_sd_model_name", "?")[:120])
    found.bases = list(bases) or [base]
    for base in found.bases:
        host.describe(base)
    return found


@contextmanager
def score_tools(folder: Path, tagger: str | None, kind: str, events: EventSink = ignore_events) -> Iterator[ScoreTools]:
    """The tagger that is named, else the first that is on the computer, and the best embedder there is; nothing is
    downloaded. `folder` is that of the models. Raises UserError as `ModelStore`, `Tagger` and `find_embedder`."""
    from lib_lora_train.vision.embeddings import find_embedder
    from lib_lora_train.vision.store import ModelStore
    from lib_lora_train.vision.tagger import Tagger

    named = Path(tagger).expanduser() if tagger else None
    store = ModelStore(folder, offline=True, taggers=[named.resolve()] if named is not None and named.is_dir() else [])
    place = None
    if named is not None:
        place = store.resolve_tagger(named.name if named.is_dir() else str(tagger))
    else:
        places = (store.find(status.model.name) for status in store.known("tagger"))
        place = next((each for each in places if each is not None), None)
    with ExitStack() as stack:
        opened = stack.enter_context(Tagger(place)) if place is not None else None
        embedder = find_embedder(store, kind, kind in ("character", "style"))
        if embedder is not None:
            stack.enter_context(embedder)
        if opened is None and embedder is None:
            events(Log("grid.no_tools", {}, "warning"))
        yield ScoreTools(opened, embedder, place.name if place is not None else "")


def _run(host: Host, name: str) -> tuple[Project, str] | None:
    """A run by its folder or by `<project>/<run>`; None for what is no run."""
    folder = Path(name).expanduser()
    if (folder / RECORD).is_file():
        folder = folder.resolve()
        place = folder.parent.parent
        return open_project(place.parent, place.name), folder.name
    parts = _RUN.fullmatch(name)
    if parts is not None and (host.paths.projects / parts[1] / "runs" / parts[2]).is_dir():
        return open_project(host.paths.projects, parts[1]), parts[2]
    return None


def _files(path: Path) -> list[Path]:
    """Raises UserError: grid.nothing, and as `files.check_lora`."""
    if not path.is_dir():
        read_metadata(path)  # raises for what is no LoRA
        return [path]
    files = [each for each in path.glob(f"*{LORA_SUFFIX}") if not each.name.startswith(".")]
    if not files:
        raise UserError("grid.nothing", path.name)
    return in_order(files)


def base_of_file(host: Host, metadata: Mapping[str, str]) -> str:
    """The checkpoint that a LoRA's metadata names, by the host's name for it; empty where it is not there."""
    name = metadata.get("ss_sd_model_name", "")
    for info in host.checkpoints():
        if name and (name in (info.name, info.path.name) or Path(name).stem == info.path.stem):
            return info.name
    return ""
