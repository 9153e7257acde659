"""Seconds per step and peak memory of a training on a full-size Stable Diffusion 1.5, beside sd-scripts.

Both are started as a user would start them, in turn, with the same command line on the same files: 128 px, batch 1,
fp32, AdamW, LoRA of rank 4, U-Net alone and with the text encoder. What else the machine does meets both alike; the
ratios are the result, not the seconds.

    python -m benchmarks.train --sd-scripts DIR --python PYTHON --vocabulary FILE --work DIR --out FILE

Exit code 1 when ours needs more than 7 GB, or when the two files differ in a key, a shape or a number format.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks import peer
from benchmarks.agreement import layout_differences, metadata_differences
from lib_lora_train.files import write_json

MOST_MEMORY = 7e9  # bytes of resident memory that ours may take
SIZES = ((128, 128),) * 4
VARIANTS = {"unet": ["--network_train_unet_only"], "unet_te": []}


def ours(options: Any, inputs: peer.Inputs, name: str, words: list[str]) -> tuple[peer.Finished, list[float], Path]:
    """One run of our command line: how it ended, the seconds of each step after the first, the LoRA."""
    folder = inputs.work / "ours-timed" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "lib_lora_train", "train", *words, f"--output_dir={folder}"]
    finished = peer.run_process(command, options.threads, folder / "log.txt")
    lines = (folder / f"{name}-run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    elapsed = [json.loads(line)["elapsed"] for line in lines]
    return finished, [later - earlier for earlier, later in pairwise(elapsed)], folder / f"{name}.safetensors"


def theirs(options: Any, inputs: peer.Inputs, name: str, words: list[str]) -> tuple[peer.Finished, list[float], Path]:
    """The same of sd-scripts. A step is from the start of one to the start of the next."""
    finished = peer.run_kohya(options, inputs, name, peer.request_of(options, inputs, name, words))
    started = peer.report_of(inputs, name)["started"]
    steps = [later - earlier for earlier, later in pairwise(started)]
    return finished, steps, inputs.work / "kohya" / f"{name}.safetensors"


def measure(options: Any, inputs: peer.Inputs, variant: str) -> dict[str, Any]:
    """Both sides in turn, `options.rounds` times."""
    runs: dict[str, list[tuple[peer.Finished, list[float]]]] = {"ours": [], "theirs": []}
    files = {}
    name = f"timed-{variant}"
    words = peer.arguments(inputs, name, options.steps, VARIANTS[variant])
    for turn in range(options.rounds):
        sides = [("ours", ours), ("theirs", theirs)]
        for side, run in sides if turn % 2 == 0 else reversed(sides):  # whoever goes first finds a colder cache
            finished, steps, files[side] = run(options, inputs, name, words)
            runs[side].append((finished, steps))
            figures = f"{statistics.median(steps):.2f} s/step, {finished.seconds:.0f} s, {finished.peak / 1e9:.2f} GB"
            print(f"{variant} {turn + 1}/{options.rounds} {side}: {figures}", flush=True)
    result: dict[str, Any] = {side: summary(found) for side, found in runs.items()}
    result["ratio"] = {key: result["ours"][key] / result["theirs"][key] for key in result["ours"]}
    tensors = [load_file(files[side]) for side in ("ours", "theirs")]
    result["file"] = {"tensors": len(tensors[0]), "differences": layout_differences(*tensors)[:20]}
    result["metadata"] = metadata_differences(*(peer.metadata_of(files[side]) for side in ("ours", "theirs")))
    return result


def summary(found: list[tuple[peer.Finished, list[float]]]) -> dict[str, float]:
    """The middle of all steps, and of the runs' times; the highest peak."""
    return {
        "seconds_per_step": statistics.median(step for _, steps in found for step in steps),
        "seconds": statistics.median(finished.seconds for finished, _ in found),
        "cpu_seconds": statistics.median(finished.cpu for finished, _ in found),
        "peak_bytes": max(finished.peak for finished, _ in found),
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = peer.parser(__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    options = parser.parse_args(words)
    inputs = peer.prepare(options, SIZES)
    results: dict[str, Any] = {
        "machine": peer.machine(options.threads) | {"load_before": round(os.getloadavg()[0], 1)},
        "settings": {"px": 128, "batch": 1, "precision": "fp32", "steps": options.steps, "rounds": options.rounds},
    }
    holds = True
    for variant in options.variants:
        results[variant] = measure(options, inputs, variant)
        versions = peer.report_of(inputs, f"timed-{variant}")["versions"]
        results["versions"] = {"ours": peer.own_versions(), "sd_scripts": versions}
        write_json(options.out, results)
        holds &= results[variant]["ours"]["peak_bytes"] <= MOST_MEMORY and not results[variant]["file"]["differences"]
        ratios = ", ".join(f"{key} {value:.2f}" for key, value in results[variant]["ratio"].items())
        print(f"{variant}, ours by theirs: {ratios}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
