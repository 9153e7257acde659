"""The commands `grid` and `publish`: which file at which weight, and the chosen one put where the WebUI finds it.

Exit codes: 0 done, 2 wrong use, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_json, write_text
from lib_lora_train.messages import message
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.serve import DEMO, DEMO_NAME, ROOT, models_folder
from lib_lora_train.settings.document import allowed_values, shown_default
from lib_lora_train.settings.fields import describe_group
from lib_lora_train.settings.values import parse_text
from lib_lora_train.signals import Event, Stage
from lib_lora_train.terminal import DONE, STOPPED, terminal_language, watched
from lib_lora_train.words import word

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host
    from lib_lora_train.host.embedded import EmbeddedHost
    from lib_lora_train.preview.cells import CellStore
    from lib_lora_train.preview.grids import Grid
    from lib_lora_train.preview.recommending import Recommendation
    from lib_lora_train.preview.scores import Scores, ScoreTools
    from lib_lora_train.preview.tables import GridSettings
    from lib_lora_train.runs.editions import Shown
    from lib_lora_train.runs.sources import Sources
    from lib_lora_train.signals import Commands, EventSink

Add = Callable[..., argparse.ArgumentParser]
_TAG = re.compile(r"<lora:[^:<>]+:(-?[0-9]*\.?[0-9]+)>")
_NEGATIVE = "Negative prompt: "


def add_grid_commands(add: Add, language: str) -> None:
    """Adds them to the parser that `add` adds to."""
    grid = add("grid", grid_command)
    grid.add_argument("files", nargs="+", metavar="RUN|FILE", help=message("grid.files", language))
    grid.add_argument("--out", type=Path, required=True, metavar="DIR", help=message("grid.out", language))
    grid.add_argument("--base", action="append", default=[], metavar="CHECKPOINT", help=message("grid.base", language))
    for item in _settings():
        default = message("grid.native", language) if item.name in ("width", "height") else shown_default(item)
        about = f"{word(item.label, language)}. {word(item.help, language)}"
        text = f"{about} ({allowed_values(item)}; {default})"
        _add_setting(grid, item, text, language)
    grid.add_argument("--train_data_dir", type=Path, metavar="DIR", help=message("grid.train_data_dir", language))
    grid.add_argument("--trigger", metavar="WORD", help=message("grid.trigger", language))
    grid.add_argument("--kind", choices=SUBJECT_KINDS, help=message("cli.kind", language))
    grid.add_argument("--tagger", metavar="NAME|FOLDER", help=message("grid.tagger", language))
    grid.add_argument("--models", type=Path, metavar="DIR", help=message("cli.models", language))
    _data(grid, language)

    publish = add("publish", publish_command)
    publish.add_argument("file", type=Path, metavar="FILE")
    publish.add_argument("--name", required=True, metavar="NAME", help=message("grid.name", language))
    publish.add_argument("--weight", type=float, metavar="N", help=message("grid.weight", language))
    publish.add_argument("--cell", type=Path, metavar="CELL.png", help=message("grid.cell", language))
    publish.add_argument("--lora_dir", type=Path, metavar="DIR", help=message("grid.lora_dir", language))
    publish.add_argument("--trigger", metavar="WORD", help=message("grid.trigger", language))
    publish.add_argument("--negative_prompt", metavar="TEXT", help=message("grid.negative", language))
    publish.add_argument("--notes", default="", metavar="TEXT", help=message("grid.notes", language))
    publish.add_argument("--scrub", action="store_true", help=message("grid.scrub", language))
    publish.add_argument("--base", default="", metavar="CHECKPOINT", help=message("grid.publish_base", language))
    _data(publish, language)


def grid_command(options: argparse.Namespace) -> int:
    """Draws what is missing, scores what is new, recommends; what is there already stays."""
    from lib_lora_train.preview.cells import CellStore
    from lib_lora_train.preview.making import make_grid

    language = terminal_language()
    host, found = _sources(options)
    settings = _grid_settings(options, host, found.bases[0])
    found.take(settings.checkpoints)
    with watched("grid.stopping") as (progress, commands), _tools(options, found, progress) as tools:
        training = found.training(progress, commands)
        grid = found.grid(host, settings, training, tools)
        grid.check()
        store = CellStore(options.out / "cells")
        new = len({cell.key for cell in grid.cells()} - store.present())
        progress.line(message("grid.size", language, size=grid.size, new=new))
        with host.session(commands, _without_batches(progress)) as session:
            at_once = host.pictures_at_once(settings.width, settings.height)
            made = make_grid(session, grid, store, progress, commands, at_once)
        scores = _scored(options.out, grid, store, training, tools, found.losses(grid), progress, commands)
    recommendation = _write(options.out, grid, store, scores, language)
    print(message("grid.made", language, folder=options.out, drawn=made.drawn, kept=made.kept))
    _print_recommendation(grid, recommendation, language)
    return STOPPED if commands.stopping else DONE


def publish_command(options: argparse.Namespace) -> int:
    """One file under a plain name with card and thumbnail, loaded again before it is called done."""
    from lib_lora_train.network.rewriting import family_of, read_metadata
    from lib_lora_train.runs.editions import Edition, publish_edition
    from lib_lora_train.runs.sources import base_of_file

    language = terminal_language()
    folder = (options.lora_dir or options.data / "loras").expanduser().resolve()
    metadata = read_metadata(options.file)
    shown = _cell(options.cell) if options.cell else None
    infotext = shown.infotext if shown else ""
    host = _host(options, folder)
    base = options.base or base_of_file(host, metadata)
    family = host.describe(base).family if base else family_of(metadata)
    trigger = options.trigger if options.trigger is not None else metadata.get("modelspec.trigger_phrase", "")
    edition = Edition(
        source=options.file,
        name=options.name,
        weight=options.weight if options.weight is not None else _weight_of(infotext),
        trigger=trigger,
        negative=options.negative_prompt if options.negative_prompt is not None else _negative_of(infotext),
        notes=options.notes,
        description=metadata.get("modelspec.title", options.file.stem),
        family=family,
        checkpoint=metadata.get("ss_sd_model_name", Path(base).name),
        scrub=options.scrub,
        shown=shown,
    )
    names, check = publish_edition(host, folder, edition, base)
    if check is not None:
        print(message("grid.checked", language, matched=check.matched, total=check.total, base=base))
    for name in names:
        print(folder / name)
    return DONE


# ---------------------------------------------------------------------- what a grid is made of


def _settings() -> tuple[Any, ...]:
    from lib_lora_train.preview.tables import GridSettings

    return describe_group("grid", GridSettings)


def _add_setting(parser: argparse.ArgumentParser, item: Any, text: str, language: str) -> None:
    text = message("grid.prompts", language) if item.name == "prompts" else text
    common: dict[str, Any] = {"dest": item.name, "default": None, "help": text.replace("%", "%%")}
    if item.type is bool:
        parser.add_argument(f"--{item.name}", action=argparse.BooleanOptionalAction, **common)
    else:
        parser.add_argument(f"--{item.name}", metavar="FILE" if item.name == "prompts" else "VALUE", **common)


def _data(parser: argparse.ArgumentParser, language: str) -> None:
    parser.add_argument("--data", type=Path, default=ROOT / "data", metavar="DIR", help=message("serve.data_help", language))  # fmt: skip


def _grid_settings(options: argparse.Namespace, host: Host, base: str) -> GridSettings:
    """From the flags; sizes that are not given are those that the checkpoint was made for."""
    from lib_lora_train.preview.tables import GridSettings

    settings = GridSettings()
    settings.width = settings.height = host.describe(base).native
    for item in _settings():
        given = getattr(options, item.name)
        if given is not None:
            text = _lines(given) if item.name == "prompts" else given
            setattr(settings, item.name, parse_text(item, text, f"--{item.name}"))
    for side in ("width", "height"):
        if getattr(settings, side) % 8:
            raise UserError("grid.side", f"--{side}", value=getattr(settings, side))
    return settings


def _lines(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "UTF-8"
        raise UserError("preview.no_file", Path(name).name, reason=reason) from error


def _host(options: argparse.Namespace, loras: Path) -> EmbeddedHost:
    from lib_lora_train.host.base import HostPaths
    from lib_lora_train.host.embedded import EmbeddedHost

    data = options.data.expanduser().resolve()
    paths = HostPaths(projects=data / "projects", loras=loras, models=models_folder())
    return EmbeddedHost(paths, folders=[data / "checkpoints"], named={DEMO_NAME: DEMO} if DEMO.is_dir() else {})


def _sources(options: argparse.Namespace) -> tuple[EmbeddedHost, Sources]:
    from lib_lora_train.runs.sources import find_sources

    data = options.data.expanduser().resolve()
    host = _host(options, data / "loras")
    return host, find_sources(host, options.files, options.base, options.train_data_dir, options.trigger, options.kind)


def _tools(options: argparse.Namespace, found: Sources, events: EventSink) -> Any:
    from lib_lora_train.runs.sources import score_tools

    folder = (options.models or models_folder()).expanduser()
    return score_tools(folder, options.tagger, found.kind, events)


# ---------------------------------------------------------------------- what comes of it


def _scored(
    out: Path,
    grid: Grid,
    store: CellStore,
    training: Any,
    tools: ScoreTools,
    losses: Mapping[int, float],
    events: EventSink,
    commands: Commands,
) -> Scores:
    from lib_lora_train.preview.scores import Scores, score_cells

    kept = out / "scores.json"
    try:
        known = Scores.from_dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # before the first time, or damaged: all is looked at again
        known = Scores()
    scores = score_cells(grid, store, training, tools, known=known, losses=losses, events=events, commands=commands)
    write_json(kept, scores.as_dict())
    return scores


def _without_batches(events: EventSink) -> EventSink:
    """The grid tells how far it is; that of every batch would stand between."""

    def tell(event: Event) -> None:
        if not isinstance(event, Stage) or event.code != "host.stage_drawing":
            events(event)

    return tell


def _write(out: Path, grid: Grid, store: CellStore, scores: Scores, language: str) -> Recommendation | None:
    from lib_lora_train.preview.recommending import curve, recommend
    from lib_lora_train.preview.sheet import draw_sheet
    from lib_lora_train.preview.table import scores_csv

    found = recommend(grid, scores)
    marked = {found.cell} if found is not None else set()
    with atomic_path(out / "grid.png") as temporary:
        draw_sheet(grid, store, marked).save(temporary, format="PNG")
    write_text(out / "scores.csv", scores_csv(grid, scores))
    said = None if found is None else found.as_dict(grid, language) | {"file": grid.columns[found.column].path.name}
    picture = None if found is None else f"cells/{store.path(found.cell).name}"
    over_epochs = curve(grid, scores).as_dict(grid, language)
    write_json(out / "recommendation.json", {"recommendation": said, "picture": picture, "curve": over_epochs})
    return found


def _print_recommendation(grid: Grid, found: Recommendation | None, language: str) -> None:
    from lib_lora_train.preview.recommending import say

    if found is None:
        print(message("grid.no_recommendation", language))
        return
    file = grid.columns[found.column].path.name
    reason = say(found.reason, grid, language)
    print(message("grid.recommended", language, file=file, weight=f"{found.weight:g}", reason=reason))


def _cell(path: Path) -> Shown:
    """Raises UserError("preview.no_file")."""
    from PIL import Image

    from lib_lora_train.preview.cells import INFOTEXT
    from lib_lora_train.runs.editions import Shown

    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return Shown(image.convert("RGB"), str(image.info.get(INFOTEXT, "")))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError("preview.no_file", path.name, reason=getattr(error, "strerror", None) or "PNG") from error


def _weight_of(infotext: str) -> float:
    """At which a cell was drawn; 1 where it does not say."""
    found = _TAG.findall(infotext)
    return float(found[-1]) if found else 1.0


def _negative_of(infotext: str) -> str:
    """A negative prompt may have several lines; the last line of the text holds the parameters."""
    start = infotext.find(f"\n{_NEGATIVE}")
    return infotext[start + 1 + len(_NEGATIVE) :].rpartition("\n")[0] if start >= 0 else ""
