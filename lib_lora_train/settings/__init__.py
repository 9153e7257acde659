"""The settings of a run: how they are declared (`fields`), what there is (`tables`), how files are read (`reading`)."""

from lib_lora_train.settings.fields import Setting, describe
from lib_lora_train.settings.tables import (
    DatasetSettings,
    LossSettings,
    ModelSettings,
    NetworkSettings,
    OptimizerSettings,
    RunSettings,
    TrainSettings,
)

__all__ = [
    "DatasetSettings",
    "LossSettings",
    "ModelSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "RunSettings",
    "Setting",
    "TrainSettings",
    "describe",
]
