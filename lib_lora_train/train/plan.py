"""From pictures, subject, model and memory to a full set of settings, each with a reason that quotes its number.

The rules are those of the tutorials that LoRA makers follow (15 to 50 pictures, so many repeats, so many epochs),
and of `train/memory.py` for what has to fit. Nothing here is random and nothing is loaded.
"""

from __future__ import annotations

import copy
import math
import statistics
from dataclasses import dataclass, field, replace

from lib_lora_train.dataset.held_back import HOLD_BACK_FROM, held_back_count, usual_share
from lib_lora_train.dataset.tag_text import split_tags
from lib_lora_train.errors import UserError
from lib_lora_train.host.hints import TrainingHints
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.settings.tables import TrainSettings
from lib_lora_train.signals import Log
from lib_lora_train.train.memory import (
    FAMILIES,
    GB,
    Family,
    MemoryNeed,
    blocks_to_recompute,
    memory_need,
    recomputable_blocks,
    recomputes_layers,
)
from lib_lora_train.train.plan_model import NAMES, STEP, PlanModel

CHOICES = ("quick", "balanced", "thorough")
FEW_IMAGES, MANY_IMAGES = 15, 50
REPEATS = {"drawn": (15, 30), "photo": (50, 100)}
RANKS = (4, 128)
# Pictures shown in a whole run, from 10 pictures on; optimizer steps are this over the batch size.
SHOWINGS = {"drawn": (1500, 9000), "photo": (3000, 15000)}
SHARE_OF_FREE_MEMORY = 0.9  # the rest is for what no prediction sees: workspaces and gaps between allocations

_AIM = {  # showings wanted, epochs
    "drawn": {"quick": (1500, 5), "balanced": (2800, 8), "thorough": (5000, 12)},
    "photo": {"quick": (3000, 5), "balanced": (5000, 5), "thorough": (9000, 6)},
}
_MOST_EPOCHS = 15
_PLENTY = {"quick": 20, "balanced": 50, "thorough": 50}  # from so many pictures on an epoch does not grow
_BATCH = {"quick": 4, "balanced": 4, "thorough": 2}
_RANK = {"person": 32, "character": 16, "style": 32, "object": 16, "concept": 16}
_RANK_FACTOR = {"quick": 0.5, "balanced": 1.0, "thorough": 2.0}
_TEXT_SHARE = {"person": 0.5, "character": 0.5, "object": 0.5, "concept": 0.3, "style": 0.1}
_BASE_RATE = 1e-4
_WARMUP_SHARE = 0.05
_MOST_KEPT = 255  # tags, of the setting
_ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class PlanFacts:
    """What a plan is made from. Memory in bytes of the device that trains (RAM for a CPU).

    `sizes` are the (width, height) of the pictures in pixels. `loaded_dtype` is fp16, bf16 or fp32 when the model is
    on the device already and trained as it is (the WebUI), so that `free_memory` is what is left beside it; empty
    when the model is still to be loaded. `native` (px) and `model` are the checkpoint's own resolution and sizes where
    they are not its family's, `hints` what it says about training on it. `trigger` is the project's trigger word, which
    captions begin with: one tag, or several with commas between. `sentences`: captions are no lists of tags. `folders`
    are how many of the pictures each folder has; none: all are in one.
    """

    sizes: tuple[tuple[int, int], ...]
    subject: str
    drawn: bool
    family: str
    free_memory: int
    total_memory: int
    device: str = "cuda"  # cuda, mps or cpu
    bfloat16: bool = False
    loaded_dtype: str = ""
    choice: str = "balanced"
    native: int = 0
    model: Family | None = None
    hints: TrainingHints = TrainingHints()
    trigger: str = ""
    sentences: bool = False
    folders: tuple[int, ...] = ()

    @property
    def medium(self) -> str:
        return "drawn" if self.drawn else "photo"


@dataclass(frozen=True)
class Reason:
    """Why a setting (`group.name`) has its value, as a message code with its values."""

    setting: str
    value: object
    code: str
    values: dict[str, object] = field(default_factory=dict)

    def text(self, language: str = DEFAULT_LANGUAGE) -> str:
        return message(self.code, language, value=self.value, **self.values)


@dataclass(frozen=True)
class Plan:
    """Settings with their reasons, in the order a person decides them. `need` is the memory predicted for them."""

    reasons: tuple[Reason, ...]
    warnings: tuple[Log, ...]
    need: MemoryNeed
    budget: int  # bytes the run may take
    steps: int  # optimizer steps
    showings: int  # pictures shown

    @property
    def fits(self) -> bool:
        return self.need.total <= self.budget

    @property
    def changes(self) -> dict[str, object]:
        """The planned values by `group.name`."""
        return {reason.setting: reason.value for reason in self.reasons}

    def applied(self, settings: TrainSettings) -> TrainSettings:
        """A copy of `settings` with the planned values."""
        result = copy.deepcopy(settings)
        for setting, value in self.changes.items():
            group, name = setting.split(".")
            setattr(getattr(result, group), name, value)
        return result


def make_plan(facts: PlanFacts) -> Plan:
    """A full set of settings for `facts`. When nothing fits, the smallest one, with a warning of what would.

    Raises UserError("plan.no_images", "plan.unknown").
    """
    _check(facts)
    return _Planner(facts).plan()


def _check(facts: PlanFacts) -> None:
    if not facts.sizes:
        raise UserError("plan.no_images", "train_data_dir")
    known = {"subject": SUBJECT_KINDS, "choice": CHOICES, "family": tuple(FAMILIES), "device": ("cuda", "mps", "cpu")}
    for name, names in known.items():
        if getattr(facts, name) not in names:
            raise UserError("plan.unknown", name, value=getattr(facts, name), names=", ".join(names))


@dataclass(frozen=True)
class _Fit:
    """What the memory decides."""

    resolution: int
    rank: int
    batch: int
    blocks: tuple[str, ...]
    need: MemoryNeed


class _Planner:
    """One plan. `because` collects a reason per setting."""

    def __init__(self, facts: PlanFacts) -> None:
        self.facts = facts
        self.images = len(facts.sizes)
        self.model = PlanModel.of(facts.family, facts.native, facts.model)
        self.family = self.model.sizes
        self.budget = int(facts.free_memory * SHARE_OF_FREE_MEMORY)
        # SDXL's two text encoders are large, and it learns a subject well without them.
        self.trains_text = facts.family != "sdxl"
        self.held = 0
        self.reasons: list[Reason] = []
        self.warnings: list[Log] = []

    def because(self, setting: str, value: object, code: str, **values: object) -> None:
        self.reasons.append(Reason(setting, value, code, values))

    def warn(self, code: str, **values: object) -> None:
        self.warnings.append(Log(code, values, "warning"))

    def plan(self) -> Plan:
        self._warn_of_number()
        self.precision = self._precision()
        wanted = (self.model.fitting(self._median_side()), self._wanted_rank(), self._wanted_batch())
        fit = self._fit(*wanted)
        self._explain_sizes(wanted, fit)
        self._hold_back()
        steps, showings = self._length(fit.batch)
        self._rates(fit, steps)
        self._captions()
        if fit.need.total > self.budget:
            self._warn_of_memory(fit)
        return Plan(tuple(self.reasons), tuple(self.warnings), fit.need, self.budget, steps, showings)

    # ------------------------------------------------------------------ what the memory decides

    def _precision(self) -> str:
        facts = self.facts
        if facts.loaded_dtype:
            value, code = facts.loaded_dtype, "plan.precision_loaded"
        elif facts.device != "cuda":
            value, code = "fp32", "plan.precision_full"
        else:
            value = "bf16" if facts.bfloat16 else "fp16"
            code = f"plan.precision_{value}"
        self.because("run.mixed_precision", value, code, device=facts.device)
        return value

    def _median_side(self) -> int:
        return int(statistics.median(math.sqrt(width * height) for width, height in self.facts.sizes))

    def _wanted_rank(self) -> int:
        rank = _RANK[self.facts.subject] * _RANK_FACTOR[self.facts.choice]
        if self.facts.family == "sdxl":
            rank /= 2  # the same rank is six times as large there
        if self.images < FEW_IMAGES:
            rank /= 2
        return int(min(max(rank, RANKS[0]), RANKS[1]))

    def _wanted_batch(self) -> int:
        if self.facts.device == "cpu" and not self.model.is_small:
            return 1
        return min(_BATCH[self.facts.choice], 2 if self.images < FEW_IMAGES else 4)

    def _need(self, resolution: int, rank: int, batch: int, blocks: tuple[str, ...] = ()) -> MemoryNeed:
        resident, element = bool(self.facts.loaded_dtype), _ELEMENT[self.precision]
        return memory_need(
            self.family, resolution, resolution, batch, element, rank, self.trains_text, blocks, resident
        )

    def _fit(self, resolution: int, rank: int, batch: int) -> _Fit:
        """The first that fits: smaller batches, then recomputed blocks, then a smaller rank, then fewer pixels."""
        while batch > 1 and self._need(resolution, rank, batch).total > self.budget:
            batch //= 2
        while True:
            fit = self._recomputing(resolution, rank, batch)
            if fit.need.total <= self.budget:
                return fit
            if rank > RANKS[0]:
                rank //= 2
            elif resolution - STEP >= self.model.smallest:
                resolution -= STEP
            else:
                return fit

    def _recomputing(self, resolution: int, rank: int, batch: int) -> _Fit:
        need = self._need(resolution, rank, batch)
        shape, element = self.family.unet, _ELEMENT[self.precision]
        free = self.budget - (need.total - need.activations)
        if self.trains_text:  # what the text encoders keep cannot be recomputed
            without = memory_need(self.family, resolution, resolution, batch, element, rank, False)
            free -= need.activations - without.activations
        blocks = blocks_to_recompute(free, shape, resolution, resolution, batch, element, rank=rank)
        if blocks is None:
            blocks = recomputable_blocks(shape, recomputes_layers(shape))
        chosen = tuple(blocks)
        return _Fit(resolution, rank, batch, chosen, self._need(resolution, rank, batch, chosen))

    def _explain_sizes(self, wanted: tuple[int, int, int], fit: _Fit) -> None:
        facts, native, side = self.facts, self.model.native, self._median_side()
        need = round(fit.need.total / GB, 1)
        budget = round(self.budget / GB, 1)
        if fit.resolution < wanted[0]:
            code = "plan.resolution_memory"
        elif fit.resolution < native:
            code = "plan.resolution_pictures"
        else:
            code = "plan.resolution_own" if self.model.own_native else "plan.resolution_native"
        values = {"family": self.model.name, "native": native, "side": side, "free": budget}
        self.because("dataset.resolution", str(fit.resolution), code, **values)
        if side < fit.resolution:
            self.warn("plan.small_pictures", side=side, resolution=fit.resolution)
        smallest, largest = fit.resolution // 2, fit.resolution * 2
        self.because("dataset.min_bucket_reso", smallest, "plan.bucket_min", resolution=fit.resolution)
        self.because("dataset.max_bucket_reso", largest, "plan.bucket_max", resolution=fit.resolution)

        if fit.rank < wanted[1]:
            code = "plan.rank_memory"
        else:
            code = "plan.rank_few" if self.images < FEW_IMAGES else f"plan.rank_{facts.subject}"
        self.because("network.network_dim", fit.rank, code, wanted=wanted[1], images=self.images, free=budget)
        self.because("network.network_alpha", fit.rank / 2, "plan.alpha", rank=fit.rank)

        fits = fit.need.total <= self.budget
        if fit.batch < wanted[2]:
            code = "plan.batch_memory" if fits else "plan.batch_least"
        elif facts.device == "cpu":
            code = "plan.batch_small" if self.model.is_small else "plan.batch_cpu"
        else:
            code = "plan.batch_wanted"
        self.because("run.train_batch_size", fit.batch, code, need=need, free=budget, wanted=wanted[2])
        total = len(recomputable_blocks(self.family.unet, recomputes_layers(self.family.unet)))
        code = ("plan.blocks_some" if fit.blocks else "plan.blocks_none") if fits else "plan.blocks_all"
        activations = round(fit.need.activations / GB, 2)
        self.because(
            "run.checkpointed_blocks",
            len(fit.blocks),
            code,
            total=total,
            need=need,
            free=budget,
            activations=activations,
        )

    # ------------------------------------------------------------------ how long, how fast

    def _hold_back(self) -> None:
        """Pictures that are not trained on, where there are plenty; `held` is their number."""
        folders = self.facts.folders or (self.images,)
        share = usual_share(folders)
        self.held = sum(held_back_count(count, share) for count in folders)
        code = "plan.hold_back_none" if self.images < HOLD_BACK_FROM else "plan.hold_back_folders"
        values = {"images": self.images, "held": self.held, "low": HOLD_BACK_FROM}
        self.because("dataset.validation_split", share, "plan.hold_back" if share else code, **values)

    def _length(self, batch: int) -> tuple[int, int]:
        """Repeats and epochs; returns optimizer steps and pictures shown."""
        facts, images = self.facts, self.images - self.held
        (aim, epochs), (low, high) = _AIM[facts.medium][facts.choice], REPEATS[facts.medium]
        repeats = min(max(round(aim / (images * epochs)), low), high)
        code = f"plan.repeats_{facts.medium}"
        plenty = _PLENTY[facts.choice]
        if images > plenty:
            repeats, code = max(1, low * plenty // images), "plan.repeats_many"
        showings = images * repeats
        self.because(
            "dataset.repeats", repeats, code, images=images, low=low, high=high, plenty=plenty, showings=showings
        )
        code = f"plan.epochs_{facts.choice}"
        if showings * epochs < SHOWINGS[facts.medium][0]:
            epochs, code = min(_MOST_EPOCHS, -(-SHOWINGS[facts.medium][0] // showings)), "plan.epochs_few"
        steps = -(-showings // batch) * epochs
        self.because("run.max_train_epochs", epochs, code, steps=steps, showings=showings * epochs, images=images)
        self.because("run.save_every_n_epochs", 1, "plan.save", epochs=epochs)
        return steps, showings * epochs

    def _rates(self, fit: _Fit, steps: int) -> None:
        share, factor = _TEXT_SHARE[self.facts.subject], self.facts.hints.rate_factor
        rate = float(f"{_BASE_RATE * math.sqrt(fit.batch) * (factor or 1.0):.2g}")
        text_rate = float(f"{rate * share:.2g}")
        self.because("optimizer.optimizer_type", "AdamW", "plan.optimizer")
        code = "plan.rate" if fit.batch == 1 else "plan.rate_batch"
        code = code if factor is None else "plan.rate_hint"
        values = {"base": f"{_BASE_RATE:g}", "batch": fit.batch, "factor": f"{factor or 1.0:g}"}
        for name in ("learning_rate", "unet_lr"):
            self.because(f"optimizer.{name}", f"{rate:g}", code, **values)
        code = "plan.text_rate" if self.trains_text else "plan.text_rate_unused"
        self.because("optimizer.text_encoder_lr", f"{text_rate:g}", code, share=f"{share:.0%}")
        size = round(self.family.text_parameters * _ELEMENT[self.precision] / GB, 1)
        code = "plan.both_parts" if self.trains_text else "plan.unet_only"
        self.because("network.network_train_unet_only", not self.trains_text, code, size=size)
        warmup = round(steps * _WARMUP_SHARE)
        self.because("optimizer.lr_scheduler", "cosine", "plan.schedule", steps=steps)
        self.because("optimizer.lr_warmup_steps", warmup, "plan.warmup", share=f"{_WARMUP_SHARE:.0%}", steps=steps)
        self.because("loss.min_snr_gamma", 5.0, "plan.min_snr")

    # ------------------------------------------------------------------ captions and pictures

    def _captions(self) -> None:
        facts, hints = self.facts, self.facts.hints
        skips = facts.drawn and facts.family == "sd1"
        code = "plan.clip_skip_drawn" if skips else "plan.clip_skip"
        code = code if hints.clip_skip is None else "plan.clip_skip_hint"
        self.because("model.clip_skip", hints.clip_skip or (2 if skips else 1), code, family=self.model.name)
        if hints.sample_cfg is not None:
            self.because("run.sample_cfg", hints.sample_cfg, "plan.sample_cfg_hint")
        shuffles, kept = facts.drawn and not facts.sentences, min(len(split_tags(facts.trigger)), _MOST_KEPT)
        code = "plan.no_shuffle_sentences" if facts.sentences else "plan.no_shuffle"
        self.because("dataset.shuffle_caption", shuffles, "plan.shuffle" if shuffles else code)
        code = ("plan.keep_trigger" if kept else "plan.keep_no_trigger") if shuffles else "plan.keep_none"
        self.because("dataset.keep_tokens", kept if shuffles else 0, code)
        mirrors = facts.subject == "style"
        self.because("dataset.flip_aug", mirrors, "plan.mirror" if mirrors else "plan.no_mirror")

    def _warn_of_number(self) -> None:
        if self.images < FEW_IMAGES:
            self.warn("plan.few_images", images=self.images, low=FEW_IMAGES, high=MANY_IMAGES)
        elif self.images > MANY_IMAGES:
            self.warn("plan.many_images", images=self.images, low=FEW_IMAGES, high=MANY_IMAGES)
        if self.facts.device == "cpu" and not self.model.is_small:
            self.warn("plan.slow", device=self.facts.device)

    def _warn_of_memory(self, fit: _Fit) -> None:
        """Says what is missing, and what would fit instead."""
        needed = fit.need.total / SHARE_OF_FREE_MEMORY / GB
        values = {"family": self.model.name, "need": math.ceil(needed * 10) / 10}
        values["free"] = round(self.facts.free_memory / GB, 1)
        smaller = "sd1"
        if self.facts.family == smaller or self.facts.loaded_dtype:
            self.warn("plan.does_not_fit", **values)
            return
        other = _Planner(replace(self.facts, family=smaller, native=0, model=None)).plan()
        code = "plan.does_not_fit_but" if other.need.total <= other.budget else "plan.does_not_fit"
        changes = {"other": NAMES[smaller], "other_need": round(other.need.total / GB, 1)}
        self.warn(code, **values, **(changes if code == "plan.does_not_fit_but" else {}))
