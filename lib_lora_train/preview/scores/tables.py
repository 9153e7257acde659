"""The scores: their names, which way is better, and how they make one number."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lib_lora_train.messages import DEFAULT_LANGUAGE, message

HIGH, LOW = "high", "low"


@dataclass(frozen=True)
class ScoreName:
    """`better` is high or low; `share` is how much it counts for the recommendation, beside the others."""

    name: str
    better: str
    share: float


SCORES = (
    ScoreName("likeness", HIGH, 4.0),
    ScoreName("obedience", HIGH, 4.0),
    ScoreName("diversity", HIGH, 0.5),
    ScoreName("leak", LOW, 0.5),
    ScoreName("copying", LOW, 1.0),
    ScoreName("collapse", LOW, 2.0),
    ScoreName("loss", HIGH, 0.5),
)
NAMES = tuple(score.name for score in SCORES)
ALL = frozenset(NAMES)


def score_names(on: Collection[str], language: str = DEFAULT_LANGUAGE) -> list[dict[str, object]]:
    """As the page shows them: name, label, help, whether high or low is better, and whether it is switched on."""
    return [
        {
            "name": score.name,
            "label": message(f"scores.label_{score.name}", language),
            "help": message(f"scores.help_{score.name}", language),
            "better": score.better,
            "on": score.name in on,
        }
        for score in SCORES
    ]


def total_of(values: Mapping[str, float | None], on: Collection[str]) -> float | None:
    """One number, 0 to 1, of those that are switched on and known. None without any."""
    counted = [
        (score, values[score.name]) for score in SCORES if score.name in on and values.get(score.name) is not None
    ]
    if not counted:
        return None
    good = sum(score.share * (value if score.better == HIGH else 1 - value) for score, value in counted)
    return good / sum(score.share for score, _ in counted)
