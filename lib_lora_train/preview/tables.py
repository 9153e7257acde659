"""The settings of a grid, once; the form, the command line and the REST schema are made from these."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.settings.fields import setting

MOST_WEIGHTS, MOST_SEEDS, MOST_PROMPTS = 32, 64, 64
_LARGEST_SEED = 2**32 - 1
_HEAVIEST = 10.0


@dataclass
class GridSettings:
    """What is drawn in every cell of a grid, and at which weights and seeds."""

    weights: str = setting(
        "0, 0.4, 0.6, 0.8, 1",
        "Weights",
        "Of the LoRA, one row or column each; 0 is the picture without it, which the others are judged against.",
    )
    seeds: str = setting(
        "1, 2", "Seeds", "Each cell is drawn once with each; the same everywhere, so that pictures can be compared."
    )
    prompts: str = setting(
        "",
        "Prompts",
        "One in each line. Empty: from the captions of the data set, and templates for its kind of subject.",
    )
    captions: int = setting(
        1,
        "Prompts from captions",
        "So many of the data set's own captions, where the prompts are left to us.",
        minimum=0,
        maximum=16,
    )
    templates: bool = setting(
        True,
        "Prompts from templates",
        "Portrait, whole figure, other clothes, other place, other style, and one without the trigger word, where the prompts are left to us.",
    )
    checkpoints: int = setting(
        10,
        "Checkpoints of a run",
        "At most so many of each run, evenly spread, its last one among them; 0 takes all.",
        minimum=0,
        maximum=1000,
    )
    negative_prompt: str = setting("", "Negative prompt", "What no cell should show.")
    sampler: str = setting("DDIM", "Sampler", "By the host's own name for it.")
    steps: int = setting(20, "Steps", "Of the sampler.", minimum=1, maximum=150)
    cfg_scale: float = setting(7.0, "CFG scale", "How strictly the prompt is followed.", minimum=1, maximum=30)
    width: int = setting(512, "Width", "Of a cell.", unit="px", minimum=64, maximum=2048)
    height: int = setting(512, "Height", "Of a cell.", unit="px", minimum=64, maximum=2048)
    clip_skip: int = setting(
        1, "Clip skip", "As in the WebUI; 2 for models that were trained so.", minimum=1, maximum=12
    )


def weights_of(text: str) -> tuple[float, ...]:
    """Sorted, each once, with the 0 that the others are judged against. Raises UserError("preview.weights")."""
    found = set()
    for part in _parts(text):
        try:
            found.add(round(float(part), 4))
        except ValueError as error:
            raise UserError("preview.weights", "weights", value=part[:40], most=MOST_WEIGHTS) from error
    if not found or len(found) > MOST_WEIGHTS or not all(-_HEAVIEST <= weight <= _HEAVIEST for weight in found):
        raise UserError("preview.weights", "weights", value=text[:40], most=MOST_WEIGHTS)
    return tuple(sorted({0.0, *(weight + 0.0 for weight in found)}))


def seeds_of(text: str) -> tuple[int, ...]:
    """In the order they are written, each once. Raises UserError("preview.seeds")."""
    found = []
    for part in _parts(text):
        if not part.isdecimal() or len(part) > 10 or int(part) > _LARGEST_SEED:
            raise UserError("preview.seeds", "seeds", value=part[:40], most=MOST_SEEDS)
        found.append(int(part))
    if not 1 <= len(found) <= MOST_SEEDS:
        raise UserError("preview.seeds", "seeds", value=text[:40], most=MOST_SEEDS)
    return tuple(dict.fromkeys(found))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace("，", ",").split(",") if part.strip()]
