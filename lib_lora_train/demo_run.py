"""The main job on a fresh machine: draw a new character, prepare its pictures as a user's, bind its traits to the trigger
word as advised, teach it to the demo checkpoint, show the result as a grid, pick a file of it, and judge."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image

from demo.attributes import ATTRIBUTES, CHARACTER, FREE, NONE, TRAITS, Portrait
from demo.character import SETTINGS, TRIGGER, eval_prompts, regularisation_set
from demo.originals import originals
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_json
from lib_lora_train.host.base import GenerateRequest, HostPaths, Session
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.messages import DEFAULT_LANGUAGE
from lib_lora_train.prepare.folder_pass import Prepared, prepare_folder
from lib_lora_train.prepare.tables import CheckSettings, CropSettings, PrepareSettings, TagSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.files import columns_of
from lib_lora_train.preview.grids import Base, Drawing, Grid
from lib_lora_train.preview.making import make_grid
from lib_lora_train.preview.prompts import prompts_for
from lib_lora_train.preview.recommending import Recommendation, recommend, say
from lib_lora_train.preview.score import mean, share
from lib_lora_train.preview.scores import ScoreTools, TrainingSet, score_cells
from lib_lora_train.preview.sheet import draw_sheet
from lib_lora_train.preview.tables import GridSettings, seeds_of, weights_of
from lib_lora_train.runs.editions import Edition, Shown, publish_edition
from lib_lora_train.settings import (
    DatasetSettings,
    LossSettings,
    ModelSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    TrainSettings,
)
from lib_lora_train.signals import Commands, Event, EventSink, Log, Stage, ignore_events
from lib_lora_train.tags.edits import edit_of
from lib_lora_train.tags.place import Place
from lib_lora_train.tags.proposing import EditContext, propose
from lib_lora_train.tags.traits import Advice, advise, binding_edits, binding_title, concerns, load_rules, summarize
from lib_lora_train.train.output import Output
from lib_lora_train.train.trainer import TrainResult, train
from lib_lora_train.vision.store import ModelStore
from lib_lora_train.vision.tagger import Tagger
from lib_lora_train.vision.tags_file import read_tags, tag_words

_ROOT = Path(__file__).parent.parent / "demo"
KIND = "character"
CHECKPOINT = _ROOT / "checkpoint"
TAGGER, JUDGE = _ROOT / "tagger", _ROOT / "judge"
_SIDE = 128
_EPOCHS = 10
_SEEDS = range(1000, 1016)
_GRID, _GRID_STEPS, _AT_ONCE = "grid.png", 12, 16
PICKED = "Quillon"  # the name under which the recommended file is used


def run_demo(
    out: Path,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
    language: str = DEFAULT_LANGUAGE,
) -> Path:
    """Does all of it below `out`; returns the report's path. In `language` it is said why a file is recommended.

    Raises UserError, for instance when a demo was already made there or was stopped on the way.
    """
    if not CHECKPOINT.is_dir():
        raise UserError("demo.no_checkpoint", "demo/checkpoint")
    if any((out / name).exists() for name in ("originals", "dataset")):
        raise UserError("demo.exists", out.name)
    commands = commands or Commands()
    events(Stage("demo.stage_drawing"))
    write_pictures(out)
    prepared = prepare_pictures(out, events, commands)
    advice = bind_traits(out / "dataset", TRIGGER)
    events(Log("demo.bound", {"traits": ", ".join(row.tag for row in advice.decided("bind"))}))
    host = EmbeddedHost(HostPaths(projects=out, loras=out / "loras", models=out / "models"))
    output = Output(loras=out / "loras", run=out / "run", name="demo")
    with _few_threads():
        result = train(host, demo_settings(out), events, commands, output)
    if result.outcome != "done" or result.lora is None:
        raise UserError("demo.stopped", "demo", step=result.steps)
    with host.session(commands, without_batches(events)) as session:
        events(Stage("demo.stage_grid"))
        chosen = choose(session, out, [*sorted_files(output, result.lora), result.lora], events, commands)
        report = judge(session, result.lora, events)
    report |= (
        _facts(result, out)
        | {"picked": publish(host, out, chosen, events, language)}
        | {"health": health_of(prepared), "binding": binding_of(advice)}
    )
    path = out / "report.json"
    write_json(path, report)
    return path


@contextmanager
def _few_threads() -> Iterator[None]:
    """At most half of the cores. Threads of such a small model wait for each other at every layer: a second one gains
    a sixth on two free cores, and when something else runs there the steps take twenty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, (os.cpu_count() or 2) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def demo_settings(out: Path) -> TrainSettings:
    """The settings of the demo's run."""
    return TrainSettings(
        model=ModelSettings(checkpoint=str(CHECKPOINT)),
        dataset=DatasetSettings(
            train_data_dir=str(out / "dataset"),
            reg_data_dir=str(out / "regularization"),
            resolution=str(_SIDE),
            min_bucket_reso=_SIDE,
            max_bucket_reso=_SIDE,
            shuffle_caption=True,
        ),
        network=NetworkSettings(network_dim=SETTINGS.rank, network_alpha=SETTINGS.alpha),
        optimizer=OptimizerSettings(
            optimizer_args=[f"weight_decay={SETTINGS.weight_decay}"],
            unet_lr=str(SETTINGS.unet_lr),
            text_encoder_lr=str(SETTINGS.text_encoder_lr),
            lr_scheduler=SETTINGS.scheduler,
            lr_warmup_steps=SETTINGS.warmup_steps,
        ),
        loss=LossSettings(min_snr_gamma=SETTINGS.min_snr_gamma),
        run=RunSettings(
            output_dir=str(out / "loras"),
            output_name="demo",
            max_train_epochs=_EPOCHS,
            train_batch_size=SETTINGS.batch_size,
            mixed_precision="fp32",
            save_every_n_epochs=2,
            trigger_word=TRIGGER,
            sample_prompts="\n".join(prompt for prompt, _ in eval_prompts()),
            sample_every_n_epochs=5,
            sample_cfg=SETTINGS.guidance,
            sample_steps=SETTINGS.sample_steps,
        ),
    )


def write_pictures(out: Path, character: Portrait = CHARACTER) -> None:
    """A character's pictures and the ordinary ones as a user has them: no captions, in kohya's folders."""
    pictures = originals(character=character)
    # Half of each epoch is regularization; the repeats make the epochs' steps add up to the wanted number.
    repeats = max(1, round(SETTINGS.steps * SETTINGS.batch_size / (2 * len(pictures) * _EPOCHS)))
    _write_folder(out / "originals" / f"{repeats}_{TRIGGER}", pictures)
    _write_folder(out / "ordinary" / "1_1girl", [image for image, _ in regularisation_set()])


def prepare_pictures(out: Path, events: EventSink = ignore_events, commands: Commands | None = None) -> Prepared:
    """Checks, crops and tags both folders, into those that are trained on; what was found in the character's pictures.

    Raises Stopped, and UserError as `prepare_folder`.
    """
    tools = Tools(ModelStore(TAGGER.parent, offline=True), provider="cpu", downloads=False)
    said: set[str] = set()

    def once(event: Event) -> None:
        """What there is to say of the tools is said for the first folder alone."""
        if isinstance(event, Log):
            if event.code in said:
                return
            said.add(event.code)
        events(event)

    def prepare(source: str, target: str, crop: str, left_out: Sequence[str] = (), **of: str) -> Prepared:
        settings = prepare_settings(crop, left_out)
        return prepare_folder(str(out / source), out / target, tools, settings, events=once, commands=commands, **of)

    prepared = prepare("originals", "dataset", "size", kind=KIND, trigger=TRIGGER)
    if prepared.report is not None:
        count = len(prepared.report.findings)
        events(Log("demo.health", {"score": prepared.report.score, "count": count}))
    # Squares of the right size already.
    prepare("ordinary", "regularization", "none", traits_of_characters(), kind="style")
    return prepared


def prepare_settings(crop: str, left_out: Sequence[str] = ()) -> PrepareSettings:
    """Crops of the size that is trained at, bars cut off; tags by the demo's tagger, but for those that are left out."""
    return PrepareSettings(
        check=CheckSettings(size=_SIDE, medium="drawn"),
        crop=CropSettings(crop=crop, width=_SIDE, height=_SIDE),
        tag=TagSettings(taggers=[TAGGER.name], exclude=list(left_out)),
    )


def traits_of_characters() -> list[str]:
    """Tags of the demo's tagger that can be traits. Ordinary pictures do without them too: what the trigger word shall
    stand for is then named nowhere, and the LoRA is held to what the checkpoint knows of all else."""
    rules = load_rules()
    names = [tag_words(name) for name in read_tags(TAGGER / "selected_tags.csv")[0]]
    return [name for name in names if KIND in rules.category(name).entry.bind]


def bind_traits(folder: Path, trigger: str) -> Advice:
    """Does what the advisor says to the captions in a folder: one entry in their journal, which can be undone.

    Raises UserError as the journal does.
    """
    place = Place.of_folder(folder)
    items = [item for item in place.read().items if concerns(item)]
    advice = advise(items, KIND, load_rules(), trigger)
    edits = [edit_of(values) for values in binding_edits(advice)]
    changes = propose(items, edits, EditContext(trigger=trigger)).changes
    texts = {change.item.picture: change.after for change in changes}
    place.history.append(place.history.changes_for(texts), binding_title(advice))
    place.history.finish()
    return advice


def binding_of(advice: Advice) -> dict[str, object]:
    """What was bound, as the demo's report has it."""
    return {"summary": summarize(advice), "bound": sorted(row.tag for row in advice.decided("bind"))}


def health_of(prepared: Prepared) -> dict[str, object]:
    """The health report as the demo's own report has it."""
    return {} if prepared.report is None else prepared.report.as_dict()


def _write_folder(folder: Path, pictures: Sequence[Image]) -> None:
    for number, image in enumerate(pictures, start=1):
        with atomic_path(folder / f"{number:03d}.png") as temporary:
            image.save(temporary, format="PNG")


def _request(prompt: str, seed: int, lora: Path, weight: float) -> GenerateRequest:
    return GenerateRequest(
        prompt=prompt,
        width=_SIDE,
        height=_SIDE,
        steps=SETTINGS.sample_steps,
        cfg_scale=SETTINGS.guidance,
        seed=seed,
        lora=lora,
        weight=weight,
    )


def sorted_files(output: Output, final: Path) -> list[Path]:
    """The checkpoints before the last file, in their order."""
    return sorted(path for path in output.loras.glob("*.safetensors") if path != final)


@dataclass(frozen=True)
class Chosen:
    """A grid with its pictures, and which cell of it to take."""

    grid: Grid
    store: CellStore
    recommendation: Recommendation


def choose(session: Session, out: Path, files: Sequence[Path], events: EventSink, commands: Commands) -> Chosen:
    """Draws every file at every weight, lets the first tagger look, and recommends one. Writes the grid as a picture.

    Raises Stopped, UserError("demo.nothing_chosen").
    """
    training = training_set_of(out / "dataset")
    settings = GridSettings(prompts="\n".join(prompt for prompt, _ in eval_prompts()[:2]))
    grid = Grid(
        bases=(Base(str(CHECKPOINT), "demo"),),
        columns=columns_of(files),
        weights=weights_of(settings.weights),
        prompts=tuple(prompts_for(KIND, TRIGGER, (), settings)),
        seeds=seeds_of(settings.seeds),
        drawing=Drawing("", settings.sampler, _GRID_STEPS, SETTINGS.guidance, _SIDE, _SIDE, 1),
        host=EmbeddedHost.name,
    )
    store = CellStore(out / "cells")
    make_grid(session, grid, store, events, commands, _AT_ONCE)
    with Tagger(TAGGER) as tagger:
        scores = score_cells(grid, store, training, ScoreTools(tagger, None, TAGGER.name), events=events)
    found = recommend(grid, scores)
    if found is None:
        raise UserError("demo.nothing_chosen", "demo")
    with atomic_path(out / _GRID) as temporary:
        draw_sheet(grid, store, {found.cell}).save(temporary, format="PNG")
    return Chosen(grid, store, found)


def training_set_of(folder: Path) -> TrainingSet:
    """The character's pictures with their captions, as scores want them."""
    pictures = sorted(folder.glob("[!.]*/*.png"))
    captions = [picture.with_suffix(".txt").read_text(encoding="utf-8").strip() for picture in pictures]
    return TrainingSet(tuple(pictures), tuple(tuple(caption.split(", ")) for caption in captions), trigger=TRIGGER)


def without_batches(events: EventSink) -> EventSink:
    """The grid tells how far it is; that of every batch would stand between."""
    return lambda event: None if isinstance(event, Stage) and event.code == "host.stage_drawing" else events(event)


def publish(host: EmbeddedHost, out: Path, chosen: Chosen, events: EventSink, language: str) -> dict[str, object]:
    """The recommended file as somebody uses it, with card and thumbnail; what the report says of it."""
    grid, found = chosen.grid, chosen.recommendation
    source = grid.columns[found.column].path
    shown = Shown(chosen.store.read(found.cell), chosen.store.infotext(found.cell))
    edition = Edition(source, PICKED, found.weight, TRIGGER, family="sd1", checkpoint=CHECKPOINT.name, shown=shown)
    names, check = publish_edition(host, out, edition, str(CHECKPOINT))
    reason, shown_weight = say(found.reason, grid, language), f"{found.weight:g}"
    events(Log("demo.picked", {"file": source.name, "weight": shown_weight, "name": names[-1], "reason": reason}))
    return {
        "file": source.name,
        "weight": found.weight,
        "name": names[-1],
        "reason": reason,
        "matched": check.matched if check else 0,
        "total": check.total if check else 0,
    }


def judge(session: Session, lora: Path, events: EventSink = ignore_events) -> dict[str, object]:
    """What the second tagger sees in 64 pictures per column: with the LoRA, without, and without the trigger word."""
    tagger = Tagger(JUDGE)
    columns = {"with": (True, 1.0), "without": (True, 0.0), "leak": (False, 1.0)}
    shown: dict[str, list[Portrait]] = {}
    asked = [free for _, free in eval_prompts() for _ in _SEEDS]
    for number, (name, (trigger, weight)) in enumerate(columns.items()):
        events(Stage("demo.stage_judging", number, len(columns)))
        requests = [_request(prompt, seed, lora, weight) for prompt, _ in eval_prompts(trigger) for seed in _SEEDS]
        shown[name] = read_portraits(tagger, [drawn.image for drawn in session.generate(requests)])

    def bound(name: str) -> dict[str, float]:
        return mean([_share_of(portrait, CHARACTER, TRAITS) for portrait in shown[name]]).as_dict()

    def free(name: str) -> dict[str, float]:
        return mean(
            [_share_of(portrait, wish, FREE) for portrait, wish in zip(shown[name], asked, strict=True)]
        ).as_dict()

    def each(name: str) -> dict[str, dict[str, float]]:
        return {
            trait: share([portrait[trait] == CHARACTER[trait] for portrait in shown[name]]).as_dict()
            for trait in TRAITS
        }

    return {
        "bound_with": bound("with"),
        "bound_without": bound("without"),
        "bound_each": each("with"),
        "bound_all": share([_share_of(portrait, CHARACTER, TRAITS) == 1 for portrait in shown["with"]]).as_dict(),
        "leak": bound("leak"),
        "free_base": free("without"),
        "free_with": free("with"),
        "pictures_per_column": len(asked),
    }


def read_portraits(tagger: Tagger, images: Sequence[Image]) -> list[Portrait]:
    """The likeliest value of every attribute; "none" where the tagger is sure of no other."""
    column = {tag: index for index, tag in enumerate(tagger.tags)}
    portraits = []
    for row in tagger.probabilities(images):
        portrait = {}
        for attribute, values in ATTRIBUTES.items():
            scores = {value: row[column[value]] for value in values if value != NONE}
            best = max(scores, key=scores.__getitem__)
            portrait[attribute] = best if NONE not in values or scores[best] >= 0.5 else NONE
        portraits.append(portrait)
    return portraits


def _share_of(portrait: Portrait, wish: Portrait, attributes: Sequence[str]) -> float:
    return sum(portrait[attribute] == wish[attribute] for attribute in attributes) / len(attributes)


def _facts(result: TrainResult, out: Path) -> dict[str, object]:
    return {
        "train_seconds": round(result.seconds, 1),
        "steps": result.steps,
        "loss": round(result.loss, 5) if result.loss is not None else None,
        "lora": result.lora.relative_to(out).as_posix() if result.lora else "",
        "grid": _GRID,
        "trigger": TRIGGER,
    }
