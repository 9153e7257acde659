"""Shares and means with their 95% intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959964  # two-sided 95% of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95% interval, all in 0..1."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(number, 4) for name, number in vars(self).items()}


def share(hits: Sequence[bool]) -> Estimate:
    """The share of pictures that show something, with Wilson's interval (1927), which holds for few pictures too."""
    count, found = len(hits), sum(hits)
    value = found / count
    centre = (value + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(value * (1 - value) / count + _Z**2 / (4 * count**2))
    return Estimate(value, max(0.0, centre - half), min(1.0, centre + half))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of one number per picture in 0..1, with the normal interval: pictures, not traits, are independent."""
    value = statistics.fmean(values)
    half = _Z * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 1.0
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))
