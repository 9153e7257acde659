"""Several values of settings, every combination of them a run: they stand in one grid afterwards."""

from __future__ import annotations

import copy
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.dataset.buckets import Size
from lib_lora_train.errors import UserError
from lib_lora_train.files import discard, write_json
from lib_lora_train.jobs import MAX_WAITING, Registry
from lib_lora_train.project import Project, list_runs
from lib_lora_train.runs.checks import check_trainable
from lib_lora_train.runs.estimate import showings
from lib_lora_train.runs.launch import Started, start_one_of_many
from lib_lora_train.runs.managed import LOCAL_ONLY, MANAGED
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import Setting
from lib_lora_train.settings.kohya import nearest
from lib_lora_train.settings.reading import flat_names, validate
from lib_lora_train.settings.values import parse_text

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

SWEEP = "sweep.json"  # in the folder of a run
MOST_RUNS = 32
_LONGEST_LABEL = 200
# What would make the runs' files something else than runs of this project with one checkpoint's pictures.
_NOT_SWEPT = MANAGED | LOCAL_ONLY | {"run.sample_prompts", "run.grid_after_training"}


@dataclass(frozen=True)
class SweepRun:
    """One combination. `label` says what is different in it: "unet_lr 1e-4, network_dim 8"."""

    label: str
    settings: TrainSettings


@dataclass(frozen=True)
class Swept:
    """What the folder of a run says of the sweep that it belongs to."""

    sweep: str
    label: str
    run_id: str


def plan_sweep(settings: TrainSettings, values: Mapping[str, Sequence[object]]) -> list[SweepRun]:
    """A run for every combination, in the order of the values, the last setting changing fastest; `settings` stay.

    Keys are `group.name`, a setting's name or kohya's name for it; values are of the setting's type or texts, as on a
    command line. What is named twice counts once. Raises UserError: sweep.nothing, sweep.too_many, sweep.setting,
    settings.unknown, and as `parse_text` and `validate`, with the setting's name.
    """
    axes = [_axis(name, given) for name, given in values.items()]
    twice = {item.name for item, _ in axes}
    if not axes or len(twice) != len(axes):
        raise UserError("sweep.nothing", "values")
    count = 1
    for _, chosen in axes:
        count *= len(chosen)
    if count > MOST_RUNS:
        raise UserError("sweep.too_many", "values", count=count, most=MOST_RUNS)
    runs = []
    for combination in itertools.product(*(chosen for _, chosen in axes)):
        changed = copy.deepcopy(settings)
        for (item, _), value in zip(axes, combination, strict=True):
            setattr(getattr(changed, item.group), item.name, copy.copy(value))
        validate(changed)
        named = zip((item.name for item, _ in axes), combination, strict=True)
        label = ", ".join(f"{name} {_shown(value)}" for name, value in named)
        runs.append(SweepRun(label[:_LONGEST_LABEL], changed))
    return runs


def look_at_runs(host: Host, project: Project, runs: Sequence[SweepRun]) -> list[tuple[int, UserError | None]]:
    """How many steps each would take, and what it would be refused for; then 0 steps.

    The pictures are counted once for all runs that show them in the same way.
    """
    counted: dict[str, Counter[Size]] = {}
    found: list[tuple[int, UserError | None]] = []
    for run in runs:
        key = repr((run.settings.dataset, run.settings.run))
        try:
            if key not in counted:
                counted[key] = showings(project, run.settings)
            found.append((check_trainable(host, project, run.settings, counted[key]), None))
        except UserError as error:
            found.append((0, error))
    return found


def start_sweep(
    host: Host, registry: Registry, project: Project, runs: Sequence[SweepRun], owner: str = ""
) -> list[Started]:
    """Puts all of them in line, or none: each is looked at before the first is started.

    The project's draft stays as it is. Raises UserError as `launch.start_run`.
    """
    room = MAX_WAITING + MOST_RUNS
    for run in runs:
        check_trainable(host, project, run.settings)
    waiting = len(registry.waiting())
    if waiting + len(runs) > room:
        raise UserError("job.queue_full", project.title, waiting=waiting)
    sweep = secrets.token_hex(6)
    started: list[Started] = []
    try:
        for run in runs:
            mark = partial(_mark, sweep=sweep, label=run.label)
            started.append(start_one_of_many(host, registry, project, run.settings, owner, room, mark))
    except BaseException:
        for each in reversed(started):
            never_ran = each.job in registry.waiting()
            registry.stop(each.job)
            if never_ran:
                discard(project.path("runs", each.run_id))
        raise
    return started


def read_sweep(run_folder: Path) -> Swept | None:
    """None for a run that belongs to no sweep, or whose mark cannot be read."""
    try:
        content = json.loads((run_folder / SWEEP).read_text(encoding="utf-8"))
        return Swept(str(content["sweep"]), str(content["label"])[:_LONGEST_LABEL], run_folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def runs_of_sweep(project: Project, run_id: str) -> list[Swept]:
    """Those that belong together with this run, in the order in which they were started; none where it stands alone."""
    found = [read_sweep(project.path("runs", name)) for name in list_runs(project)]
    own = next((each.sweep for each in found if each is not None and each.run_id == run_id), None)
    return [each for each in found if each is not None and each.sweep == own]


def _mark(folder: Path, sweep: str, label: str) -> None:
    write_json(folder / SWEEP, {"version": 1, "sweep": sweep, "label": label})


def _axis(name: str, given: Sequence[object]) -> tuple[Setting, list[object]]:
    known = flat_names()
    by_place = {f"{item.group}.{item.name}": item for item in known.values()}
    item = by_place.get(name) or known.get(name)
    if item is None:
        raise UserError("settings.unknown", name[:120], nearest=nearest(name[:120].rpartition(".")[2], list(known)))
    if f"{item.group}.{item.name}" in _NOT_SWEPT:
        raise UserError("sweep.setting", item.name)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UserError("sweep.nothing", item.name)
    if len(given) > MOST_RUNS:
        raise UserError("sweep.too_many", item.name, count=len(given), most=MOST_RUNS)
    chosen: list[object] = []
    for value in given:
        parsed = parse_text(item, value.split() if item.is_list and isinstance(value, str) else value, item.name)
        if parsed not in chosen:
            chosen.append(parsed)
    if not chosen:
        raise UserError("sweep.nothing", item.name)
    return item, chosen


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value) if value not in ("", None) else "-"
