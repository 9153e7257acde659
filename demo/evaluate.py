"""Measure the demo checkpoint with the judge: does the base obey its tags, and can a LoRA teach the character?

python -m demo.evaluate base  --sheet base.png
python -m demo.evaluate lora  --steps 300 --seed 1 --sheet lora.png
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from demo.attributes import ATTRIBUTES, FREE, NONE, TRAITS, Portrait, sample
from demo.captions import NAMES, caption, join, named_characters
from demo.character import CHARACTER, SETTINGS, Settings, eval_prompts
from demo.models import load_parts, sample_latents
from demo.probe import Probe
from demo.taggers import Reader
from demo.training import CHECKPOINT, decode

Shares = dict[str, float]


class Model:
    """The checkpoint, with pictures and the judge's reading of them."""

    def __init__(self, folder: Path = CHECKPOINT) -> None:
        self.parts = load_parts(folder)
        self.judge = Reader(CHECKPOINT.parent / "judge")

    def pictures(self, prompts: list[str], seeds: list[int], guidance: float, steps: int) -> np.ndarray:
        """uint8 RGB (n, 128, 128, 3)."""
        tokenizer, text_encoder, unet, vae = self.parts
        latents = sample_latents(tokenizer, text_encoder, unet, prompts, seeds, guidance, steps)
        return decode(vae, latents).permute(0, 2, 3, 1).numpy()


def share_shown(seen: list[Portrait], asked: list[Portrait]) -> Shares:
    """Per attribute the share of pictures that show what was asked for (where something was asked for)."""
    result = {}
    for attribute in ATTRIBUTES:
        pairs = [
            (s[attribute], a[attribute]) for s, a in zip(seen, asked, strict=True) if a.get(attribute, NONE) != NONE
        ]
        if pairs:
            result[attribute] = round(sum(s == a for s, a in pairs) / len(pairs), 3)
    return result


def save_sheet(pictures: np.ndarray, path: Path, columns: int = 8) -> None:
    rows = len(pictures) // columns
    grid = pictures[: rows * columns].reshape(rows, columns, *pictures.shape[1:]).transpose(0, 2, 1, 3, 4)
    Image.fromarray(grid.reshape(rows * pictures.shape[1], columns * pictures.shape[2], 3)).save(path)


def obedience(model: Model, count: int, guidance: float, sheet: Path | None) -> dict[str, Shares]:
    """All tags given; only one to three tags given; named characters by name and free tags."""
    rng, names = random.Random(77), named_characters()
    portraits = [sample(rng) for _ in range(count)]
    few = [{a: p[a] for a in rng.sample(list(ATTRIBUTES), rng.randint(1, 3))} for p in portraits]
    called = [NAMES[i % len(NAMES)] for i in range(count)]
    named = [{**p, **names[name]} for p, name in zip(portraits, called, strict=True)]
    prompts = {
        "all tags": ([caption(p, rng) for p in portraits], portraits),
        "few tags": ([join([v for v in p.values() if v != NONE], rng) for p in few], few),
        "by name": ([join([n, *(p[a] for a in FREE)], rng) for p, n in zip(named, called, strict=True)], named),
    }
    result = {}
    for kind, (texts, asked) in prompts.items():
        pictures = model.pictures(texts, list(range(count)), guidance, SETTINGS.sample_steps)
        if sheet and kind != "few tags":
            save_sheet(pictures[:48], sheet.with_name(f"{sheet.stem}-{kind.replace(' ', '-')}.png"))
        result[kind] = share_shown(model.judge.read(pictures), asked)
        print(kind, result[kind], flush=True)
    return result


def character(model: Model, settings: Settings, trigger: bool, seeds: int, sheet: Path | None) -> Shares:
    """The evaluation prompts at several seeds: traits, all traits at once, free tags."""
    prompts = [(text, free) for text, free in eval_prompts(trigger) for _ in range(seeds)]
    numbers = [seed for _ in eval_prompts() for seed in range(seeds)]
    pictures = model.pictures([text for text, _ in prompts], numbers, settings.guidance, settings.sample_steps)
    seen = model.judge.read(pictures)
    if sheet:
        save_sheet(pictures[:: max(1, seeds // 8)], sheet)
    shares = share_shown(seen, [{**CHARACTER, **free} for _, free in prompts])
    together = sum(all(s[trait] == CHARACTER[trait] for trait in TRAITS) for s in seen) / len(seen)
    return {
        "bound": round(sum(shares[trait] for trait in TRAITS) / len(TRAITS), 3),
        "all": round(together, 3),
        "free": round(sum(shares[attribute] for attribute in FREE) / len(FREE), 3),
        **shares,
    }


def lora(model: Model, settings: Settings, seed: int, seeds: int, sheet: Path | None) -> dict[str, Shares]:
    """Train the probe, then measure: without it, with it, and with it but without the trigger word."""
    result = {
        "without": character(model, settings, True, seeds, sheet and sheet.with_name(sheet.stem + "-without.png"))
    }
    probe, start = Probe(model.parts, settings, seed), time.monotonic()
    probe.train()
    print(f"{settings.steps} steps in {time.monotonic() - start:.1f} s", flush=True)
    result["with"] = character(model, settings, True, seeds, sheet and sheet.with_name(sheet.stem + "-with.png"))
    result["leak"] = character(model, settings, False, seeds, sheet and sheet.with_name(sheet.stem + "-leak.png"))
    probe.detach()
    for kind, shares in result.items():
        print(kind, shares, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("base", "lora"))
    parser.add_argument("--count", type=int, default=96, help="pictures per kind of prompt (base)")
    parser.add_argument("--seeds", type=int, default=16, help="seeds per prompt (lora)")
    parser.add_argument("--seed", type=int, default=0, help="of the LoRA's training")
    parser.add_argument("--sheet", type=Path, help="save sample sheets under this name")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    for field in fields(Settings):
        kind = str if field.name == "scheduler" else type(getattr(SETTINGS, field.name))
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=getattr(SETTINGS, field.name))
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    settings = replace(SETTINGS, **{field.name: getattr(arguments, field.name) for field in fields(Settings)})
    model = Model()
    if arguments.what == "base":
        numbers = obedience(model, arguments.count, settings.guidance, arguments.sheet)
    else:
        numbers = lora(model, settings, arguments.seed, arguments.seeds, arguments.sheet)
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
