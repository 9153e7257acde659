"""What a grid costs beside as many bare pictures of the host, and how long the embedded host takes to switch LoRAs.

    python -m benchmarks.grid --out FILE [--checkpoint FILE_OR_FOLDER] [--side PX] [--steps N ...] [--rounds N]
        [--rank N] [--threads N]

The grid has 5 files x 5 weights x 2 prompts x 4 seeds, and its pictures are written as PNG; the bare ones have the same
prompts, seeds and batches, no LoRA, and are not written. After each batch of the grid the same batch is drawn bare, and
both are compared by the time that the processor worked, which other programs do not lengthen (on a GPU by the clock).
The clock's ratio stands beside it: with a slow disk it is larger. Files are made on the spot, on the text encoder and
the U-Net as kohya's.

Switching is measured on the layers of a Stable Diffusion 1.5 of full size without its weights, which it does not touch: a
file that is in memory is taken off and another put on, at each of the weights; and, apart, reading a file for the first
time.

Exit code 1 when the grid costs more than 1.1 times the bare pictures, or a switch takes more than 50 ms.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from lib_lora_train.files import write_json
from lib_lora_train.host.architecture import standard
from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.drawing import only_on
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.host.embedded_model import sites_of
from lib_lora_train.host.loading import describe, hollow
from lib_lora_train.network.files import load_lora, save_lora
from lib_lora_train.network.fixed import LastFixed
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.network.sites import Site
from lib_lora_train.preview.cells import CellStore
from lib_lora_train.preview.grids import Base, Cell, Column, Drawing, Grid, GridPrompt, batches, file_identity
from lib_lora_train.preview.making import make_grid
from lib_lora_train.settings.tables import NetworkSettings
from lib_lora_train.signals import Commands, Event, Stage

DEMO = Path(__file__).parent.parent / "demo" / "checkpoint"
FILES = 5
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROMPTS = ("1girl, red hair, smile, simple background", "1girl, blue eyes, hat, outdoors")
SEEDS = (1, 2, 3, 4)
MOST_RATIO, MOST_SWITCH = 1.1, 50.0  # times, ms
_SWITCHES = FILES * (len(WEIGHTS) - 1)


def write_files(folder: Path, sites: Sequence[Site], rank: int, count: int) -> list[Path]:
    """LoRAs of random weights that change the picture and do not break it."""
    paths = []
    for number in range(count):
        network = AdapterNetwork(sites, NetworkSettings(network_dim=rank, network_alpha=float(rank)), number)
        draw = torch.Generator().manual_seed(number)
        for adapter in network.adapters.values():
            adapter.lora_up.data.normal_(0, 0.02, generator=draw)
        paths.append(folder / f"random-{number + 1:06d}.safetensors")
        save_lora(paths[-1], network.state_dict(), {}, torch.float16)
    return paths


def grid_of(checkpoint: Path, files: Sequence[Path], side: int, steps: int) -> Grid:
    return Grid(
        bases=(Base(str(checkpoint), "base"),),
        columns=tuple(Column(path, path.stem, file_identity(path)) for path in files),
        weights=WEIGHTS,
        prompts=tuple(GridPrompt(text) for text in PROMPTS),
        seeds=SEEDS,
        drawing=Drawing("bad", "DDIM", steps, 7.0, side, side, 1),
        host="embedded",
    )


class Laps:
    """Seconds of the processor, and by the clock, of two works that are done in turn."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.processor: dict[str, list[float]] = {"grid": [], "bare": []}
        self.clock: dict[str, list[float]] = {"grid": [], "bare": []}
        self._last = (0.0, 0.0)

    def begin(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._last = time.process_time(), time.perf_counter()

    def end(self, name: str) -> None:
        """What was done since the last time is of `name`."""
        before = self._last
        self.begin()
        self.processor[name].append(self._last[0] - before[0])
        self.clock[name].append(self._last[1] - before[1])


def measure_cost(host: EmbeddedHost, files: Sequence[Path], folder: Path, steps: int, options: Any) -> dict[str, Any]:
    grid, at_once = grid_of(options.checkpoint, files, options.side, steps), host.pictures_at_once(*2 * [options.side])
    parts = list(batches(grid.cells(), at_once))
    rounds = [_round(host, grid, parts, CellStore(folder / f"{steps}-{number}")) for number in range(options.rounds)]
    processor, clock = ([getattr(laps, kind) for laps in rounds] for kind in ("processor", "clock"))
    decisive = _best(clock if host.device.type == "cuda" else processor)
    by_clock = _best(clock)
    return {
        "steps": steps,
        "seconds": {name: round(value, 3) for name, value in decisive.items()},
        "rounds": {name: [round(sum(laps[name]), 3) for laps in processor] for name in decisive},
        "ratio": round(decisive["grid"] / decisive["bare"], 3),
        "ratio_by_clock": round(by_clock["grid"] / by_clock["bare"], 3),
    }


def _round(host: EmbeddedHost, grid: Grid, parts: Sequence[Sequence[Cell]], store: CellStore) -> Laps:
    laps, waiting = Laps(host.device), iter(parts)
    with host.session() as session:
        # What both need once: the model, its first pass, and the prompts without a LoRA.
        session.generate([_bare(grid, cell) for cell in parts[0]])

        def after_batch(event: Event) -> None:
            if isinstance(event, Stage) and event.done:  # the first is told before anything is drawn
                laps.end("grid")
                session.generate([_bare(grid, cell) for cell in next(waiting)])
                laps.end("bare")

        laps.begin()
        made = make_grid(session, grid, store, after_batch, Commands(), len(parts[0]))
    if (made.drawn, made.switches, len(laps.processor["bare"])) != (grid.size, _SWITCHES, len(parts)):
        raise SystemExit(f"{made}: {grid.size} pictures in {len(parts)} batches were to be drawn, {_SWITCHES} switches")
    print({name: round(sum(found), 2) for name, found in laps.processor.items()}, flush=True)
    return laps


def _best(rounds: Sequence[dict[str, list[float]]]) -> dict[str, float]:
    """Seconds of all batches, of each the least of the rounds."""
    return {name: sum(map(min, zip(*(laps[name] for laps in rounds), strict=True))) for name in ("grid", "bare")}


def _bare(grid: Grid, cell: Cell) -> Any:
    return replace(grid.request(cell), lora=None, weight=0.0)


def _sites(checkpoint: Path) -> list[Site]:
    description = describe(checkpoint)
    return sites_of(*hollow(description.architecture), description.info.family)


def measure_switch(folder: Path, rank: int, rounds: int) -> dict[str, Any]:
    """Milliseconds by the clock, the middle and the worst of all."""
    sites = sites_of(*hollow(standard()), "sd1")
    files = write_files(folder, sites, rank, 3)
    first = []
    networks = []
    for path in files:
        started = time.perf_counter()
        networks.append(AdapterNetwork(sites, NetworkSettings(dim_from_weights=True), seed=0, start=load_lora(path)))
        first.append((time.perf_counter() - started) * 1e3)
    places = [(network, weight) for network in networks for weight in WEIGHTS[1:]] * rounds
    found = []
    for (before, old), (after, new) in pairwise(places):
        fixed = LastFixed()
        with only_on(sites, before, old, fixed):
            started = time.perf_counter()
        with only_on(sites, after, new, fixed):
            found.append((time.perf_counter() - started) * 1e3)
    return {
        "layers": len(sites),
        "rank": rank,
        "switches": len(found),
        "ms": {"median": round(statistics.median(found), 2), "worst": round(max(found), 2)},
        "first_read_ms": {"median": round(statistics.median(first), 1), "worst": round(max(first), 1)},
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=DEMO)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs="+", default=[3, 12, 20])  # the demo's grid has 12
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1
    )  # more of them wait for each other, and waiting counts as work
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    machine |= {"threads": torch.get_num_threads(), "load_before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "full").mkdir()
        switch = measure_switch(folder / "full", options.rank, options.rounds)
        print(f"switch: {switch}", flush=True)
        options.checkpoint = options.checkpoint.resolve()
        host = EmbeddedHost(HostPaths(folder, folder, folder))
        files = write_files(folder, _sites(options.checkpoint), options.rank, FILES)
        costs = [measure_cost(host, files, folder, steps, options) for steps in options.steps]
        print(*costs, sep="\n", flush=True)
    facts = {
        "checkpoint": options.checkpoint.name,
        "device": host.device.type,
        "cells": (1 + _SWITCHES) * len(PROMPTS) * len(SEEDS),
        "at_once": min(host.pictures_at_once(options.side, options.side), len(PROMPTS) * len(SEEDS)),
        "side": options.side,
        "rank": options.rank,
        "switches": _SWITCHES,
    }
    versions = {"python": platform.python_version()} | {
        name: metadata.version(name) for name in ("torch", "diffusers", "transformers")
    }
    write_json(options.out, {"machine": machine, "versions": versions, "grid": facts, "cost": costs, "switch": switch})
    wrong = [
        f"with {cost['steps']} steps the grid costs {cost['ratio']} times the bare pictures"
        for cost in costs
        if cost["ratio"] > MOST_RATIO
    ]
    if switch["ms"]["median"] > MOST_SWITCH:
        wrong.append(f"a switch takes {switch['ms']['median']} ms")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
