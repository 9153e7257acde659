"""Using a cell of a grid: its file gets a plain name among the LoRAs, with card and thumbnail, checked before it is there.

The file is written beside its place, loaded by the host's own loader, and draws the cell once more. Only then it is
moved, with all that belongs to it or not at all; `unpick` undoes everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.network.rewriting import family_of, read_metadata
from lib_lora_train.project import Project, run_folder
from lib_lora_train.runs.editions import (
    Edition,
    Shown,
    card_of,
    check_edition,
    free_name,
    names_in_use,
    place_set,
    stage,
    write_set,
)
from lib_lora_train.runs.naming import fold, is_free_for, reserve_name
from lib_lora_train.runs.pick_files import KEEP, MOVE, other_files, own_set, source_file
from lib_lora_train.runs.pick_records import (
    ASIDE,
    CHECKPOINTS,
    DONE,
    OTHERS,
    PICKS,
    PUBLISHING,
    REPLACED,
    Pick,
    alone,
    list_picks,
    move_away,
    moves_of,
    new_id,
    now,
    read_pick,
    settle,
    take_back,
    write_pick,
)
from lib_lora_train.runs.records import RunRecord, read_record
from lib_lora_train.signals import Commands, EventSink, Log, Stage, ignore_events
from lib_lora_train.train.output import LORA_SUFFIX

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host, LoraCheck
    from lib_lora_train.preview.cells import CellStore
    from lib_lora_train.preview.grids import Cell, Grid

GREY_LEVELS = 2  # by which a picture may differ from one that was drawn in a larger batch


@dataclass(frozen=True)
class Choice:
    """What is picked and how it is published. Without `run_id` the file is any of the LoRA folder, by its name.

    None in `trigger` and `negative` takes the run's trigger word and the cell's negative prompt. `others` says what
    becomes of the run's other checkpoints. Without `compare` the picture is not drawn again.
    """

    run_id: str
    file: str
    name: str
    weight: float = 1.0
    trigger: str | None = None
    negative: str | None = None
    notes: str = ""
    scrub: bool = False
    others: str = KEEP
    compare: bool = True


@dataclass(frozen=True)
class Picked:
    """What was published. `matched` of `total` keys were taken by the host's loader; `difference` is the largest between
    cell and new picture in grey levels, None where none was drawn. `moved` files of the run are elsewhere now."""

    pick_id: str
    name: str
    file: str
    card: dict[str, object]
    matched: int
    total: int
    unmatched: tuple[str, ...] = ()
    difference: int | None = None
    moved: int = 0
    notes: tuple[Log, ...] = field(default=())

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """As the page and the REST routes show it; at most 20 unmatched keys."""
        notes = [message(note.code, language, **note.values) for note in self.notes]
        shown = {name: value for name, value in vars(self).items() if name not in ("pick_id", "notes", "unmatched")}
        return {**shown, "pick": self.pick_id, "unmatched": list(self.unmatched[:20]), "notes": notes}


def shown_cell(grid: Grid, store: CellStore, cell: Cell) -> Shown:
    """A cell of a grid as `pick` wants it. Raises UserError("preview.no_cell")."""
    return Shown(store.read(cell.key), store.infotext(cell.key), grid.request(cell))


def suggest_name(host: Host, project: Project, run_id: str, file: str) -> str:
    """A name that `pick` will take: that of the run's copy if it holds this very file, else one that nobody has.

    Raises UserError: project.no_run, run.damaged, run.no_file, run.no_lora.
    """
    source = source_file(host, project, run_id, file)
    wanted = read_record(run_folder(project, run_id)).base if run_id else source.stem
    if own_set(host, project, run_id, source, wanted):
        return wanted
    return free_name(wanted, names_in_use(host.paths.loras), partial(is_free_for, project))


def check_choice(host: Host, project: Project, choice: Choice, shown: Shown | None = None) -> Edition:
    """What would be published. Raises UserError as `pick`, for what can be told without the model."""
    source = source_file(host, project, choice.run_id, choice.file)
    record = read_record(run_folder(project, choice.run_id)) if choice.run_id else None
    edition = _edition(host, project, choice, record, source, shown)
    check_edition(edition)
    _set_in_the_way(host, project, choice, source)
    other_files(host, project, choice.run_id, choice.others, source, choice.name)
    return edition


def pick(
    host: Host,
    project: Project,
    choice: Choice,
    shown: Shown | None = None,
    commands: Commands | None = None,
    events: EventSink = ignore_events,
) -> Picked:
    """Publishes a file of a run, and tells the host. Nothing is changed where anything fails.

    Takes the host's lock to check the file, and again to draw, so it may not be called within a session. Raises
    Stopped; UserError: picking.name, picking.taken (values `free`: a name that is), picking.weight, picking.text,
    picking.others, picking.unfit, run.lives, run.no_file, run.no_lora, project.no_run, run.damaged, file.write, and as
    `files.check_lora` and `Session.generate`.
    """
    loras = host.paths.loras
    edition = check_choice(host, project, choice, shown)
    source = edition.source
    with stage(loras) as place:
        events(Stage("picking.stage_writing"))
        names = write_set(place, edition)
        events(Stage("picking.stage_checking"))
        check = host.check_lora(place / names[-1], _checkpoint(host, edition, shown), commands, events)
        if not check.matched:
            raise UserError("picking.unfit", source.name, total=check.total)
        notes = _notes(check)
        difference = _compare(host, choice, shown, place / names[-1], commands, events, notes)
        with alone(project):
            settle(project, loras)
            before = _set_in_the_way(host, project, choice, source)
            others = other_files(host, project, choice.run_id, choice.others, source, choice.name)
            made = Pick(
                id=new_id(),
                time=now(),
                state=PUBLISHING,
                name=choice.name,
                run=choice.run_id,
                file=source.name,
                weight=choice.weight,
                files=tuple(names),
                matched=check.matched,
                total=check.total,
                difference=difference,
            )
            _put_in_place(project, loras, place, made, before, _moves(loras, made, choice.others, others))
    host.refresh_loras()
    return Picked(
        pick_id=made.id,
        name=choice.name,
        file=f"{choice.name}{LORA_SUFFIX}",
        card=card_of(edition),
        matched=check.matched,
        total=check.total,
        unmatched=tuple(check.unmatched),
        difference=difference,
        moved=len(others) if choice.others != KEEP else 0,
        notes=tuple(notes),
    )


def unpick(host: Host, project: Project, pick_id: str = "") -> Pick:
    """Undoes a pick, the newest that is in force when none is named: what it published goes to the project's folder,
    and what it moved comes back.

    Raises UserError: picking.no_pick, picking.later, picking.in_way, file.write.
    """
    loras = host.paths.loras
    with alone(project):
        settle(project, loras)
        in_force = [each for each in list_picks(project) if each.state == DONE]
        if not pick_id and not in_force:
            raise UserError("picking.no_pick", project.title)
        chosen = read_pick(project, pick_id) if pick_id else in_force[0]
        if chosen.state != DONE:
            raise UserError("picking.no_pick", chosen.name)
        later = [each for each in in_force if fold(each.name) == fold(chosen.name) and each.time > chosen.time]
        if later:
            raise UserError("picking.later", chosen.name)
        undone = take_back(project, loras, chosen)
    host.refresh_loras()
    return undone


def _put_in_place(
    project: Project,
    loras: Path,
    place: Path,
    made: Pick,
    before: list[Path],
    moves: tuple[tuple[str, str], ...],
) -> None:
    """The record first: whatever happens then, it says how to go back."""
    first = replace(made, moves=moves_of(loras, before, f"{PICKS}/{made.id}/{REPLACED}", ASIDE))
    whole = replace(first, moves=first.moves + moves)
    if not reserve_name(project, made.name):
        raise UserError("picking.taken", "name", name=made.name, free=_free(project, loras, made.name))
    write_pick(project, whole)
    placed = False
    try:
        move_away(project, loras, first)
        place_set(place, loras, made.files)
        placed = True
        move_away(project, loras, replace(whole, moves=moves))
        write_pick(project, replace(whole, state=DONE))
    except BaseException:
        # Files of these names that are not ours are somebody's who came at the same moment.
        take_back(project, loras, whole if placed else replace(whole, files=()))
        raise


def _edition(
    host: Host, project: Project, choice: Choice, record: RunRecord | None, source: Path, shown: Shown | None
) -> Edition:
    metadata = read_metadata(source)
    trigger = choice.trigger
    if trigger is None:
        trigger = record.trigger_word if record else metadata.get("modelspec.trigger_phrase", "")
    request = shown.request if shown is not None else None
    negative = choice.negative
    if negative is None:
        negative = request.negative_prompt if request is not None else ""
    checkpoint = record.checkpoint if record else metadata.get("ss_sd_model_name", "")
    return Edition(
        source=source,
        name=choice.name,
        weight=choice.weight,
        trigger=trigger,
        negative=negative,
        notes=choice.notes,
        description=record.title if record else metadata.get("modelspec.title", source.stem),
        family=family_of(metadata) or _family(host, checkpoint),
        checkpoint=checkpoint,
        scrub=choice.scrub,
        shown=shown,
    )


def _checkpoint(host: Host, edition: Edition, shown: Shown | None) -> str:
    """On which the file is loaded: that of the cell, else the base model, else whichever the host has loaded."""
    if shown is not None and shown.request is not None and shown.request.checkpoint:
        return shown.request.checkpoint
    return edition.checkpoint if _family(host, edition.checkpoint) else ""


def _family(host: Host, checkpoint: str) -> str:
    """Of the base model; empty where it is not there any more."""
    try:
        return host.describe(checkpoint).family if checkpoint else ""
    except UserError:
        return ""


def _set_in_the_way(host: Host, project: Project, choice: Choice, source: Path) -> list[Path]:
    """Files that have the name and may be replaced. Raises UserError("picking.taken") where others have it."""
    own = own_set(host, project, choice.run_id, source, choice.name)
    taken = fold(choice.name) in names_in_use(host.paths.loras) or not is_free_for(project, choice.name)
    if taken and not own:
        free = _free(project, host.paths.loras, choice.name)
        raise UserError("picking.taken", "name", name=choice.name, free=free)
    return own


def _free(project: Project, loras: Path, name: str) -> str:
    return free_name(name, names_in_use(loras), partial(is_free_for, project))


def _moves(loras: Path, made: Pick, others: str, files: list[Path]) -> tuple[tuple[str, str], ...]:
    if others == MOVE:
        return moves_of(loras, files, f"runs/{made.run}/{CHECKPOINTS}")
    return moves_of(loras, files, f"{PICKS}/{made.id}/{OTHERS}", ASIDE)


def _notes(check: LoraCheck) -> list[Log]:
    if check.matched == check.total:
        return []
    return [Log("picking.partly", {"matched": check.matched, "total": check.total}, "warning")]


def _compare(
    host: Host,
    choice: Choice,
    shown: Shown | None,
    file: Path,
    commands: Commands | None,
    events: EventSink,
    notes: list[Log],
) -> int | None:
    """Draws the cell with the file that is published; the largest difference in grey levels, 0..255."""
    request = shown.request if shown is not None else None
    if shown is None or request is None or request.lora is None or not request.weight or not choice.compare:
        return None
    events(Stage("picking.stage_drawing"))
    with host.session(commands, events) as session:
        drawn = session.generate([replace(request, lora=file)])
    if not drawn:  # somebody pressed Skip or Interrupt
        notes.append(Log("picking.not_compared", {}, "warning"))
        return None
    from PIL import ImageChops

    pictures = drawn[0].image.convert("RGB"), shown.image.convert("RGB")
    if pictures[0].size != pictures[1].size:
        difference = 255
    else:
        difference = max(high for _, high in ImageChops.difference(*pictures).getextrema())
    if difference > GREY_LEVELS:
        notes.append(Log("picking.differs", {"difference": difference}, "warning"))
    return difference
