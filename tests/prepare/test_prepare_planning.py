"""Planned settings of a preparation, by kind of subject."""

from __future__ import annotations

import pytest

from lib_lora_train.messages import LANGUAGES
from lib_lora_train.prepare.planning import plan_preparation
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.project import SUBJECT_KINDS

WD = "wd-vit-tagger-v3"


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
def test_every_kind_is_planned_with_reasons(kind: str) -> None:
    plan = plan_preparation(kind, 768, [WD], False)
    settings = plan.settings
    assert (settings.check.size, settings.crop.width, settings.crop.height) == (768, 768, 768)
    assert settings.crop.crop == "aspect" and settings.matte.background == "none" and not settings.crop.mirror
    assert settings.crop.close_ups == (kind in ("person", "character"))
    assert settings.check.medium == ("photo" if kind in ("person", "object") else "auto")
    assert settings.tag.character_threshold == (1.0 if kind == "style" else 0.85)
    for language in LANGUAGES:
        assert len(plan.texts(language)) == len(plan.reasons) >= 5 and all(plan.texts(language))


@pytest.mark.parametrize(
    ("there", "may_download", "wanted"),
    [([], False, []), ([], True, [WD]), (["mine"], False, ["mine"]), (["mine", WD], False, [WD])],
)
def test_taggers_that_there_are(there: list[str], may_download: bool, wanted: list[str]) -> None:
    assert plan_preparation("character", 512, there, may_download).settings.tag.taggers == wanted


def test_the_base_is_not_changed() -> None:
    base = PrepareSettings()
    base.tag.exclude.append("solo")
    plan = plan_preparation("style", 256, [], True, base)
    assert plan.settings.tag.exclude == ["solo"] and base.check.size == 512
