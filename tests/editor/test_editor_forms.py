"""Tags and sentences of one project: each form keeps its own captions, whatever is done between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.editor import forms, going_back, saving
from lib_lora_train.errors import UserError
from tests.helpers.editing import Office

TAGS = ["hero, red hair", "hero, smile", ""]
OTHER = {"tags": "sentences", "sentences": "tags"}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, ["hero, red hair", "hero, smile", None])


def save(office: Office, number: int, text: str) -> None:
    item = office.desk.item(office.id(number))
    saving.save_caption(office.desk, item.id, saving.Wording(text, None), item.version)


def switch(office: Office, form: str) -> None:
    forms.change(office.desk, form)
    assert office.overview()["form"] == form


def test_the_other_form_comes_back(office: Office) -> None:
    assert office.overview()["form"] == "tags"
    switch(office, "sentences")
    assert office.texts() == TAGS  # there are no sentences yet
    save(office, 1, "A hero with red hair.")
    save(office, 3, "Nobody is here.")
    switch(office, "tags")
    assert office.texts() == [*TAGS[:2], "Nobody is here."]  # of the third there were no tags
    save(office, 2, "hero, frown")
    switch(office, "sentences")
    assert office.texts() == ["A hero with red hair.", "hero, frown", "Nobody is here."]
    switch(office, "tags")
    assert office.texts() == ["hero, red hair", "hero, frown", "Nobody is here."]


def test_it_is_one_step_of_undo(office: Office) -> None:
    before = office.disk()
    switch(office, "sentences")
    save(office, 1, "A hero.")
    switch(office, "tags")
    assert office.overview()["undo"]["title"] == "Captions as tags"
    office.undo()
    assert office.overview()["form"] == "sentences" and office.texts()[0] == "A hero."
    office.redo()
    assert office.overview()["form"] == "tags" and office.disk() == before
    going_back.roll_back(office.desk, 0)
    assert office.overview()["form"] == "tags" and office.disk() == before


def test_what_was_undone_does_not_come_back_by_the_other_form(office: Office) -> None:
    switch(office, "sentences")
    switch(office, "tags")
    save(office, 1, "later")
    switch(office, "sentences")  # keeps "later" ...
    for _ in range(3):
        office.undo()  # ... which is undone with it, back to sentences
    save(office, 2, "A smile.")
    switch(office, "tags")
    assert office.texts() == TAGS


def test_a_caption_that_was_emptied_stays_empty(office: Office) -> None:
    switch(office, "sentences")
    save(office, 1, "")
    switch(office, "tags")
    assert office.texts() == TAGS
    switch(office, "sentences")
    assert office.texts() == ["", *TAGS[1:]] and "1.txt" not in office.disk()


def test_moved_pictures_keep_theirs(office: Office) -> None:
    switch(office, "sentences")
    save(office, 1, "A hero.")
    shutil.move(office.folder, office.folder.with_name("3_hero"))
    office.folder = office.folder.with_name("3_hero")
    switch(office, "tags")
    assert office.texts() == TAGS


def test_kept_captions_that_are_damaged_change_nothing(office: Office) -> None:
    switch(office, "sentences")
    save(office, 1, "A hero.")
    for path in (office.project.folder / "history" / "forms").glob("*.json"):
        path.write_text('{"dataset/10_hero/1.png": "forged"}', encoding="utf-8")
    switch(office, "tags")
    assert office.texts()[0] == "A hero."
    office.undo()
    assert office.overview()["form"] == "sentences"


def test_a_form_that_there_is_not(office: Office) -> None:
    with pytest.raises(UserError, match='there is no "verses"'):
        forms.change(office.desk, "verses")
    forms.change(office.desk, "tags")  # it is that already
    assert office.overview()["undo"] is None


STEPS = st.lists(
    st.one_of(
        st.just("switch"),
        st.tuples(st.integers(1, 3), st.sampled_from(["", "a, b", "Somebody smiles.", "c"])),
        st.sampled_from(["undo", "redo"]),
    ),
    max_size=14,
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_any_sequence(tmp_path_factory: pytest.TempPathFactory, steps: list[str | tuple[int, str]]) -> None:
    """As a model has it that knows nothing of files: what each form holds, and a list of states for undo."""
    office = Office(tmp_path_factory.mktemp("forms"), ["hero, red hair", "hero, smile", None])
    form, shown = "tags", list(TAGS)
    kept: dict[str, dict[int, str]] = {"tags": {}, "sentences": {}}
    done = [(form, shown, kept)]
    at = 0
    for step in steps:
        if step == "undo" and at:
            office.undo()
            at -= 1
        elif step == "redo" and at + 1 < len(done):
            office.redo()
            at += 1
        elif step == "switch":
            switch(office, OTHER[form])
            back = kept[OTHER[form]]
            own = {place: text for place, text in enumerate(shown) if text != back.get(place, "")}
            shown = [back.get(place, text) for place, text in enumerate(shown)]
            kept, form = {**kept, form: own}, OTHER[form]
            done[at + 1 :] = [(form, shown, kept)]
            at += 1
        elif isinstance(step, tuple):
            number, text = step
            save(office, number, text)
            if shown[number - 1] != text:
                shown = [text if place == number - 1 else old for place, old in enumerate(shown)]
                done[at + 1 :] = [(form, shown, kept)]
                at += 1
        form, shown, kept = done[at]
        assert (office.overview()["form"], office.texts()) == (form, shown)
    assert office.disk() == {f"{place}.txt": text.encode() for place, text in enumerate(shown, 1) if text}
