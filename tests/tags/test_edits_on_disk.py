"""A batch on a real folder: exactly the files that were shown change, and undoing gives every byte back."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora_train.tags.edits import EditContext, edit_of
from lib_lora_train.tags.place import Place
from lib_lora_train.tags.proposing import propose

_PICTURE = BytesIO()
Image.new("L", (8, 8)).save(_PICTURE, "PNG")
FILES = [
    None,
    b"",
    b" \r\n",
    b"hat, smile",
    b"hat , smile,,hat\r\n\r\nsecond, hat\r\n",
    b"\xef\xbb\xbfhat, long_hair\n",
    "帽子, 微笑, hat".encode("gb18030"),
    "hat, é".encode("utf-16"),
    b"caf\xe9, hat",
    b"hat, \x00smile",
    b"A girl with a hat sits on the old bench.\nmore",
    b"\xff\xfe\x00\xd8",
]
EDITS = [
    {"kind": "add", "tags": ["smile", "new"], "where": "front"},
    {"kind": "remove", "tags": ["*hat"]},
    {"kind": "remove", "tags": ["hat", "smile", "second"]},
    {"kind": "replace", "find": "hat", "replace": "cap"},
    {"kind": "dedupe"},
    {"kind": "sort", "by": "alphabet"},
    {"kind": "spelling"},
    {"kind": "case", "to": "upper"},
    {"kind": "write", "text": ""},
    {"kind": "write", "text": "<b>hat</b>\r\n\u202e"},
]


def state(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".txt", ".caption")}


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(FILES), st.sampled_from([None, None, b"hat, x"])), min_size=1, max_size=4),
    st.lists(st.sampled_from(EDITS), min_size=1, max_size=3),
)
def test_what_is_shown_is_written_and_taken_back(
    captions: list[tuple[bytes | None, bytes | None]], edits: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (text, other) in enumerate(captions):
            (folder / f"{number}.png").write_bytes(_PICTURE.getvalue())
            for ending, data in ((".txt", text), (".caption", other)):
                if data is not None:
                    (folder / f"{number}{ending}").write_bytes(data)
        place = Place.of_folder(folder)
        states = [state(folder)]
        for values in edits:
            sheet = place.read()
            proposal = propose(sheet.items, edit_of(values), EditContext(sheet.counts))
            shown = {change.item.picture: change.after for change in proposal.changes}
            place.history.append(place.history.changes_for(shown), edit_of(values).title())
            assert place.history.finish().left == ()
            now = state(folder)
            touched = {file.rpartition(".")[0] for file in {*now, *states[-1]} if now.get(file) != states[-1].get(file)}
            assert {f"{stem}.png" for stem in touched} == shown.keys()
            read = {item.picture: item.text for item in place.read(sheet).items}
            assert {picture: read[picture].rstrip("\r\n") for picture in shown} == {
                picture: text.rstrip("\r\n") for picture, text in shown.items()
            }
            states.append(now)
        for before in reversed(states[:-1]):
            place.history.undo(place.history.head)
            place.history.finish()
            assert state(folder) == before


def test_unreadable_captions_are_never_written(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(_PICTURE.getvalue())
    (tmp_path / "1.txt").write_bytes(FILES[-1] or b"")
    items = Place.of_folder(tmp_path).read().items
    for values in EDITS:
        assert propose(items, edit_of(values), EditContext()).changes == []
    with pytest.raises(UnicodeDecodeError):
        (tmp_path / "1.txt").read_text(encoding="utf-16")
