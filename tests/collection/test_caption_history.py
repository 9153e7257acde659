"""The undo journal of captions: what it does step by step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import add_concept, edit_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.history import Entry, History, TextChange, caption_changes, journal, writing
from lib_lora_train.collection.locking import locked, settle
from lib_lora_train.collection.moving import move_pictures
from lib_lora_train.collection.trash import delete_pictures
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Log
from tests.collection.tools import captions, leftovers, new_project, png, upload

TITLE = Log("history.caption")
HOME = "dataset/10_hero"
NAMES = ("a", "b", "c")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path)
    for number, name in enumerate(NAMES):
        upload(made, f"{name}.png", png(number))
    return made


def history(project: Project) -> History:
    return History.of_project(project)


def files(project: Project) -> dict[str, bytes]:
    home = project.folder / HOME
    return {path.name: path.read_bytes() for path in home.iterdir() if path.suffix in (".txt", ".caption")}


def edit(project: Project, note: dict[str, object] | None = None, **texts: str) -> Entry:
    mine = history(project)
    return mine.append(mine.changes_for({f"{HOME}/{name}.png": text for name, text in texts.items()}), TITLE, note)


def code(caught: pytest.ExceptionInfo[UserError]) -> str:
    assert caught.value.sentence("zh-CN") and caught.value.remedy("en")
    return caught.value.code


def test_files_follow_the_entry(project: Project) -> None:
    entry = edit(project, a="one", b="two")
    assert (entry.number, entry.count, entry.title, entry.in_force) == (1, 2, TITLE, True)
    assert files(project) == {} and not history(project).settled
    assert {change.key: change.after for change in history(project).pending} == {
        f"{HOME}/a.txt": b"one",
        f"{HOME}/b.txt": b"two",
    }
    told: list[tuple[int, int]] = []
    outcome = history(project).finish(lambda done, total: told.append((done, total)))
    assert (outcome.written, outcome.left, told[-1]) == (2, (), (2, 2))
    assert files(project) == {"a.txt": b"one", "b.txt": b"two"}
    assert history(project).settled and history(project).pending == [] and leftovers(project) == []
    assert history(project).finish().written == 0


def test_whoever_reads_or_changes_the_project_sees_the_truth(project: Project) -> None:
    edit(project, a="one")
    assert captions(project)["a.png"] == "one"
    edit(project, a="two")
    settle(project)
    assert files(project) == {"a.txt": b"two"}
    edit(project, a="three")
    told: list[tuple[int, int]] = []
    with locked(project, lambda done, total: told.append((done, total))):
        assert files(project) == {"a.txt": b"three"}
    assert told == [(1, 1)]


def test_undo_redo_rollback_forward(project: Project) -> None:
    states = [files(project)]
    for texts in ({"a": "1", "b": "1"}, {"a": "2"}, {"b": "", "c": "3"}, {"a": "4"}):
        edit(project, **texts)
        history(project).finish()
        states.append(files(project))
    mine = history(project)
    assert [mine.undo(4).number, mine.undo(3).number] == [4, 3]
    mine.finish()
    assert files(project) == states[2] and mine.head == 2
    assert not mine.log()[1][0].in_force and mine.log()[1][2].in_force
    for wrong in (4, 2, 0, -1, 7):
        with pytest.raises(UserError) as caught:
            mine.redo(wrong)
        assert code(caught) == "history.not_newest"
    assert mine.redo(3).in_force
    mine.finish()
    assert files(project) == states[3]
    assert [entry.number for entry in mine.rollback(0)] == [3, 2, 1]
    mine.finish()
    assert files(project) == states[0] == {} and mine.head == 0
    assert [entry.number for entry in mine.forward(4)] == [1, 2, 3, 4]
    mine.finish()
    assert files(project) == states[4]
    assert [entry.number for entry in mine.rollback(2)] == [4, 3] and mine.rollback(2) == []
    mine.finish()
    assert files(project) == states[2]
    for call in (lambda: mine.undo(4), lambda: mine.undo(0), lambda: mine.rollback(3), lambda: mine.forward(2)):
        with pytest.raises(UserError) as caught:
            call()
        assert code(caught) == "history.not_newest"
    assert [end and end.number for end in mine.ends()] == [2, 3]


def test_something_else_instead_of_a_redo(project: Project) -> None:
    """What was undone is put aside, its number is not given again, and files it had begun to change are brought on."""
    edit(project, a="1")
    edit(project, a="2", b="2")
    (project.folder / HOME / "a.txt").write_bytes(b"2")  # as a process that died had written it
    mine = history(project)
    mine.undo(2)
    entry = edit(project, c="3")
    assert entry.number == 3 and [each.number for each in mine.log()[1]] == [3, 1]
    assert len(list((project.folder / "history/tags/dropped").glob("00000002-*.entry"))) == 1
    assert {change.key[-5:]: change.after for change in mine.pending} == {"a.txt": b"1", "b.txt": None, "c.txt": b"3"}
    assert mine.finish().left == ()
    assert files(project) == {"a.txt": b"1", "c.txt": b"3"}
    assert mine.undo(3).number == 3 and mine.head == 1 and mine.undo(1).number == 1
    with pytest.raises(UserError):
        mine.redo(2)
    assert mine.redo(1).number == 1 and mine.redo(3).number == 3


def test_undone_before_it_was_written(project: Project) -> None:
    edit(project, a="1")
    mine = history(project)
    mine.finish()
    edit(project, a="2", b="2")
    mine.undo(2)
    (project.folder / HOME / "b.txt").write_bytes(b"2")
    outcome = mine.finish()
    assert (outcome.written, outcome.left, files(project)) == (1, (), {"a.txt": b"1"})


@pytest.mark.parametrize("settled", [True, False])
def test_changed_by_another_program(project: Project, settled: bool) -> None:
    """Noticed and left, whether before an entry is written or before it is undone; later entries do not mind."""
    mine = history(project)
    edit(project, a="1", b="1")
    if settled:
        mine.finish()
    (project.folder / HOME / "a.txt").write_bytes(b"theirs")
    if settled:
        mine.undo(1)
    outcome = mine.finish()
    assert outcome.left == mine.left(1) == (f"{HOME}/a.txt",)
    assert files(project) == {"a.txt": b"theirs"} | ({} if settled else {"b.txt": b"1"})
    assert mine.settled and captions(project)["a.png"] == "theirs"
    if settled:
        mine.redo(1)
        assert mine.finish().left == (f"{HOME}/a.txt",)
    edit(project, a="mine")
    assert mine.finish().left == () and files(project) == {"a.txt": b"mine", "b.txt": b"1"}
    assert (mine.left(1), mine.left(2)) == ((f"{HOME}/a.txt",), ())
    mine.rollback(0)
    assert mine.finish().left == (f"{HOME}/a.txt",)
    assert files(project) == {"a.txt": b"theirs"}, "as undoing one after the other would leave it"
    (project.folder / HOME / "a.txt").write_bytes(b"1")
    mine.forward(1)
    mine.finish()
    mine.undo(1)
    assert mine.finish().left == () == mine.left(1)


@pytest.mark.parametrize("text", ["mine", ""])
def test_changed_at_the_very_moment(project: Project, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Between the look at a file and its renaming."""
    first = write_caption(project, list_pictures(project)[0].id, "first", "")
    real = writing._prepare

    def slow(path: Path, data: bytes | None) -> object:
        path.write_bytes(b"theirs")
        return real(path, data)

    monkeypatch.setattr(writing, "_prepare", slow)
    with pytest.raises(UserError) as caught:
        write_caption(project, first.id, text, first.version)
    assert code(caught) == "collection.caption_changed" and caught.value.values["theirs"] == "theirs"
    assert captions(project)["a.png"] == "theirs" and history(project).settled and leftovers(project) == []


def test_a_change_of_what_is_not_there(project: Project) -> None:
    """By whoever did not look at the truth: left out, nothing lost."""
    mine = history(project)
    edit(project, a="1")
    mine.append([TextChange(f"{HOME}/a.txt", b"0", b"2")], TITLE)
    assert mine.finish().left == (f"{HOME}/a.txt",) and files(project) == {"a.txt": b"1"}
    head = mine.head
    edit(project, b="1")
    with pytest.raises(UserError) as caught:
        mine.append([], TITLE, expected_head=head)
    assert code(caught) == "history.changed"
    with pytest.raises(ValueError, match="twice"):
        mine.append([TextChange(f"{HOME}/a.txt", b"1", b"2"), TextChange(f"{HOME}/a.txt", b"2", b"3")], TITLE)


def test_pictures_that_went_away_or_elsewhere(project: Project) -> None:
    mine = history(project)
    edit(project, a="1", b="1", c="1")
    mine.finish()
    ids = {picture.name: picture.id for picture in list_pictures(project)}
    other = add_concept(project, "other", 3, False)
    move_pictures(project, [ids["b.png"]], other.id)
    delete_pictures(project, [ids["c.png"]])
    home = next(each for each in list_concepts(project) if each.name == "hero")
    edit_concept(project, home.id, repeats=7)
    mine.undo(1)
    assert mine.finish().left == (f"{HOME}/c.txt",)
    assert captions(project) == {"a.png": "", "b.png": ""}
    mine.redo(1)
    outcome = mine.finish()
    assert captions(project) == {"a.png": "1", "b.png": ""}
    assert set(outcome.left) == {f"{HOME}/b.txt", f"{HOME}/c.txt"}, "without a text to know it by, a name is not enough"


def test_a_folder_that_is_gone_is_not_made_again(project: Project) -> None:
    edit(project, a="1")
    shutil.rmtree(project.folder / HOME)
    mine = history(project)
    assert mine.finish().left == (f"{HOME}/a.txt",) and not (project.folder / HOME).exists()
    shutil.rmtree(project.folder)
    with pytest.raises(UserError) as caught:
        mine.append([TextChange(f"{HOME}/a.txt", None, b"2")], TITLE)
    assert code(caught) == "file.write" and not project.folder.exists()
    assert (mine.head, mine.settled, mine.log(), mine.state(), mine.left(1)) == (0, True, (0, []), {}, ())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_links_are_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(png())
    (outside / "x.txt").write_bytes(b"theirs")
    (project.folder / "dataset/5_link").symlink_to(outside)
    (project.folder / HOME / "a.txt").symlink_to(outside / "x.txt")
    (project.folder / HOME / "b.txt").mkdir()
    mine = history(project)
    keys = ["dataset/5_link/x.txt", f"{HOME}/a.txt", f"{HOME}/b.txt"]
    mine.append(
        [TextChange(key, text, b"mine") for key, text in zip(keys, (b"theirs", b"theirs", None), strict=True)], TITLE
    )
    assert mine.finish().left == tuple(keys)
    assert (outside / "x.txt").read_bytes() == b"theirs" and (project.folder / HOME / "a.txt").is_symlink()


@pytest.mark.parametrize(
    "key",
    [
        "", "x.txt", "dataset/x.txt", "images/10_hero/x.txt", "dataset/10_hero/x.png", "dataset/10_hero/.txt",
        "dataset/10_hero/../x.txt", "dataset/../x/x.txt", "/dataset/10_hero/x.txt", "dataset//x.txt",
        "dataset/10_hero/a/x.txt", "dataset/10_hero/x.txt/", "dataset/10_hero/x\x00.txt", "dataset/.cache/x.txt",
        "dataset/10_hero/x\ud800.txt", "dataset/10_hero/x.TXT", "project.json",
    ],
)  # fmt: skip
def test_keys_that_are_none(project: Project, key: str) -> None:
    with pytest.raises(UserError) as caught:
        history(project).append([TextChange(key, None, b"1")], TITLE)
    assert code(caught) == "path.outside" and history(project).head == 0


def test_a_name_that_is_too_long(project: Project) -> None:
    with pytest.raises(UserError) as caught:
        history(project).append([TextChange(f"{HOME}/{'x' * 252}.txt", None, b"1")], TITLE)
    assert code(caught) == "file.write"


def test_a_plain_folder(tmp_path: Path) -> None:
    base = tmp_path / "pictures"
    (base / "sub" / "below").mkdir(parents=True)
    for place in ("", "sub/", "sub/below/"):
        (base / f"{place}x.png").write_bytes(png())
        (base / f"{place}x.caption").write_bytes(b"old")
    mine = History(base, base / ".lora_train" / "history")
    changes = mine.changes_for({"x.png": "new", "sub/x.png": "", "sub/below/x.png": "old"})
    assert changes == [
        TextChange("x.txt", None, b"new"),
        TextChange("sub/x.caption", b"old", None),
        TextChange("sub/below/x.txt", None, b"old"),
    ]
    mine.append(changes, TITLE)
    mine.finish()
    assert (base / "x.txt").read_bytes() == b"new" and not (base / "sub/x.caption").exists()
    mine.undo(1)
    mine.finish()
    texts = sorted(path.relative_to(base).as_posix() for path in base.rglob("x.*") if path.suffix != ".png")
    assert texts == ["sub/below/x.caption", "sub/x.caption", "x.caption"]
    with pytest.raises(UserError):
        mine.append([TextChange(".lora_train/history/x.txt", None, b"1")], TITLE)


def test_caption_changes_are_those_of_saving(project: Project) -> None:
    home = project.folder / HOME
    assert caption_changes(home, "a.png", " \n") == []
    assert caption_changes(home, "a.png", "x\n") == [TextChange(f"{HOME}/a.txt", None, b"x\n")]
    (home / "a.txt").write_bytes("猫".encode("gbk"))
    (home / "a.caption").write_bytes(b"x")
    assert caption_changes(home, "a.png", "猫") == [TextChange(f"{HOME}/a.txt", "猫".encode("gbk"), "猫".encode())]
    assert caption_changes(home, "a.png", "", home) == [
        TextChange("a.txt", "猫".encode("gbk"), None),
        TextChange("a.caption", b"x", None),
    ]


def test_captions_of_the_viewer_can_be_undone(project: Project) -> None:
    picture = list_pictures(project)[0]
    first = write_caption(project, picture.id, "first", "")
    write_caption(project, picture.id, "first", first.version)
    write_caption(project, picture.id, " ", first.version)
    mine = history(project)
    total, entries = mine.log()
    assert (total, [entry.title for entry in entries], mine.settled) == (2, [TITLE, TITLE], True)
    mine.undo(2)
    assert captions(project)["a.png"] == "first"


def test_a_caption_that_cannot_be_written_is_not_written_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = list_pictures(project)[0]

    def fail(*_: object) -> None:
        raise UserError("file.write", "a.txt", reason="full")

    monkeypatch.setattr(journal, "bring", fail)
    with pytest.raises(UserError) as caught:
        write_caption(project, picture.id, "lost", "")
    assert code(caught) == "file.write"
    assert captions(project)["a.png"] == "", "the project can be read meanwhile"
    monkeypatch.undo()
    assert captions(project)["a.png"] == "" and history(project).head == 0 and history(project).settled


def test_log_and_state(project: Project) -> None:
    edit(project, {"form": "sentences"}, a="1")
    edit(project, None, a="2")
    edit(project, {"form": "tags", "more": [1]}, a="3")
    mine = history(project)
    total, entries = mine.log(1, 1)
    assert (total, [entry.number for entry in entries]) == (3, [2])
    assert mine.log(5, 9) == (3, []) and mine.log(-1, -1) == (3, [])
    assert mine.state() == {"form": "tags", "more": [1]}
    mine.undo(3)
    assert mine.state() == history(project).state() == {"form": "sentences"}
    assert mine.changes(3) == (TextChange(f"{HOME}/a.txt", b"2", b"3"),)
    with pytest.raises(UserError) as caught:
        mine.changes(9)
    assert code(caught) == "history.unknown_entry"
    entry = mine.append([], TITLE, {"form": "tags"})
    assert entry.count == 0 and mine.state() == {"form": "tags"}
    mine.undo(entry.number)
    assert mine.state() == {"form": "sentences"}


def test_sittings(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(journal.time, "time", lambda: clock[0])
    mine = history(project)
    assert mine.sitting() == (0, 0)
    names = []
    for minutes in (0, 29, 29, 31, 1):
        clock[0] += minutes * 60
        names.append(edit(project, a=str(clock[0])).sitting)
    assert len(set(names[:3])) == 1 and names[3] == names[4] != names[2]
    assert mine.sitting() == (2, 3)
    mine.new_sitting()
    assert edit(project, a="x").sitting not in names and mine.sitting() == (1, 5)
    mine.rollback(mine.sitting()[1])
    assert (mine.head, mine.sitting()) == (5, (2, 3))
    clock[0] -= 10_000
    assert edit(project, a="y").sitting not in names, "the clock was set back"
