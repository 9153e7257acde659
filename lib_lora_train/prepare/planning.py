"""Settings of a preparation that suit a kind of subject, each with its reason."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.signals import Log

_OF_A_FIGURE = ("person", "character")
_PHOTOGRAPHED = ("person", "object")  # mostly; characters, styles and concepts are both


@dataclass(frozen=True)
class PreparePlan:
    settings: PrepareSettings
    reasons: tuple[Log, ...]

    def texts(self, language: str = DEFAULT_LANGUAGE) -> list[str]:
        return [message(reason.code, language, **reason.values) for reason in self.reasons]


def plan_preparation(
    kind: str, size: int, taggers: Sequence[str], may_download: bool, base: PrepareSettings | None = None
) -> PreparePlan:
    """What a preparation does unless somebody says otherwise.

    `size` is the side in pixels that the checkpoint trains at; `taggers` are those that are there. Where there is none
    and nothing may be downloaded, no tags are planned. What a plan does not decide is taken from `base`.
    """
    settings, reasons = copy.deepcopy(base) if base is not None else PrepareSettings(), []
    settings.check.size = settings.crop.width = settings.crop.height = size
    reasons.append(Log("prepare.plan_size", {"size": size}))

    if kind in _PHOTOGRAPHED:
        settings.check.medium = "photo"
        reasons.append(Log("prepare.plan_photos"))

    settings.crop.crop, settings.crop.trim = "aspect", True
    reasons.append(Log("prepare.plan_aspect"))
    settings.crop.close_ups = kind in _OF_A_FIGURE
    if settings.crop.close_ups:
        reasons.append(Log("prepare.plan_close_ups"))
    settings.crop.mirror = False

    settings.matte.background = "none"
    reasons.append(Log("prepare.plan_background_style" if kind == "style" else "prepare.plan_background"))

    if taggers or may_download:
        chosen = [name for name in settings.tag.taggers if name in taggers] or list(taggers[:1])
        settings.tag.taggers = chosen or settings.tag.taggers[:1] or ["wd-vit-tagger-v3"]
        reasons.append(Log("prepare.plan_tags", {"tagger": settings.tag.taggers[0]}))
    else:
        settings.tag.taggers = []
        reasons.append(Log("prepare.plan_no_tags"))
    if kind == "style":
        settings.tag.character_threshold = 1.0
        reasons.append(Log("prepare.plan_style_tags"))
    settings.tag.existing = "keep"
    reasons.append(Log("prepare.plan_existing"))
    return PreparePlan(settings, tuple(reasons))
