"""The trigger word of a project: first in every caption, in project.json, and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_lora_train.editor import going_back, saving, triggers
from lib_lora_train.errors import UserError
from lib_lora_train.project import edit_project, open_project
from tests.helpers.editing import PNG, Office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, ["hero, red hair", "smile, hero, hat", None, "A sentence about Hero."])


def word(office: Office) -> str:
    return open_project(office.root, office.project.id).trigger_word


def test_a_new_word_takes_the_place_of_the_old_one_everywhere(office: Office) -> None:
    before = office.disk()
    triggers.change(office.desk, " zork ")
    assert word(office) == office.overview()["trigger"]["word"] == "zork"
    assert [text.split(",")[0] for text in office.texts()[:3]] == ["zork"] * 3
    assert office.texts()[:2] == ["zork, red hair", "zork, smile, hat"] and "zork" in office.texts()[3]
    assert office.overview()["trigger"]["everywhere"] == 0
    assert office.overview()["undo"]["title"] == "Trigger word “zork” put first"
    office.undo()
    assert word(office) == "hero" and office.disk() == before
    office.redo()
    assert word(office) == "zork"
    going_back.roll_back(office.desk, 0)
    assert word(office) == "hero" and office.disk() == before


def test_the_same_word_is_put_first_where_it_is_not(office: Office) -> None:
    triggers.change(office.desk, "hero")
    assert office.texts()[1] == "hero, smile, hat" and office.texts()[2] == "hero"
    triggers.change(office.desk, "hero")
    assert office.overview()["undo"]["number"] == 1  # there was nothing to do


def test_no_word(office: Office) -> None:
    triggers.change(office.desk, "")
    assert word(office) == "" and office.texts()[:2] == ["red hair", "smile, hat"]
    assert office.overview()["trigger"] == {"word": "", "notes": [], "everywhere": 0}
    assert office.overview()["undo"]["title"] == "Trigger word “hero” removed"
    triggers.change(office.desk, "a,b , c")
    assert word(office) == "a, b, c" and office.texts()[0] == "a, b, c, red hair"


def test_pictures_for_regularization_have_none(office: Office) -> None:
    folder = office.project.folder / "regularization" / "1_girl"
    folder.mkdir()
    (folder / "r.png").write_bytes(PNG)
    (folder / "r.txt").write_text("girl", encoding="utf-8")
    office.desk.sheet(now=True)
    triggers.change(office.desk, "zork")
    assert (folder / "r.txt").read_text(encoding="utf-8") == "girl"
    assert office.overview()["trigger"]["everywhere"] == 0 and triggers.check(office.desk, "x", "en")["missing"] == 4


def test_undo_leaves_a_word_that_was_set_elsewhere_since(office: Office) -> None:
    triggers.change(office.desk, "zork")
    edit_project(open_project(office.root, office.project.id), trigger_word="other")
    office.undo()
    assert word(office) == "other" and office.texts()[0] == "hero, red hair"


def test_what_is_said_of_words(office: Office) -> None:
    checked = triggers.check(office.desk, "long hair", "en")
    assert checked["tokens"] == 2 and checked["missing"] == 4 and any("known tag" in note for note in checked["notes"])
    assert triggers.check(office.desk, "", "en") == {"notes": [], "tokens": -1, "missing": 0}
    assert triggers.check(office.desk, "hero", "en")["missing"] < 4
    office.counter = None
    office.open()
    assert triggers.check(office.desk, "zork", "en")["tokens"] == -1
    for wrong in ("x" * 201, "a\nb", "a\x00b"):
        with pytest.raises(UserError, match="cannot be a trigger word"):
            triggers.change(office.desk, wrong)


def test_captions_without_it_are_counted(office: Office) -> None:
    item = office.desk.item(office.id(1))
    saving.save_caption(office.desk, item.id, saving.Wording("red hair", None), item.version)
    before = office.overview()["trigger"]["everywhere"]
    triggers.change(office.desk, "hero")
    assert before >= 2 and office.overview()["trigger"]["everywhere"] == 0
