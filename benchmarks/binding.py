"""What binding is worth: how often a LoRA draws its character's traits when only the trigger word is given.

    python -m benchmarks.binding --work DIR --out FILE [--characters N] [--seeds N] [--threads N]

Characters are drawn by the demo's program, tagged by its tagger, and taught to its checkpoint twice, with the settings of
`standalone.py demo`: after the advice was applied to the captions (`bound`), and with all tags kept (`kept`). Everything
else is alike, the ordinary pictures of the regularization and their captions too. The second tagger, which never
captions, then reads the pictures of four prompts, each at several seeds:

    trigger   1girl, the trigger word, an expression, a framing, a background
    named     the same and the character's traits by their tags
    nobody    the same as the first, without the trigger word

`base` is the first without a LoRA. Shares are of the five traits in all pictures (`mean`), and of pictures with all
five (`all`). A character whose figures are in FILE already is not trained again.

Exit code 1 when bound LoRAs show less than 85 % of the traits by the trigger word, or kept ones half of what bound ones
do or more.
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
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from demo.attributes import ATTRIBUTES, CHARACTER, NONE, TRAITS, Portrait, tags
from demo.character import SETTINGS, TRIGGER, eval_prompts
from lib_lora_train.demo_run import (
    JUDGE,
    bind_traits,
    demo_settings,
    prepare_pictures,
    read_portraits,
    write_pictures,
)
from lib_lora_train.files import write_json
from lib_lora_train.host.base import GenerateRequest, HostPaths, Session
from lib_lora_train.host.embedded import EmbeddedHost
from lib_lora_train.signals import Commands, ignore_events
from lib_lora_train.train.output import Output
from lib_lora_train.train.trainer import train
from lib_lora_train.vision.tagger import Tagger

WAYS = ("bound", "kept")
LEAST_BOUND, MOST_KEPT = 0.85, 0.5
SIDE, FIRST_SEED = 128, 1000


def characters(count: int) -> dict[str, Portrait]:
    """The demo's character, and others with a value of each trait; no trait is shared with the one before."""
    found, rng = {"demo": CHARACTER}, random.Random(6)
    while len(found) < count:
        before = list(found.values())[-1]
        choices = {trait: [v for v in ATTRIBUTES[trait] if v not in (NONE, before[trait])] for trait in TRAITS}
        found[f"character {len(found) + 1}"] = {trait: rng.choice(values) for trait, values in choices.items()}
    return found


def teach(folder: Path, bound: bool) -> tuple[Path, EmbeddedHost, dict[str, Any]]:
    """Trains on the pictures that lie there, tagged in full; the LoRA, the host, and what was done."""
    facts: dict[str, Any] = {}
    if bound:
        advice = bind_traits(folder / "dataset", TRIGGER)
        facts["deleted"] = sorted(row.tag for row in advice.decided("bind"))
    settings = demo_settings(folder)
    settings.run = replace(settings.run, sample_prompts="", save_every_n_epochs=0)
    host = EmbeddedHost(HostPaths(projects=folder, loras=folder / "loras", models=folder / "models"))
    started = time.monotonic()
    result = train(host, settings, ignore_events, Commands(), Output(folder / "loras", folder / "run", "binding"))
    if result.lora is None or result.outcome != "done":
        raise SystemExit(f"not trained: {result.outcome}")
    facts |= {"steps": result.steps, "train_seconds": round(time.monotonic() - started, 1)}
    return result.lora, host, facts


def shown(
    session: Session, prompts: Sequence[str], seeds: int, lora: Path, weight: float, who: Portrait
) -> dict[str, Any]:
    """What the second tagger sees of a character's traits."""
    requests = [
        GenerateRequest(
            prompt=prompt,
            width=SIDE,
            height=SIDE,
            steps=SETTINGS.sample_steps,
            cfg_scale=SETTINGS.guidance,
            seed=FIRST_SEED + seed,
            lora=lora,
            weight=weight,
        )
        for prompt in prompts
        for seed in range(seeds)
    ]
    with Tagger(JUDGE) as tagger:
        seen = read_portraits(tagger, [drawn.image for drawn in session.generate(requests)])
    each = {trait: statistics.fmean(portrait[trait] == who[trait] for portrait in seen) for trait in TRAITS}
    whole = statistics.fmean(all(portrait[trait] == who[trait] for trait in TRAITS) for portrait in seen)
    return {
        "mean": round(statistics.fmean(each.values()), 3),
        "all": round(whole, 3),
        "each": {trait: round(value, 3) for trait, value in each.items()},
    }


def measure(options: argparse.Namespace, name: str, who: Portrait) -> dict[str, Any]:
    """Both ways for one character."""
    place = options.work / name.replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    write_pictures(place / "kept", who)
    prepare_pictures(place / "kept")
    shutil.copytree(place / "kept", place / "bound")
    found: dict[str, Any] = {"traits": tags(who, TRAITS), "load_before": round(os.getloadavg()[0], 1)}
    prompts = {
        "trigger": [prompt for prompt, _ in eval_prompts()],
        "named": [", ".join([prompt, *tags(who, TRAITS)]) for prompt, _ in eval_prompts()],
        "nobody": [prompt for prompt, _ in eval_prompts(trigger=False)],
    }
    for way in WAYS:
        lora, host, facts = teach(place / way, bound=way == "bound")
        with host.session(Commands(), ignore_events) as session:
            for column, texts in prompts.items():
                facts[column] = shown(session, texts, options.seeds, lora, 1.0, who)
            if way == WAYS[0]:
                found["base"] = shown(session, prompts["trigger"], options.seeds, lora, 0.0, who)
        found[way] = facts
        print(f"{name}, {way}: {facts}", flush=True)
    return found


def total(found: dict[str, Any], way: str, column: str, figure: str = "mean") -> float:
    return round(statistics.fmean(each[way][column][figure] for each in found.values()), 3)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Over all characters."""
    columns = ("trigger", "named", "nobody")
    result: dict[str, Any] = {
        way: {column: {figure: total(found, way, column, figure) for figure in ("mean", "all")} for column in columns}
        for way in WAYS
    }
    result["base"] = round(statistics.fmean(each["base"]["mean"] for each in found.values()), 3)
    result["kept_by_bound"] = round(total(found, "kept", "trigger") / max(total(found, "bound", "trigger"), 1e-9), 3)
    return result


def versions() -> dict[str, str]:
    names = ("torch", "diffusers", "transformers", "numpy", "pillow", "onnxruntime")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    found: dict[str, Any] = results.get("characters", {})
    for name, who in characters(options.characters).items():
        if name in found:
            continue
        found[name] = measure(options, name, who)
        results = {
            "machine": machine | {"threads": options.threads},
            "versions": versions(),
            "settings": {"seeds": options.seeds, "prompts": len(eval_prompts()), "pictures": SETTINGS.images},
            "summary": summary(found),
            "characters": found,
        }
        write_json(options.out, results)
    figures = summary(found)
    print(json.dumps(figures, indent=1))
    good = figures["bound"]["trigger"]["mean"] > LEAST_BOUND and figures["kept_by_bound"] < MOST_KEPT
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
