"""A journal of which a part is damaged: said in a sentence, put aside, and everything else goes on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_lora_train.collection.history import Entry, History, TextChange
from lib_lora_train.collection.history.records import read_changes, write_entry
from lib_lora_train.collection.locking import settle
from lib_lora_train.errors import UserError
from lib_lora_train.messages import message
from lib_lora_train.project import Project
from lib_lora_train.signals import Log
from tests.collection.tools import captions, new_project, png, upload

TITLE = Log("history.caption")
KEY = "dataset/10_hero/a.txt"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path)
    upload(made, "a.png", png())
    for number in range(1, 4):
        edit(made, str(number))
        settle(made)
    return made


def edit(project: Project, text: str) -> Entry:
    mine = History.of_project(project)
    return mine.append(mine.changes_for({KEY.replace(".txt", ".png"): text}), TITLE)


def folder(project: Project) -> Path:
    return project.folder / "history/tags"


def entry_file(project: Project, number: int) -> Path:
    return next(folder(project).glob(f"{number:08d}-*.entry"))


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-12] + bytes([data[-12] ^ 8]) + data[-11:]


def bomb(data: bytes) -> bytes:
    return data.partition(b"\n")[0] + b"\n" + zlib.compress(b"x" * 50_000_000)


def header(**values: object) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        line, _, rest = data.partition(b"\n")
        return json.dumps({**json.loads(line), **values}).encode() + b"\n" + rest

    return change


@pytest.mark.parametrize(
    "damage",
    [
        torn, flipped, bomb, lambda _: b"", lambda _: b"\x00" * 500, lambda _: b"[1]\n", lambda _: b"[" * 99_999,
        header(version=2), header(number=7), header(title={"code": "no"}), header(note=5), header(time=None),
        header(size=-1), header(size=2**60), header(digest=0), header(count="x"),
    ],
)  # fmt: skip
def test_a_damaged_entry(project: Project, damage: Callable[[bytes], bytes]) -> None:
    path = entry_file(project, 3)
    path.write_bytes(damage(path.read_bytes()))
    mine = History.of_project(project)
    with pytest.raises(UserError) as caught:
        mine.undo(3)
        mine.log()
    assert caught.value.code == "history.damaged" and caught.value.sentence("zh-CN")
    assert captions(project) == {"a.png": "3"} and (folder(project) / "damaged" / path.name).is_file()
    again = History.of_project(project)
    assert [entry.number for entry in again.log()[1]] == [2, 1]
    assert again.head == 2 and again.trouble is not None and again.trouble.code == "history.damaged"
    again.undo(2)
    assert again.finish().left == (KEY,), "which holds what the damaged entry wrote"
    edit(project, "4")
    assert captions(project) == {"a.png": "4"}
    assert again.trouble is None and again.head == 4
    again.undo(4)
    assert captions(project) == {"a.png": "3"}


def test_a_damaged_entry_among_others_is_stepped_over(project: Project) -> None:
    entry_file(project, 2).write_bytes(b"damaged")
    mine = History.of_project(project)
    assert [entry.number for entry in mine.log()[1]] == [3, 1]
    assert mine.undo(3).number == 3 and mine.head == 1
    assert captions(project) == {"a.png": "2"}
    mine.undo(1)
    assert mine.finish().left == (KEY,) and captions(project) == {"a.png": "2"}


def test_a_rollback_over_a_damaged_entry_does_nothing_at_first(project: Project) -> None:
    path = entry_file(project, 2)
    path.write_bytes(flipped(path.read_bytes()))
    mine = History.of_project(project)
    with pytest.raises(UserError) as caught:
        mine.rollback(0)
    assert caught.value.code == "history.damaged" and mine.head == 3
    mine.rollback(0)
    assert mine.head == 0 and captions(project) == {"a.png": "2"}


@pytest.mark.parametrize("damage", [torn, lambda _: b"", None])
def test_a_damaged_entry_that_is_not_written_yet(project: Project, damage: Callable[[bytes], bytes] | None) -> None:
    edit(project, "4")
    path = entry_file(project, 4)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    assert captions(project) == {"a.png": "3"}
    mine = History.of_project(project)
    assert mine.settled and mine.trouble is not None
    mine.log()
    assert mine.head == 3 and mine.undo(3).number == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"version": 1}', b'{"version": 9, "number": 1}', b"[" * 99_999,
     b'{"version":1,"number":5,"top":3,"steps":[],"sitting":"","active":0,"trouble":""}',
     b'{"version":1,"number":3,"top":3,"steps":[["../../x",true]],"sitting":"","active":0,"trouble":""}',
     b'{"version":1,"number":3,"top":3,"steps":[5],"sitting":"","active":0,"trouble":""}'],
)  # fmt: skip
def test_a_damaged_head(project: Project, content: bytes) -> None:
    (folder(project) / "head.json").write_bytes(content)
    assert captions(project) == {"a.png": "3"}
    mine = History.of_project(project)
    assert mine.head == 3 and mine.trouble is not None and mine.trouble.where == "head.json"
    assert (folder(project) / "damaged/head.json").read_bytes() == content
    mine.undo(3)
    assert captions(project) == {"a.png": "2"} and mine.trouble is None


def test_a_lost_head(project: Project) -> None:
    """Nothing tells what was in force: a journal begins anew, and the numbers go on."""
    (folder(project) / "head.json").unlink()
    mine = History.of_project(project)
    assert (mine.head, captions(project)) == (0, {"a.png": "3"})
    entry = edit(project, "4")
    assert captions(project) == {"a.png": "4"} and mine.head == entry.number == 4
    assert len(list((folder(project) / "dropped").iterdir())) == 3
    mine.undo(entry.number)
    assert captions(project) == {"a.png": "3"}


@pytest.mark.parametrize(
    "key", ["notes.txt", "../../notes.txt", "dataset/10_hero/../../notes.txt", "dataset/x\ud800.txt"]
)
def test_an_entry_with_foreign_keys_touches_nothing(project: Project, key: str) -> None:
    (project.folder / "notes.txt").write_bytes(b"1")
    path = entry_file(project, 3)
    write_entry(path, Entry(3, 1.0, "", TITLE, 1, {}), [TextChange(key, b"2", b"1")])
    assert read_changes(path)
    with pytest.raises(UserError) as caught:
        History.of_project(project).undo(3)
    assert caught.value.code == "history.damaged"
    assert History.of_project(project).finish().left == ()
    assert (project.folder / "notes.txt").read_bytes() == b"1"


@pytest.mark.parametrize(
    "title",
    [{"code": "no.such", "values": {}}, {"code": "prepare.crops", "values": {}}, {"code": 5, "values": {"a": 1}}],
)
def test_a_title_of_another_version(project: Project, title: object) -> None:
    path = entry_file(project, 3)
    path.write_bytes(header(title=title)(path.read_bytes()))
    shown = History.of_project(project).log()[1][0].title
    assert shown == Log("history.unknown") and message(shown.code, "zh-CN")
    History.of_project(project).undo(3)


def test_thousands_of_entries(tmp_path: Path) -> None:
    """The log reads what it shows and no more; damage further down is of no concern to it."""
    base = tmp_path / "pictures"
    base.mkdir()
    mine = History(base, base / ".lora_train/history")
    mine.append([], TITLE)
    place = base / ".lora_train/history"
    for number in range(2, 5_001):
        (place / f"{number:08d}-0123abcd.entry").write_bytes(b"damaged")
    for number in range(4_901, 5_001):
        write_entry(place / f"{number:08d}-0123abcd.entry", Entry(number, 1.0, "s", TITLE, 1, {}), [])
    head = json.loads((place / "head.json").read_bytes())
    (place / "head.json").write_text(json.dumps({**head, "number": 5_000, "top": 5_000}))
    again = History(base, place)
    total, entries = again.log(0, 100)
    assert (total, entries[0].number, entries[-1].number, len(entries)) == (5_000, 5_000, 4_901, 100)
    assert not (place / "damaged").exists() and again.undo(5_000).number == 5_000
    assert again.log(100, 1)[1] == [] and again.head == 4_999
