"""Whether the recommended cell of a grid is the one to take.

    python -m benchmarks.recommend --work DIR --out FILE [--runs N] [--overfitted N] [--pictures N] [--threads N]
                                   [--only NAME ...]

Characters are drawn by the demo's program, tagged by its tagger, bound as advised, and taught to its checkpoint with the
settings of `standalone.py demo`, each with a seed of its own. Then a grid is drawn (5 files, weights 0, 0.4, 0.6, 0.8
and 1, two seeds, the prompts that a user gets who chooses none), scored by the first tagger, and one cell recommended.

The judge is the second tagger, which neither captions nor scores. It looks at fresh pictures of every cell: the demo's
four prompts, at seeds that no grid has seen. A cell's worth, in points, is the mean of two shares: of the character's
five traits, and of what the prompts ask for freely. The best cell is that of the highest worth.

`overfitted` runs are spoilt on purpose: five pictures of one scene (the same face, framing and background) with the
trigger word for a caption, no ordinary pictures beside them, six times the learning rate. They do not count among the
`--runs`.

Every step of every run is kept in `--work` and not repeated, so that the benchmark can be stopped and gone on with at
any moment; `--only` does some of the runs.

Exit code 1 when fewer than nine of ten runs' recommended cells are within 5 points of the best, or when one does not
beat the last file at weight 1 by 10 points on the runs that are overfitted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.binding import characters, versions
from demo.attributes import FREE, TRAITS, Portrait, tags
from demo.character import SETTINGS, TRIGGER, eval_prompts
from demo.draw import draw_large
from lib_lora_train.demo_run import (
    CHECKPOINT,
    JUDGE,
    KIND,
    TAGGER,
    bind_traits,
    demo_settings,
    prepare_pictures,
    read_portraits,
    write_pictures,
)
from lib_lora_train.files import write_json, write_text
from lib_lora_train.host.base import GenerateRequest, HostPaths, Session
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, file_identity
from lib_lora_train.preview.making import make_grid
from lib_lora_train.preview.prompts import prompts_for
from lib_lora_train.preview.recommending import curve, recommend, say
from lib_lora_train.preview.scores import Scores, ScoreTools, TrainingSet, score_cells
from lib_lora_train.preview.sheet import draw_sheet
from lib_lora_train.preview.tables import GridSettings, seeds_of, weights_of
from lib_lora_train.signals import Commands, ignore_events
from lib_lora_train.train.output import Output
from lib_lora_train.train.trainer import train
from lib_lora_train.vision.tagger import Tagger

SIDE, AT_ONCE = 128, 16
FIRST_FRESH_SEED = 50_000
NEAR_BEST, BETTER, SHARE = 5.0, 10.0, 0.9
FEW, SPOILT_RATE, SPOILT_REPEATS = 5, 6.0, 40
SCENE = {"expression": "smile", "framing": "close-up", "background": "white background"}
GRID = GridSettings(captions=2, sampler="DDIM", steps=SETTINGS.sample_steps, cfg_scale=SETTINGS.guidance, width=SIDE, height=SIDE)  # fmt: skip


@dataclass(frozen=True)
class Run:
    name: str
    character: Portrait
    seed: int
    spoilt: bool
    folder: Path

    @property
    def loras(self) -> Path:
        return self.folder / "loras"


def all_runs(work: Path, count: int, spoilt: int) -> Iterator[Run]:
    """Each character once; the spoilt runs are of other characters again."""
    for place, (name, who) in enumerate(characters(count + spoilt).items()):
        over = place >= count
        shown = f"{name}, overfitted" if over else name
        yield Run(shown, who, 100 + place, over, work / shown.replace(", ", "-").replace(" ", "-"))


# ---------------------------------------------------------------------- training


def host_of(run: Run) -> EmbeddedHost:
    return EmbeddedHost(HostPaths(projects=run.folder, loras=run.loras, models=run.folder / "models"))


def teach(run: Run) -> dict[str, Any]:
    """Trains unless that was done."""
    done = run.folder / "trained.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    shutil.rmtree(run.folder, ignore_errors=True)
    write_pictures(run.folder, run.character)
    if run.spoilt:
        spoil(run)
    prepare_pictures(run.folder)
    bound = sorted(row.tag for row in bind_traits(run.folder / "dataset", TRIGGER).decided("bind"))
    if run.spoilt:
        forget_captions(run)
    settings = demo_settings(run.folder)
    settings.run = replace(settings.run, sample_prompts="", seed=run.seed)
    if run.spoilt:
        settings.dataset = replace(settings.dataset, reg_data_dir="")
        settings.optimizer = replace(
            settings.optimizer,
            unet_lr=str(SETTINGS.unet_lr * SPOILT_RATE),
            text_encoder_lr=str(SETTINGS.text_encoder_lr * SPOILT_RATE),
        )
    started = time.monotonic()
    result = train(host_of(run), settings, ignore_events, Commands(), Output(run.loras, run.folder / "run", "demo"))
    if result.lora is None or result.outcome != "done":
        raise SystemExit(f"{run.name} was not trained: {result.outcome}")
    facts = {"bound": bound, "steps": result.steps, "seconds": round(time.monotonic() - started, 1)}
    write_json(done, facts)
    return facts


def spoil(run: Run) -> None:
    """Puts pictures in place of the character's that show one and the same scene."""
    rng = random.Random(run.seed)
    for place in list((run.folder / "originals").iterdir()):
        shutil.rmtree(place)
    place = run.folder / "originals" / f"{SPOILT_REPEATS}_{TRIGGER}"
    place.mkdir()
    for number in range(FEW):
        draw_large({**run.character, **SCENE}, rng).image.save(place / f"{number:03d}.png")


def forget_captions(run: Run) -> None:
    """Leaves the trigger word alone, as people do who do not tag: the scene is then learnt with the character."""
    for caption in (run.folder / "dataset").glob("[!.]*/*.txt"):
        write_text(caption, f"1girl, {TRIGGER}\n")


# ---------------------------------------------------------------------- the grid and its scores


def grid_of(run: Run, tagger: Tagger) -> tuple[Grid, TrainingSet]:
    """As a user gets it who chooses nothing."""
    pictures = sorted((run.folder / "dataset").glob("[!.]*/*.png"))
    captions = [picture.with_suffix(".txt").read_text(encoding="utf-8").strip() for picture in pictures]
    prompts = prompts_for(KIND, TRIGGER, captions, GRID, frozenset(tagger.tags))
    files = sorted(run.loras.glob("demo*.safetensors"), key=lambda path: (path.stem == "demo", path.stem))
    last = demo_settings(run.folder).run.max_train_epochs
    columns = []
    for path in files:
        epoch = int(path.stem.rpartition("-")[2]) if "-" in path.stem else int(last or 0)
        columns.append(Column(path, path.stem, file_identity(path), epoch, epoch))
    drawing = Drawing("", GRID.sampler, GRID.steps, GRID.cfg_scale, SIDE, SIDE, 1)
    grid = Grid(
        bases=(Base(str(CHECKPOINT), "demo"),),
        columns=tuple(columns),
        weights=weights_of(GRID.weights),
        prompts=tuple(prompts),
        seeds=seeds_of(GRID.seeds),
        drawing=drawing,
        host="embedded",
    )
    tagged = tuple(tuple(part.strip() for part in caption.split(",")) for caption in captions)
    return grid, TrainingSet(tuple(pictures), tagged, trigger=TRIGGER)


def look(run: Run, session: Session, bound: Sequence[str]) -> tuple[Grid, Scores, dict[str, Any]]:
    """Draws what is missing of the grid, scores it, recommends."""
    store = CellStore(run.folder / "cells")
    with Tagger(TAGGER) as tagger:
        grid, training = grid_of(run, tagger)
        made = make_grid(session, grid, store, ignore_events, Commands(), AT_ONCE)
        kept = run.folder / "scores.json"
        known = Scores.from_dict(json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None)
        tools = ScoreTools(tagger, None, TAGGER.name)
        scores = score_cells(grid, store, replace(training, bound=tuple(bound)), tools, known=known)
    write_json(kept, scores.as_dict())
    found = recommend(grid, scores)
    if found is None:
        raise SystemExit(f"nothing could be recommended for {run.name}")
    sheet = draw_sheet(grid, store, {found.cell})
    sheet.save(run.folder / "grid.png")
    over_epochs = curve(grid, scores).as_dict(grid)
    facts = {
        "recommended": place_name(grid, found.column, found.weight),
        "reason": say(found.reason, grid),
        "notes": over_epochs["notes"],
        "cells": grid.size,
        "drawn": made.drawn,
    }
    return grid, scores, facts


def place_name(grid: Grid, column: int, weight: float) -> str:
    return f"epoch {grid.columns[column].epoch} at {weight:g}"


# ---------------------------------------------------------------------- the judge


def judge(run: Run, grid: Grid, session: Session, pictures: int, first: Sequence[str]) -> dict[str, dict[str, float]]:
    """Worth of every cell in points, on fresh pictures; those named `first` come first, so that something is known when
    it is stopped. Cells that were judged before are not drawn again."""
    kept = run.folder / f"judged-{pictures}.json"
    judged: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    prompts = eval_prompts()
    asked = [prompts[number % len(prompts)] for number in range(pictures)]
    places = {place_name(grid, column, weight): (file, weight) for column, file in enumerate(grid.columns) for weight in grid.weights if weight}  # fmt: skip
    with Tagger(JUDGE) as tagger:
        for name in sorted(places, key=lambda name: name not in first):
            if name in judged:
                continue
            file, weight = places[name]
            requests = [
                GenerateRequest(
                    prompt=text,
                    width=SIDE,
                    height=SIDE,
                    steps=SETTINGS.sample_steps,
                    cfg_scale=SETTINGS.guidance,
                    seed=FIRST_FRESH_SEED + number,
                    lora=file.path,
                    weight=weight,
                    checkpoint=str(CHECKPOINT),
                )
                for number, (text, _) in enumerate(asked)
            ]
            seen = read_portraits(tagger, [drawn.image for drawn in session.generate(requests)])
            judged[name] = worth_of(seen, run.character, [free for _, free in asked])
            write_json(kept, judged)
    return judged


def worth_of(seen: Sequence[Portrait], who: Portrait, asked: Sequence[Portrait]) -> dict[str, float]:
    traits = statistics.fmean(each[trait] == who[trait] for each in seen for trait in TRAITS)
    free = statistics.fmean(each[name] == wish[name] for each, wish in zip(seen, asked, strict=True) for name in FREE)
    return {
        "worth": round(50 * (traits + free), 2),
        "traits": round(100 * traits, 2),
        "free": round(100 * free, 2),
    }


def measure(run: Run, pictures: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"traits": tags(run.character, TRAITS), "overfitted": run.spoilt, "seed": run.seed}
    facts |= {"load_before": round(os.getloadavg()[0], 1)}
    facts |= teach(run)
    with host_of(run).session(Commands(), ignore_events) as session:
        grid, _, found = look(run, session, facts["bound"])
        last, chosen = place_name(grid, len(grid.columns) - 1, 1.0), found["recommended"]
        judged = judge(run, grid, session, pictures, (last, chosen))
    best = max(judged, key=lambda name: judged[name]["worth"])
    return facts | {
        **found,
        "best": best,
        "last": last,
        "worth": judged[chosen]["worth"],
        "worth_best": judged[best]["worth"],
        "worth_last": judged[last]["worth"],
        "below_best": round(judged[best]["worth"] - judged[chosen]["worth"], 2),
        "above_last": round(judged[chosen]["worth"] - judged[last]["worth"], 2),
        "judged": judged,
    }


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    plain = [each for each in found.values() if not each["overfitted"]]
    spoilt = [each for each in found.values() if each["overfitted"]]
    return {
        "runs": len(plain),
        "near_best": sum(each["below_best"] <= NEAR_BEST for each in plain),
        "below_best": [each["below_best"] for each in plain],
        "above_last": [each["above_last"] for each in plain],
        "overfitted": len(spoilt),
        "overfitted_below_best": [each["below_best"] for each in spoilt],
        "overfitted_above_last": [each["above_last"] for each in spoilt],
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--overfitted", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=32, help="fresh ones per cell, for the judge")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--only", nargs="*", default=[], help="names of runs; the others stay as they are")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    found: dict[str, Any] = results.get("runs", {})
    for run in all_runs(options.work, options.runs, options.overfitted):
        if options.only and run.name not in options.only:
            continue
        found[run.name] = measure(run, options.pictures)
        machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
        results = {
            "machine": machine | {"threads": options.threads},
            "versions": versions(),
            "settings": {"pictures_per_cell": options.pictures, "grid_seeds": GRID.seeds, "weights": GRID.weights},
            "summary": summary(found),
            "runs": found,
        }
        write_json(options.out, results)
        print(run.name, {name: found[run.name][name] for name in ("recommended", "best", "below_best", "above_last")})
    figures = summary(found)
    print(json.dumps(figures, indent=1))
    near = figures["near_best"] >= SHARE * figures["runs"]
    better = all(above >= BETTER for above in figures["overfitted_above_last"])
    return 0 if near and better else 1


if __name__ == "__main__":
    sys.exit(main())
