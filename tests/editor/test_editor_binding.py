"""What to bind: own decisions outlive the advice, and applying does what was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.collection.bound import bound_tags
from lib_lora_train.editor import binding
from lib_lora_train.errors import UserError
from lib_lora_train.project import edit_project, open_project
from tests.helpers.editing import Office

CAPTIONS = [f"hero, red hair, blue eyes, {free}, armor" for free in ("smile", "frown", "smile, outdoors", "night")]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, list(CAPTIONS))


def shown(office: Office, outfit: bool | None = None) -> dict[str, Any]:
    return binding.show(office.desk, outfit, "en")


def decided(office: Office, outfit: bool | None = None) -> dict[str, str]:
    return {row["tag"]: row["decision"] for row in shown(office, outfit)["rows"]}


def test_advice_and_what_it_does(office: Office) -> None:
    before = office.disk()
    advice = decided(office)
    assert {tag for tag, decision in advice.items() if decision == "bind"} == {"red hair", "blue eyes"}
    assert "hero" not in advice and advice["smile"] == advice["armor"] == "keep"
    assert decided(office, outfit=True)["armor"] == "bind" and decided(office)["armor"] == "keep"
    assert "red hair" in shown(office)["summary"]
    binding.apply(office.desk, None, shown(office)["digest"])
    assert office.texts()[0] == "hero, smile, armor"
    assert office.overview()["undo"]["count"] == 4
    office.undo()
    assert office.disk() == before


def test_what_is_bound_is_remembered_and_undone_with_the_edit(office: Office) -> None:
    assert bound_tags(office.project) == ()
    binding.apply(office.desk, None, "")
    assert set(bound_tags(office.project)) == {"red hair", "blue eyes"}
    binding.choose(office.desk, {"armor": "bind"}, None)
    binding.apply(office.desk, None, "")
    assert set(bound_tags(office.project)) == {"red hair", "blue eyes", "armor"}
    binding.apply(office.desk, None, "")  # nothing is left to bind: no step of undo either
    office.undo()
    assert set(bound_tags(office.project)) == {"red hair", "blue eyes"}
    office.undo()
    assert bound_tags(office.project) == ()


def test_own_decisions_are_kept(office: Office) -> None:
    binding.choose(office.desk, {"red hair": "keep", "smile": "bind"}, True)
    office.open()
    assert shown(office)["outfit"] and decided(office) == {
        "red hair": "keep", "blue eyes": "bind", "armor": "bind", "smile": "bind",
        "frown": "keep", "outdoors": "keep", "night": "keep",
    }  # fmt: skip
    binding.choose(office.desk, {"red hair": "bind"}, True)  # as advised: that one is forgotten
    assert decided(office)["smile"] == "bind"
    assert binding._read(office.desk).decisions == {"smile": "bind"}
    binding.choose(office.desk, {}, False)
    assert shown(office)["outfit"] is False and decided(office)["smile"] == "keep"


def test_nothing_is_applied_but_what_was_shown(office: Office) -> None:
    digest, before = shown(office)["digest"], office.disk()
    binding.choose(office.desk, {"smile": "bind"}, False)
    with pytest.raises(UserError, match="no longer as they were"):
        binding.apply(office.desk, None, digest)
    digest = shown(office)["digest"]
    office.put(1, "hero, red hair")
    with pytest.raises(UserError, match="no longer as they were"):
        binding.apply(office.desk, None, digest)
    assert office.disk() == before | {"1.txt": b"hero, red hair"}


def test_another_model_changes_nothing_of_what_was_shown(office: Office) -> None:
    digest, revision, counter = shown(office)["digest"], office.desk.sheet().revision, office.counter
    office.counter = None  # none is found, or it is being made
    office.open()
    assert office.desk.sheet().revision != revision and shown(office)["digest"] == digest
    office.counter = counter
    office.open()
    binding.apply(office.desk, None, digest)
    assert "red hair" not in office.texts()[0]


def test_a_style_keeps_all(office: Office) -> None:
    edit_project(open_project(office.root, office.project.id), kind="style")
    advice = shown(office)
    assert not advice["applies"] and {row["decision"] for row in advice["rows"]} == {"keep"}
    binding.apply(office.desk, None, "")
    assert office.overview()["undo"] is None


def test_rules_of_the_users_hold_from_the_moment_they_are_written(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib_lora_train.editor import lexicon

    monkeypatch.setattr(lexicon, "_LOOKED", 0.0)
    assert decided(office)["night"] == "keep"
    rules = office.root / "binding.toml"
    rules.write_text(
        '[category.mine]\ngroup = "other"\ntheme = "mark"\ntags = ["night"]\nbind = ["character"]\nshare = 0.0\n'
    )
    assert decided(office)["night"] == "bind"
    rules.write_text("[category.mine]\ncolour = 1\n")
    with pytest.raises(UserError) as caught:
        shown(office)
    assert caught.value.code == "traits.unknown" and caught.value.where == "binding.toml"
    office.do({"kind": "add", "tags": ["hat"]})  # an edit that needs no rules goes on
    rules.unlink()
    assert decided(office)["night"] == "keep"


def test_decisions_that_are_none(office: Office) -> None:
    for wrong in ([], {"x": "burn"}, {"x": 1}, {"": "bind"}, {"x" * 301: "bind"}):
        with pytest.raises(UserError, match="not decisions by tag"):
            binding.choose(office.desk, wrong, False)
    with pytest.raises(UserError, match="at most"):
        binding.choose(office.desk, {f"tag {number}": "bind" for number in range(5_001)}, False)
    for content in ("{", "[]", '{"outfit": 1, "choices": {"smile": "burn"}}', "null"):
        office.project.path("binding.json").write_text(content)
        assert decided(office)["smile"] == "keep"
