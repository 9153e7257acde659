"""Deleting, bringing back, moving; and a process that dies in the middle of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.collection import locking
from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import add_concept, delete_concept, edit_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.moving import move_pictures
from lib_lora_train.collection.thumbnails import thumbnail
from lib_lora_train.collection.trash import delete_pictures, empty_trash, list_trash, restore
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import captions, codes, leftovers, new_project, png, tree, upload, zip_of
from tests.helpers.pictures import encoded, gradient, write_picture

ROOT = Path(__file__).parents[2]
MASK = encoded(gradient(48, 32).convert("L"), "PNG")
FILES = {
    "10_a/x.png": png(1), "10_a/x.txt": b"one", "masks/10_a/x.png": MASK, "10_a/y.png": png(2),
    "5_b/z.png": png(3), "5_b/z.txt": b"three", "reg/1_c/r.png": png(4),
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return filled(tmp_path)


def filled(root: Path) -> Project:
    project = new_project(root)
    assert codes(upload(project, "set.zip", zip_of(FILES))) == []
    return project


def ids(project: Project, *names: str) -> list[str]:
    return [picture.id for picture in list_pictures(project) if not names or picture.name in names]


def concept(project: Project, name: str) -> str:
    return next(each.id for each in list_concepts(project) if each.name == name)


def test_all_that_belongs_together_goes_and_comes_back(project: Project) -> None:
    before = tree(project)
    trash_id = delete_pictures(project, ids(project, "x.png", "z.png"))
    assert sorted(tree(project)) == [
        "dataset/10_a/y.png", "images/r.png", "images/y.png", "regularization/1_c/r.png",
    ]  # fmt: skip
    entry = list_trash(project)[0]
    assert (entry.id, entry.title, entry.count, entry.kind) == (trash_id, "z.png", 2, "pictures")
    assert entry.as_dict().keys() >= {"trash_id", "title", "count", "deleted"}
    assert restore(project, trash_id) == 2
    assert tree(project) == before
    assert list_trash(project) == [] and list((project.folder / ".trash").iterdir()) == []
    assert (project.folder / "images/x.png").samefile(project.folder / "dataset/10_a/x.png")


def test_restoring_twice_is_said(project: Project) -> None:
    trash_id = delete_pictures(project, ids(project, "x.png"))
    restore(project, trash_id)
    with pytest.raises(UserError) as caught:
        restore(project, trash_id)
    assert caught.value.code == "collection.unknown_trash" and "brought back already" in caught.value.remedy()


def test_a_concept_comes_back_with_everything_in_it(project: Project) -> None:
    folder = project.folder / "dataset/10_a"
    (folder / "notes.md").write_text("mine", encoding="utf-8")
    (folder / ".hidden").write_text("mine", encoding="utf-8")
    (folder / "more").mkdir()
    (folder / "more/deep.txt").write_text("mine", encoding="utf-8")
    before = tree(project)
    trash_id = delete_concept(project, concept(project, "a"))
    assert not folder.exists() and not (project.folder / "masks/10_a").exists()
    assert [(entry.title, entry.count, entry.kind) for entry in list_trash(project)] == [("a", 2, "concept")]
    assert restore(project, trash_id) == 2
    assert tree(project) == before


def test_an_empty_concept_comes_back(project: Project) -> None:
    made = add_concept(project, "empty", 3)
    trash_id = delete_concept(project, made.id)
    assert restore(project, trash_id) == 0
    assert made in list_concepts(project)


def test_a_taken_name_gives_way(project: Project) -> None:
    """All four files of a picture get the same new name."""
    trash_id = delete_pictures(project, ids(project, "x.png"))
    upload(project, "x.png", png(50), concept(project, "b"))
    assert restore(project, trash_id) == 1
    assert {"dataset/10_a/x-2.png", "dataset/10_a/x-2.txt", "masks/10_a/x-2.png", "images/x-2.png"} <= tree(
        project
    ).keys()
    assert captions(project)["x-2.png"] == "one"
    assert (project.folder / "images/x-2.png").read_bytes() == png(1)
    assert (project.folder / "images/x.png").read_bytes() == png(50)


def test_the_concept_is_found_under_other_repeats(project: Project) -> None:
    trash_id = delete_pictures(project, ids(project, "x.png"))
    edit_concept(project, concept(project, "a"), repeats=3)
    restore(project, trash_id)
    assert {"dataset/3_a/x.png", "dataset/3_a/x.txt", "masks/3_a/x.png"} <= tree(project).keys()
    again = delete_pictures(project, ids(project, "x.png"))
    delete_concept(project, concept(project, "a"))
    restore(project, again)
    assert "dataset/3_a/x.png" in tree(project)


def test_unknown_pictures_stop_the_whole(project: Project) -> None:
    before = tree(project)
    for call in (delete_pictures, lambda project, ids: move_pictures(project, ids, concept(project, "b"))):
        for chosen, code in (([*ids(project), "0" * 16], "unknown_picture"), ([], "nothing_chosen")):
            with pytest.raises(UserError) as caught:
                call(project, chosen)
            assert caught.value.code == f"collection.{code}" and caught.value.sentence("zh-CN")
    assert tree(project) == before


def test_what_two_share_stays_with_the_one_that_stays(project: Project) -> None:
    """Pictures put there by hand: x.png and x.jpg with one caption."""
    folder = project.folder / "dataset/10_a"
    (folder / "x.jpg").write_bytes(encoded(gradient(), "JPEG"))
    trash_id = delete_pictures(project, ids(project, "x.jpg"))
    assert {"dataset/10_a/x.txt", "masks/10_a/x.png", "images/x.png"} <= tree(project).keys()
    restore(project, trash_id)
    assert "dataset/10_a/x-2.jpg" in tree(project)


def test_moving_takes_caption_and_mask_along(project: Project) -> None:
    moved = move_pictures(project, ids(project, "x.png"), concept(project, "b"))
    assert moved == ids(project, "x.png")
    assert {"dataset/5_b/x.png", "dataset/5_b/x.txt", "masks/5_b/x.png", "images/x.png"} <= tree(project).keys()
    assert captions(project)["x.png"] == "one"
    assert move_pictures(project, moved, concept(project, "b")) == moved
    move_pictures(project, moved, concept(project, "c"))
    assert {"regularization/1_c/x.png", "regularization/1_c/x.txt"} <= tree(project).keys()


def test_moving_onto_a_name_renames_all(project: Project) -> None:
    target = project.folder / "dataset/5_b"
    (target / "x.txt").write_text("somebody's", encoding="utf-8")
    move_pictures(project, ids(project, "x.png"), concept(project, "b"))
    assert (target / "x.txt").read_text(encoding="utf-8") == "somebody's"
    assert {"dataset/5_b/x-2.png", "dataset/5_b/x-2.txt", "masks/5_b/x-2.png", "images/x-2.png"} <= tree(project).keys()


def test_an_error_half_way_moves_everything_back(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(project)
    real, calls = Path.rename, []

    def rename(self: Path, target: Path) -> Path:
        calls.append(self.name)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return real(self, target)

    for call in (
        lambda: delete_pictures(project, ids(project)),
        lambda: delete_concept(project, concept(project, "a")),
        lambda: move_pictures(project, ids(project, "x.png", "y.png"), concept(project, "b")),
    ):
        calls.clear()
        monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(UserError, match="No space left"):
            call()
        monkeypatch.undo()
        assert tree(project) == before and list_trash(project) == [] and leftovers(project) == []


KILLED = """
import os, sys
from pathlib import Path
from lib_lora_train.project import open_project
from lib_lora_train.collection.concepts import edit_concept, delete_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.trash import delete_pictures
root, project_id, action, moment = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
project = open_project(root, project_id)
first = list_concepts(project)[1].id
ids = [picture.id for picture in list_pictures(project)]
real, calls = Path.rename, []
def rename(self, target):
    calls.append(self)
    if len(calls) > moment:
        os._exit(9)
    return real(self, target)
Path.rename = rename
{"rename": lambda: edit_concept(project, first, "new"), "delete": lambda: delete_pictures(project, ids),
 "concept": lambda: delete_concept(project, first)}[action]()
"""


@pytest.mark.parametrize("action", ["rename", "delete", "concept"])
@pytest.mark.parametrize("moment", [0, 1, 4])
def test_a_killed_process_leaves_nothing_half(tmp_path: Path, action: str, moment: int) -> None:
    project = filled(tmp_path)
    before = tree(project)
    command = [sys.executable, "-c", KILLED, str(tmp_path), project.id, action, str(moment)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finished = done.returncode == 0
    assert done.returncode in (0, 9), done.stderr
    assert finished == (action == "rename" and moment == 4)
    names = [each.name for each in list_concepts(project)]
    after = tree(project)
    if action == "rename":
        assert names == ["b", "new", "c"]
        assert {"dataset/10_new/x.png", "dataset/10_new/x.txt", "masks/10_new/x.png"} <= after.keys()
        assert sorted(after.values()) == sorted(before.values())
    else:
        entry = list_trash(project)[0]
        assert restore(project, entry.id) == entry.count == (4 if action == "delete" else 2)
        assert tree(project) == before
    assert leftovers(project) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[[1]]", '[["../x", "y"]]', '[["a", "/etc/x"]]', '[["images/..", "b"]]', "null"]
)
def test_a_foreign_journal_does_nothing(project: Project, content: str) -> None:
    before = tree(project)
    (project.folder / locking.JOURNAL).write_text(content, encoding="utf-8")
    assert len(list_pictures(project)) == 4
    assert tree(project) == before and leftovers(project) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(version=2),
        lambda record: record.pop("items"),
        lambda record: record["items"][0].__setitem__(0, "../../outside"),
        lambda record: record["items"][0].__setitem__(0, "10_a/../../.."),
        lambda record: record["items"][0].__setitem__(2, "../x.png"),
        lambda record: record["items"][0].__setitem__(3, ["/etc/passwd"]),
        lambda record: record["items"][0].__setitem__(4, ".."),
        lambda record: record["items"][0].__setitem__(5, "a/b"),
        lambda record: record.update(others=[["dataset/../..", "x"]]),
        lambda record: record.update(others=[["images/10_a", "x"]]),
        lambda record: record.update(title=3),
        lambda record: record.update(deleted="soon"),
    ],
)
def test_a_changed_record_is_refused(project: Project, change) -> None:
    trash_id = delete_pictures(project, ids(project, "x.png"))
    path = project.folder / ".trash" / trash_id / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    before = tree(project)
    assert list_trash(project) == []
    with pytest.raises(UserError) as caught:
        restore(project, trash_id)
    assert caught.value.code == "collection.trash_damaged"
    assert tree(project) == before


def test_emptying_is_for_good(project: Project) -> None:
    delete_pictures(project, ids(project, "x.png"))
    delete_concept(project, concept(project, "b"))
    assert empty_trash(project) == 2
    assert list_trash(project) == [] and list((project.folder / ".trash").iterdir()) == []
    assert empty_trash(project) == 0


def test_thumbnails_go_with_their_pictures(project: Project) -> None:
    chosen = ids(project, "x.png")
    path = thumbnail(project, chosen[0], 256)
    other = thumbnail(project, ids(project, "y.png")[0], 256)
    trash_id = delete_pictures(project, chosen)
    assert not path.exists() and other.exists()
    restore(project, trash_id)
    assert thumbnail(project, chosen[0], 256) == path and path.is_file()


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from(["delete", "concept", "move", "restore", "upload", "caption", "repeats"]), max_size=8),
    st.randoms(),
)
def test_nothing_is_ever_lost(actions: list[str], draws) -> None:
    """Whatever is done in whatever order: the bytes of every picture and the words of every caption are somewhere."""
    with tempfile.TemporaryDirectory() as name:
        project = filled(Path(name))
        for number, action in enumerate(actions):
            concepts, pictures, trash = list_concepts(project), list_pictures(project), list_trash(project)
            if action == "upload":
                upload(project, "x.png", png(100 + number))
            elif action == "restore" and trash:
                restore(project, draws.choice(trash).id)
            elif action == "concept" and concepts:
                delete_concept(project, draws.choice(concepts).id)
            elif action == "repeats" and concepts:
                edit_concept(project, draws.choice(concepts).id, repeats=20 + number)
            elif pictures:
                picture = draws.choice(pictures)
                if action == "delete":
                    delete_pictures(project, [picture.id])
                elif action == "move":
                    move_pictures(project, [picture.id], draws.choice(concepts).id)
                elif action == "caption" and not picture.version:
                    write_caption(project, picture.id, f"words {number}", "")
        for entry in list_trash(project):
            restore(project, entry.id)
        everything = tree(project).values()
        found = list_pictures(project)
        uploads = actions.count("upload")
        assert len(found) == 4 + uploads
        assert all(picture.problem is None for picture in found)
        assert {"one", "three"} <= {picture.caption for picture in found}
        assert len({picture.name.casefold() for picture in found}) == len(found)
        originals = {path.read_bytes() for path in (project.folder / "images").iterdir()}
        assert {picture.path.read_bytes() for picture in found} == originals and len(originals) == len(found)
        assert everything and leftovers(project) == []


def test_a_hand_made_picture_without_an_original(project: Project) -> None:
    write_picture(project.folder / "dataset/10_a/hand.png", "by hand")
    before = tree(project)
    restore(project, delete_pictures(project, ids(project, "hand.png")))
    assert tree(project) == before
