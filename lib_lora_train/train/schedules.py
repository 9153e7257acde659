"""Learning rates: a rate or a step string in each rate field, times a schedule over the run.

Both are pure functions of the optimizer step, so there is nothing to save and nothing to restore.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import OptimizerSettings
from lib_lora_train.signals import Log

COMPONENTS = {"unet": "unet_lr", "text_encoder": "text_encoder_lr"}
POLYNOMIAL_END_RATE = 1e-7  # where kohya's polynomial schedule ends, whatever the rate it starts from
UNTIL_THE_END = -1
_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+\.")
_STEP = re.compile(r"[0-9]+|-1")


@dataclass(frozen=True)
class RatePlan:
    """Rates with the number of steps after which each ends; the last one ends with the run (-1) or has an end too."""

    pieces: tuple[tuple[float, int], ...]

    def __str__(self) -> str:
        """The step string that parses to this plan."""
        return ", ".join(f"{rate!r}" if end == UNTIL_THE_END else f"{rate!r}:{end}" for rate, end in self.pieces)


def parse_rate(text: str, where: str = "learning_rate") -> RatePlan:
    """Reads `1e-4`, or the WebUI's `0.005:100, 1e-3:1000, 1e-5`: each rate holds up to and including its step.

    A rate without a step, or with step -1, holds to the end, so it must be the last. Raises UserError("rate.empty",
    "rate.number", "rate.step", "rate.order", "rate.unreached") naming the field `where`.
    """
    # Full-width digits, commas and colons come from Chinese and Japanese input methods.
    items = [item.strip() for item in unicodedata.normalize("NFKC", text).split(",")]
    if items == [""]:
        raise UserError("rate.empty", where)
    pieces: list[tuple[float, int]] = []
    for item in items:
        rate_text, colon, step_text = (part.strip() for part in item.partition(":"))
        rate = float(rate_text) if _NUMBER.fullmatch(rate_text) else math.inf
        if not math.isfinite(rate):
            raise UserError("rate.number", where, text=rate_text)
        if colon and not _STEP.fullmatch(step_text):
            raise UserError("rate.step", where, text=step_text)
        end = int(step_text) if colon else UNTIL_THE_END
        if pieces and pieces[-1][1] == UNTIL_THE_END:
            raise UserError("rate.unreached", where, text=item)
        if end != UNTIL_THE_END and end <= (pieces[-1][1] if pieces else 0):
            raise UserError("rate.order", where, step=end)
        pieces.append((rate, end))
    return RatePlan(tuple(pieces))


def rate_at(plan: RatePlan, step: int) -> float:
    """The rate of a 0-based optimizer step. After the last end the last rate holds on (the WebUI would stop there)."""
    for rate, end in plan.pieces:
        if end == UNTIL_THE_END or step < end:
            return rate
    return plan.pieces[-1][0]


def rate_factor(
    schedule: str,
    step: int,
    total_steps: int,
    warmup_steps: int = 0,
    cycles: int = 1,
    power: float = 1.0,
    end_factor: float = 0.0,
) -> float:
    """What a schedule multiplies the rate with at a 0-based optimizer step, as diffusers and kohya compute it.

    `cycles` counts the restarts of cosine_with_restarts, `power` and `end_factor` (end rate / rate) shape polynomial.
    `constant` has no warm-up. Raises ValueError for an unknown schedule.
    """
    if schedule == "constant":
        return 1.0
    if step < warmup_steps:
        return step / warmup_steps
    if schedule == "constant_with_warmup":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
    if schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    if schedule == "cosine_with_restarts":
        return 0.0 if progress >= 1.0 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))
    if schedule == "polynomial":
        left = max(0.0, 1.0 - progress)
        return (1.0 - end_factor) * left**power + end_factor
    raise ValueError(f"unknown schedule {schedule!r}")


def needs_no_schedule(optimizer_type: str) -> bool:
    """Schedule-free optimizers average instead of decaying; like kohya we leave their rate alone."""
    return optimizer_type.endswith("ScheduleFree")


class RateSchedule:
    """The rates of a run. `plans` holds the step string of each component, `unet` and `text_encoder`."""

    def __init__(self, settings: OptimizerSettings, total_steps: int) -> None:
        """Raises UserError as `parse_rate`, naming `learning_rate`, `unet_lr` or `text_encoder_lr`."""
        self.settings = settings
        self.total_steps = total_steps
        base = parse_rate(settings.learning_rate, "learning_rate")
        self.plans = {
            name: parse_rate(text, field) if (text := getattr(settings, field)).strip() else base
            for name, field in COMPONENTS.items()
        }
        # kohya takes the end rate relative to `learning_rate`, for every component.
        start = base.pieces[0][0]
        self._end_factor = min(1.0, POLYNOMIAL_END_RATE / start) if start > 0 else 0.0

    def factor(self, step: int) -> float:
        """What the schedule multiplies all rates with at a 0-based optimizer step."""
        settings = self.settings
        if needs_no_schedule(settings.optimizer_type):
            return 1.0
        return rate_factor(
            settings.lr_scheduler,
            step,
            self.total_steps,
            settings.lr_warmup_steps,
            settings.lr_scheduler_num_cycles,
            settings.lr_scheduler_power,
            self._end_factor,
        )

    def at(self, step: int) -> dict[str, float]:
        """The rates of a 0-based optimizer step, by component."""
        factor = self.factor(step)
        return {name: rate_at(plan, step) * factor for name, plan in self.plans.items()}

    def notes(self) -> list[Log]:
        """What of the settings has no effect or an unexpected one, to be said before the first step."""
        settings, notes = self.settings, []
        if needs_no_schedule(settings.optimizer_type):
            if settings.lr_scheduler != "constant" or settings.lr_warmup_steps:
                values = {"optimizer": settings.optimizer_type, "steps": settings.lr_warmup_steps}
                notes.append(Log("rate.no_schedule", values, "warning"))
        elif settings.lr_scheduler == "constant":
            if settings.lr_warmup_steps:
                notes.append(Log("rate.no_warmup", {"steps": settings.lr_warmup_steps}, "warning"))
        elif settings.lr_warmup_steps >= self.total_steps:
            values = {"steps": settings.lr_warmup_steps, "total": self.total_steps}
            notes.append(Log("rate.all_warmup", values, "warning"))
        fields = {
            name: field if getattr(settings, field).strip() else "learning_rate" for name, field in COMPONENTS.items()
        }
        for field, plan in {fields[name]: plan for name, plan in self.plans.items()}.items():
            rate, end = plan.pieces[-1]
            if UNTIL_THE_END < end < self.total_steps:
                notes.append(Log("rate.ends_early", {"field": field, "rate": rate, "step": end}))
        return notes
