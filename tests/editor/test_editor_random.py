"""Any sequence of edits, undo, redo and restarts: what is on the screen is what is on the disk, and as a model has it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.editor import going_back, saving, writing
from lib_lora_train.errors import UserError
from tests.helpers.editing import Office

COUNT = 5
WORDS = ("hat", "red hair", "smile", "Smile", "blue_eyes", "hero")
CAPTIONS = st.lists(st.sampled_from(WORDS), max_size=5).map(", ".join) | st.sampled_from(["A hero smiles.", "x,,y\nz"])
EDITS: tuple[dict[str, Any], ...] = (
    {"kind": "add", "tags": ["hat"]},
    {"kind": "add", "tags": ["late", "later"], "where": "front"},
    {"kind": "remove", "tags": ["smile"]},
    {"kind": "replace", "find": "red hair", "replace": "blonde hair"},
    {"kind": "replace", "find": "(s)(m)", "replace": r"\2\1", "how": "regex"},
    {"kind": "spelling"},
    {"kind": "sort"},
    {"kind": "dedupe"},
)
FILTERS = ("", "tag:hat", "-tag:hat", "none:caption", "smile | name:1*")
STEPS = st.one_of(
    st.tuples(st.sampled_from(EDITS), st.sampled_from(FILTERS)),
    st.tuples(st.integers(1, COUNT), CAPTIONS),
    st.sampled_from(["undo", "redo", "restart", "all back", "all forward"]),
)


@settings(max_examples=30)
@given(
    captions=st.lists(CAPTIONS, min_size=COUNT, max_size=COUNT), steps=st.lists(STEPS, max_size=12), large=st.booleans()
)
def test_disk_screen_and_model_agree(
    tmp_path_factory: pytest.TempPathFactory, captions: list[str], steps: list[Any], large: bool
) -> None:
    """`large`: files are written by the thread, as those of an edit of thousands."""
    office = Office(tmp_path_factory.mktemp("random"), [caption or None for caption in captions])
    done = [office.disk()]
    at = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "AT_ONCE", 0 if large else 200)
        for step in steps:
            if step == "restart":
                assert office.desk.writer.close(60)
                office.open()
            elif step == "undo" and at:
                office.undo()
                at -= 1
            elif step == "redo" and at + 1 < len(done):
                office.redo()
                at += 1
            elif step == "all back":
                going_back.roll_back(office.desk, 0)
                at = 0
            elif step == "all forward" and at + 1 < len(done):
                top = going_back.log(office.desk, 0, 1, "en")["entries"][0]["number"]
                going_back.go_forward(office.desk, top)
                at = len(done) - 1
            elif isinstance(step, tuple):
                changed = _edit(office, step)
                if changed:
                    files = dict(done[at])
                    for name, text in changed.items():
                        files.pop(name, None)
                        if text.strip():
                            files[name] = text.encode()
                    done[at + 1 :] = [files]
                    at += 1
            assert large or {path.name: path.read_bytes() for path in office.folder.glob("*.txt")} == done[at]
            assert office.texts() == [done[at].get(f"{number}.txt", b"").decode() for number in range(1, COUNT + 1)]
            assert office.overview()["left"] is None
        assert office.disk() == done[at]


def _edit(office: Office, step: tuple[Any, Any]) -> dict[str, str]:
    """What it changed, by the names of the caption files."""
    first, second = step
    if isinstance(first, int):
        item = office.desk.item(office.id(first))
        saving.save_caption(office.desk, item.id, saving.Wording(second, None), item.version)
        return {f"{first}.txt": second} if second != item.text else {}
    try:
        shown = office.do(first, second)
    except UserError as error:
        raise AssertionError(error) from error
    return {each["name"].replace(".png", ".txt"): each["after"] for each in shown["pictures"]}
