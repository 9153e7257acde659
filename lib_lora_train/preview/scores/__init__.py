"""Scores of a grid's pictures: likeness, obedience, diversity, leak, copying, signs of collapse."""

from lib_lora_train.preview.scores.scoring import Place, Scores, score_cells, tools_wanted
from lib_lora_train.preview.scores.seen import ScoreTools, Seen
from lib_lora_train.preview.scores.tables import ALL, NAMES, SCORES, score_names, total_of
from lib_lora_train.preview.scores.training import TrainingSet

__all__ = [
    "ALL",
    "NAMES",
    "SCORES",
    "Place",
    "ScoreTools",
    "Scores",
    "Seen",
    "TrainingSet",
    "score_cells",
    "score_names",
    "tools_wanted",
    "total_of",
]
