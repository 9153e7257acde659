"""What a grid costs beside as many bare pictures of the host, and how long the embedded host takes to switch LoRAs.

    python -m benchmarks.grid --out FILE [--checkpoint FILE_OR_FOLDER] [--side PX] [--steps N] [--rounds N] [--rank N]
        [--threads N]

The grid has 5 files x 5 weights x 2 prompts x 4 seeds; the bare pictures have the same prompts, seeds and batches, and no
LoRA. Both are drawn in turn, batch by batch, and compared by the time that the processor worked, which other programs do
not lengthen (on a GPU by the clock). Files are made on the spot, on the text encoder and the U-Net as kohya's.

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
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
from lib_lora_train.signals import Commands, ignore_events

DEMO = Path(__file__).parent.parent / "demo" / "checkpoint"
FILES = 5
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROMPTS = ("1girl, red hair, smile, simple background", "1girl, blue eyes, hat, outdoors")
SEEDS = (1, 2, 3, 4)
MOST_RATIO, MOST_SWITCH = 1.1, 50.0  # times, ms


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


class Clock:
    """Seconds of the processor, or of the clock where a GPU does the work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.read: Callable[[], float] = time.perf_counter if device.type == "cuda" else time.process_time

    def of(self, work: Callable[[], object]) -> float:
        started = self.read()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.read() - started


def measure_cost(checkpoint: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    host = EmbeddedHost(HostPaths(folder, folder, folder))
    files = write_files(folder, _sites(checkpoint), options.rank, FILES)
    grid, clock = grid_of(checkpoint, files, options.side, options.steps), Clock(host.device)
    at_once = host.pictures_at_once(options.side, options.side)
    parts = list(batches(grid.cells(), at_once))
    seconds: dict[str, list[float]] = {"bare": [], "with_lora": [], "grid": []}
    for number in range(options.rounds):
        store = CellStore(folder / f"cells-{number}")
        # A fresh session for each way, as a grid has; the model stays loaded.
        seconds["bare"].append(_drawn(host, clock, ([_bare(grid, cell) for cell in part] for part in parts)))
        seconds["with_lora"].append(_drawn(host, clock, ([grid.request(cell) for cell in part] for part in parts)))
        with host.session() as session:
            made = clock.of(partial(make_grid, session, grid, store, ignore_events, Commands(), at_once))
            switches = session.switches
        if len(store.present()) != grid.size or switches != len(files) * (len(WEIGHTS) - 1):
            raise SystemExit(f"{len(store.present())} pictures of {grid.size}, {switches} switches")
        seconds["grid"].append(made)
        print({name: round(found[-1], 2) for name, found in seconds.items()}, flush=True)
    best = {name: min(found) for name, found in seconds.items()}
    return {
        "checkpoint": checkpoint.name,
        "device": host.device.type,
        "cells": grid.size,
        "at_once": min(at_once, len(PROMPTS) * len(SEEDS)),
        "side": options.side,
        "steps": options.steps,
        "rank": options.rank,
        "switches": len(files) * (len(WEIGHTS) - 1),
        "seconds": {name: round(value, 3) for name, value in best.items()},
        "rounds": {name: [round(value, 3) for value in found] for name, found in seconds.items()},
        "ratio": round(best["grid"] / best["bare"], 3),
        "ratio_with_lora": round(best["grid"] / best["with_lora"], 3),
    }


def _drawn(host: EmbeddedHost, clock: Clock, calls: Iterator[list[Any]]) -> float:
    with host.session() as session:
        return clock.of(lambda: [session.generate(requests) for requests in calls])


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
    parser.add_argument("--steps", type=int, default=12)
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
        cost = measure_cost(options.checkpoint.resolve(), folder, options)
        print(f"cost: {cost}", flush=True)
    versions = {"python": platform.python_version()} | {
        name: metadata.version(name) for name in ("torch", "diffusers", "transformers")
    }
    write_json(options.out, {"machine": machine, "versions": versions, "cost": cost, "switch": switch})
    wrong = []
    if cost["ratio"] > MOST_RATIO:
        wrong.append(f"the grid costs {cost['ratio']} times the bare pictures")
    if switch["ms"]["median"] > MOST_SWITCH:
        wrong.append(f"a switch takes {switch['ms']['median']} ms")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
