"""The health check of a set of pictures: measured once, judged as often as wishes change."""

from lib_lora_train.prepare.health.findings import CODES, FIXES, Finding, Report
from lib_lora_train.prepare.health.judge import HealthWishes, Item, judge
from lib_lora_train.prepare.health.measures import MEASURES_VERSION, Measures, measure

__all__ = [
    "CODES",
    "FIXES",
    "MEASURES_VERSION",
    "Finding",
    "HealthWishes",
    "Item",
    "Measures",
    "Report",
    "judge",
    "measure",
]
