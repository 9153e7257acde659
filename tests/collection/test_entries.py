"""Concepts and pictures as they are listed."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.collection import index
from lib_lora_train.collection.concepts import add_concept, default_concept, edit_concept
from lib_lora_train.collection.entries import find_concept, find_picture, list_concepts, list_pictures
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import captions, new_project, png, upload
from tests.helpers.pictures import gradient, with_orientation, write_picture


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def fill(project: Project, count: int) -> Path:
    folder = default_concept(project).folder
    for number in range(count):
        write_picture(folder / f"{number}.png", f"tag {number}", (32, 16 + number % 7), number)
    return folder


def test_what_a_picture_says(project: Project) -> None:
    folder = default_concept(project).folder
    (folder / "x.jpg").write_bytes(with_orientation(gradient(60, 40), 6))
    (folder / "x.txt").write_text("cat,  dog\nsecond line\n", encoding="utf-8")
    picture = list_pictures(project)[0]
    assert (picture.name, picture.width, picture.height) == ("x.jpg", 60, 40)
    assert picture.caption == "cat,  dog\nsecond line"
    assert picture == find_picture(project, picture.id)
    shown = picture.as_dict()
    assert shown.keys() == {
        "id", "concept", "name", "width", "height", "bytes", "caption", "version", "stamp", "problem",
    }  # fmt: skip
    json.dumps(shown)
    assert shown["concept"] == list_concepts(project)[0].id == find_concept(project, picture.concept).id


def test_ids_and_stamps(project: Project) -> None:
    """An id outlives other repeats and other bytes; the stamp tells other bytes, the version another caption."""
    folder = fill(project, 3)
    before = list_pictures(project)
    assert len({picture.id for picture in before}) == 3 and all(len(picture.id) == 16 for picture in before)
    edit_concept(project, default_concept(project).id, repeats=3)
    folder = folder.with_name("3_hero")
    write_picture(folder / "1.png", "other", (64, 64))
    after = list_pictures(project)
    assert [picture.id for picture in after] == [picture.id for picture in before]
    assert [old.stamp == new.stamp for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert [old.version == new.version for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_two_folders_of_one_name_have_their_own_ids(project: Project) -> None:
    first, second = add_concept(project, "hero", 5), add_concept(project, "hero", 7)
    third = add_concept(project, "hero", 5, regularization=True)
    assert len({concept.id for concept in list_concepts(project)}) == 3
    write_picture(first.folder / "x.png", shift=1)
    write_picture(second.folder / "x.png", shift=2)
    assert len({picture.id for picture in list_pictures(project)}) == 2
    assert [concept.pictures for concept in list_concepts(project)] == [1, 1, 0]
    assert third.id == list_concepts(project)[2].id


def test_pictures_are_in_the_order_people_expect(project: Project) -> None:
    folder = default_concept(project).folder
    for name in ("10.png", "2.png", "b-2.png", "B.png", "a.png", "1.png", "b-10.png"):
        write_picture(folder / name)
    names = [picture.name for picture in list_pictures(project)]
    assert names == ["1.png", "2.png", "10.png", "a.png", "B.png", "b-2.png", "b-10.png"]


def test_nothing_is_read_twice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand pictures: after the first call neither a header nor a caption is opened, nor the index written."""
    folder = default_concept(project).folder
    data = png()
    for number in range(2_000):
        (folder / f"{number}.png").write_bytes(data)
        (folder / f"{number}.txt").write_text(f"tag {number}", encoding="utf-8")
    first = list_pictures(project)
    opened: list[str] = []
    for name in ("read_size", "read_file", "write_text"):
        monkeypatch.setattr(index, name, lambda *values, name=name: opened.append(name))
    assert list_pictures(project) == first
    assert opened == []
    assert len(first) == 2_000 and first[1_999].caption == "tag 1999"


def test_only_what_changed_is_read_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(project, 20)
    list_pictures(project)
    write_picture(folder / "7.png", "new words", (48, 48), 99)
    (folder / "9.txt").unlink()
    (folder / "11.png").unlink()
    read: list[str] = []
    real = index.read_size
    monkeypatch.setattr(index, "read_size", lambda path, where: read.append(path.name) or real(path, where))
    pictures = {picture.name: picture for picture in list_pictures(project)}
    assert read == ["7.png"]
    assert (pictures["7.png"].width, pictures["7.png"].caption) == (48, "new words")
    assert (pictures["9.png"].caption, pictures["9.png"].version) == ("", "")
    assert "11.png" not in pictures
    content = json.loads((project.folder / ".cache/index.json").read_text(encoding="utf-8"))
    assert "dataset/10_hero/11.png" not in content["files"]


def test_one_concept_keeps_what_is_known_of_the_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, 3)
    other = add_concept(project, "other")
    write_picture(other.folder / "x.png")
    list_pictures(project)
    write_picture(other.folder / "y.png", shift=3)
    assert [picture.name for picture in list_pictures(project, other.id)] == ["x.png", "y.png"]
    monkeypatch.setattr(index, "read_size", None)
    assert len(list_pictures(project)) == 5


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"version": 2}', b'{"version": 1, "files": 3}', b"\xff\xfe", b"[" * 100_000,
        b'{"version": 1, "files": {"dataset/10_hero/0.png": 3, "dataset/10_hero/1.png": ["a", "b", "c", "d"]}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_made_anew(project: Project, content: bytes) -> None:
    fill(project, 3)
    first = list_pictures(project)
    (project.folder / ".cache/index.json").write_bytes(content)
    assert list_pictures(project) == first
    assert json.loads((project.folder / ".cache/index.json").read_text(encoding="utf-8"))["version"] == 1


def test_an_index_that_lies_about_types_is_not_believed(project: Project) -> None:
    fill(project, 1)
    first = list_pictures(project)
    path = project.folder / ".cache/index.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for entry in content["files"].values():
        entry[2:] = [None, {}]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert list_pictures(project) == first


def test_many_threads_list_and_change(project: Project) -> None:
    fill(project, 40)

    def work(number: int) -> int:
        if number % 3 == 0:
            upload(project, f"new{number}.png", png(number))
        return len(list_pictures(project))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(work, range(30)))
    assert max(counts) <= 50 and len(list_pictures(project)) == 50


def test_what_is_wrong_is_said_in_words(project: Project, tmp_path: Path) -> None:
    folder = default_concept(project).folder
    (folder / "bad.png").write_bytes(b"junk")
    (folder / "dir.png").mkdir()
    (folder / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    write_picture(folder / "good.png")
    (folder / "good.txt").write_bytes(b"a" * 300_000)
    problems = {picture.name: picture.problem["code"] for picture in list_pictures(project) if picture.problem}
    assert problems == {
        "bad.png": "image.unknown", "dir.png": "image.not_file", "phone.heic": "image.heic",
        "good.png": "caption.too_large",
    }  # fmt: skip
    good = next(picture for picture in list_pictures(project) if picture.name == "good.png")
    assert (good.width, good.height, good.caption) == (96, 64, "") and good.version
    assert good.as_dict("zh-CN")["problem"]["sentence"] != good.problem["sentence"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_links_are_never_followed(project: Project, tmp_path: Path) -> None:
    outside = write_picture(tmp_path / "outside/secret.png", "secret words")
    folder = default_concept(project).folder
    (folder / "link.png").symlink_to(outside)
    write_picture(folder / "x.png")
    (folder / "x.txt").symlink_to(outside.with_suffix(".txt"))
    (project.folder / "dataset/3_out").symlink_to(outside.parent)
    assert [concept.name for concept in list_concepts(project)] == ["hero"]
    shown = {picture.name: picture for picture in list_pictures(project)}
    assert shown["link.png"].problem["code"] == "dataset.link"
    assert (shown["link.png"].width, shown["x.png"].caption, shown["x.png"].version) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_a_name_that_is_no_text_can_be_shown(project: Project) -> None:
    folder = default_concept(project).folder
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    path.write_bytes(png())
    for picture in (list_pictures(project)[0], list_pictures(project)[0]):
        assert json.dumps(picture.as_dict(), ensure_ascii=False).encode("utf-8")
        assert picture.name == "caf?.png" and picture.path.read_bytes() == png()


def test_what_is_not_there_is_said(project: Project) -> None:
    for call, code in (
        (lambda: find_picture(project, "0" * 16), "collection.unknown_picture"),
        (lambda: find_concept(project, "0" * 16), "collection.unknown_concept"),
        (lambda: list_pictures(project, "0" * 16), "collection.unknown_concept"),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.code == code and caught.value.sentence("zh-CN")


def test_a_read_only_disk_costs_the_index_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, 2)

    def refuse(path: Path, text: str) -> None:
        raise UserError("file.write", path.name, reason="Read-only file system")

    monkeypatch.setattr(index, "write_text", refuse)
    assert len(list_pictures(project)) == 2
    assert set(captions(project).values()) == {"tag 0", "tag 1"}
