"""One file after another, as a browser sends them."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.collection import shelf
from lib_lora_train.collection.adding import add_folder, add_stream
from lib_lora_train.collection.concepts import add_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.limits import Limits, used_bytes
from lib_lora_train.collection.pending import KEPT_SECONDS
from lib_lora_train.collection.trash import delete_pictures
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, Log, Stage, Stopped
from tests.collection.tools import LIMITS, captions, codes, jpeg, leftovers, new_project, png, tree, upload
from tests.helpers.pictures import encoded, gradient, write_picture


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def test_a_picture_is_kept_as_given_and_linked(project: Project) -> None:
    added = upload(project, "猫 1.PNG", png())
    assert len(added.pictures) == 1 and codes(added) == []
    original, trained = project.folder / "images/猫 1.PNG", project.folder / "dataset/10_hero/猫 1.PNG"
    assert original.read_bytes() == png()
    assert original.samefile(trained)
    picture = list_pictures(project)[0]
    assert (picture.id, picture.width, picture.height, picture.bytes) == (added.pictures[0], 48, 32, len(png()))
    assert leftovers(project) == []


def test_without_links_it_is_copied(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(shelf.os, "link", refuse)
    upload(project, "x.png", png())
    original, trained = project.folder / "images/x.png", project.folder / "dataset/10_hero/x.png"
    assert original.read_bytes() == trained.read_bytes() == png()
    assert not original.samefile(trained)
    assert codes(upload(project, "x.png", png())) == ["collection.already_there"]


def test_the_same_file_is_not_doubled(project: Project) -> None:
    upload(project, "x.png", png())
    upload(project, "x.png", png(1))
    before = tree(project)
    assert sorted(before) == [
        "dataset/10_hero/x-2.png", "dataset/10_hero/x.png", "images/x-2.png", "images/x.png",
    ]  # fmt: skip
    for shift in (0, 1):
        added = upload(project, "x.png", png(shift))
        assert (added.pictures, codes(added)) == ([], ["collection.already_there"])
    assert tree(project) == before


def test_names_differ_in_more_than_case_and_ending(project: Project) -> None:
    """Else two pictures would share a caption, or one file on some systems."""
    for name, data in (
        ("x.png", png(1)),
        ("X.png", png(2)),
        ("x.jpg", jpeg()),
        ("e\u0301.png", png(3)),
        ("é.png", png(4)),
    ):
        assert len(upload(project, name, data).pictures) == 1
    assert sorted(picture.name for picture in list_pictures(project)) == [
        "X-2.png", "x-3.jpg", "x.png", "é-2.png", "é.png",
    ]  # fmt: skip


def test_the_same_picture_may_be_in_two_concepts(project: Project) -> None:
    other = add_concept(project, "outfit")
    hero = add_concept(project, "hero")
    upload(project, "x.png", png(), hero.id)
    assert len(upload(project, "x.png", png(), other.id).pictures) == 1
    assert codes(upload(project, "x.png", png(), other.id)) == ["collection.already_there"]
    assert {concept.name: concept.pictures for concept in list_concepts(project)} == {"hero": 1, "outfit": 1}
    assert [picture.name for picture in list_pictures(project)] == ["x.png", "x-2.png"]


FILES = {
    "a.png": png(1), "a.txt": b"one", "b.jpg": jpeg(), "b.caption": "zwei, schön".encode("cp1252"),
    "c.png": png(3), "d.txt": b"nobody's",
}  # fmt: skip


@settings(max_examples=20)
@given(st.permutations(list(FILES)))
def test_the_order_of_uploads_does_not_matter(order: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        project = new_project(Path(name))
        results = [upload(project, name, FILES[name]) for name in order]
        assert captions(project) == {"a.png": "one", "b.jpg": "zwei, schön", "c.png": ""}
        assert [code for added in results for code in codes(added)] == []
        assert sum(added.captions for added in results) == 2
        assert (project.folder / "dataset/10_hero/b.txt").read_text(encoding="utf-8") == "zwei, schön"


@pytest.mark.parametrize("first", ["picture", "caption"])
def test_a_second_set_of_the_same_names_keeps_its_own_captions(project: Project, first: str) -> None:
    upload(project, "1.png", png(1))
    upload(project, "1.txt", b"first")
    pair = [("1.png", png(2)), ("1.txt", b"second")]
    for name, data in pair if first == "picture" else pair[::-1]:
        upload(project, name, data)
    assert captions(project) == {"1.png": "first", "1-2.png": "second"}


def test_a_caption_never_replaces_another(project: Project) -> None:
    upload(project, "x.png", png())
    assert upload(project, "x.txt", b"mine").captions == 1
    again = upload(project, "x.txt", b"mine")
    assert (again.captions, codes(again)) == (0, [])
    other = upload(project, "x.txt", b"other")
    assert (other.captions, codes(other)) == (0, ["collection.caption_kept"])
    assert captions(project) == {"x.png": "mine"}


def test_a_caption_waits_for_an_hour(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert upload(project, "x.txt", b"early").waiting == 1
    waiting = next((project.folder / ".cache/pending").iterdir())
    long_ago = waiting.stat().st_mtime - KEPT_SECONDS - 5
    os.utime(waiting, (long_ago, long_ago))
    upload(project, "x.png", png())
    assert captions(project) == {"x.png": ""}
    upload(project, "y.txt", b"late")
    assert [path for path in (project.folder / ".cache/pending").iterdir() if path == waiting] == []


def test_a_picture_that_was_there_gets_the_caption_that_waited(project: Project) -> None:
    upload(project, "x.png", png(1))
    upload(project, "x.png", png(2))
    upload(project, "x-2.txt", b"two")
    assert captions(project) == {"x.png": "", "x-2.png": "two"}
    upload(project, "x.txt", b"one")
    assert captions(project) == {"x.png": "one", "x-2.png": "two"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("白猫，坐着".encode("gbk"), "白猫，坐着"),
        ("cat, 猫".encode("utf-16"), "cat, 猫"),
        ("cat".encode("utf-8-sig"), "cat"),
        (b"\r\ncat,\x00 dog\r\n", "cat, dog"),
        (b"one\ntwo", "one\ntwo"),
    ],
)
def test_captions_are_stored_as_utf_8(project: Project, data: bytes, text: str) -> None:
    upload(project, "x.png", png())
    upload(project, "x.txt", data)
    assert (project.folder / "dataset/10_hero/x.txt").read_bytes() == text.encode("utf-8")
    assert captions(project) == {"x.png": text}


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("x.txt", b" \r\n", "collection.caption_blank"),
        ("x.txt", b"a" * 70_000, "collection.caption_long"),
        ("x.txt", b"a" * 400_000, "collection.caption_long"),
        ("x.txt", b"\xff\xfe\x00\xd8", "caption.encoding"),
        ("x.png", b"", "image.empty"),
        ("x.png", png()[:150], "image.truncated"),
        ("x.svg", b"<svg onload='x()'/>", "image.svg"),
        ("x.exe", b"MZ" + b"\x00" * 99, "collection.not_used"),
        ("noname", b"hello", "collection.not_used"),
        ("._x.png", png(), "collection.not_used"),
        ("", png(), "collection.not_used"),
        ("x.rar", b"Rar!", "collection.archive"),
        ("x.7z", b"7z", "collection.archive"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(project: Project, name: str, data: bytes, code: str) -> None:
    upload(project, "good.png", png(9))
    before = tree(project)
    added = upload(project, name, data)
    assert codes(added) == [code]
    assert (added.pictures, added.captions) == ([], 0)
    assert tree(project) == before and leftovers(project) == []


@pytest.mark.parametrize("name", ["folder/x.png", "C:\\photos\\x.png", "../../x.png", "..\\x.png"])
def test_folders_of_a_name_are_left_out(project: Project, name: str) -> None:
    upload(project, name, png())
    assert [picture.name for picture in list_pictures(project)] == ["x.png"]


def test_a_picture_is_known_by_its_content(project: Project) -> None:
    for name, stored in (("photo", "photo.jpg"), ("image.jpg_large", "image.jpg"), ("iphone.heic", "iphone.jpg")):
        assert len(upload(project, name, jpeg(len(stored))).pictures) == 1
        assert stored in {picture.name for picture in list_pictures(project)}
    upload(project, "really.jpg", encoded(gradient(), "PNG"))
    assert (project.folder / "images/really.jpg").read_bytes() == encoded(gradient(), "PNG")


@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        (Limits(files=1), "collection.too_many", ["new.png", "holds 1", "1 is the most"]),
        (Limits(file_bytes=100), "collection.too_heavy", ["new.png", "1 MB"]),
        (Limits(total_bytes=300), "collection.no_room", ["new.png", "1 MB"]),
    ],
)
def test_limits_name_the_cap(project: Project, limits: Limits, code: str, words: list[str]) -> None:
    upload(project, "old.png", png())
    before = tree(project)
    with pytest.raises(UserError) as caught:
        upload(project, "new.png", png(1), limits=limits)
    assert caught.value.code == code
    assert all(word in caught.value.sentence() for word in words)
    assert tree(project) == before and leftovers(project) == []


def test_trash_counts_and_links_count_once(project: Project) -> None:
    added = upload(project, "x.png", png())
    assert used_bytes(project) == len(png())
    delete_pictures(project, added.pictures)
    record = next((project.folder / ".trash").glob("*/record.json"))
    assert used_bytes(project) == len(png()) + record.stat().st_size


def test_an_unknown_concept_is_refused_before_anything_is_read(project: Project) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("was read")
        yield b""

    with pytest.raises(UserError) as caught:
        add_stream(project, "0123456789abcdef", "x.png", never(), LIMITS)
    assert caught.value.code == "collection.unknown_concept"


def test_an_upload_that_breaks_off_leaves_nothing(project: Project) -> None:
    def broken() -> Iterator[bytes]:
        yield png()[:100]
        raise UserError("path.outside", "cut")

    for name in ("x.png", "x.zip", "x.txt"):
        before = tree(project)
        try:
            added = add_stream(project, "", name, broken(), LIMITS)
        except UserError as error:
            assert error.code == "path.outside"
        else:
            assert codes(added) == ["path.outside"]
        assert tree(project) == before and leftovers(project) == []


@pytest.mark.parametrize("fails", ["dataset", "caption"])
def test_a_full_disk_leaves_no_half_picture(project: Project, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(project, "old.png", png(5))
    upload(project, "x.txt", b"waits")
    before = tree(project)

    def place(source: Path, target: Path) -> None:
        if "dataset" in target.parts:
            raise UserError("file.write", target.name, reason="No space left on device")
        os.link(source, target)

    def save(*values: object) -> None:
        raise UserError("file.write", "x.txt", reason="No space left on device")

    monkeypatch.setattr(shelf, "_place", place) if fails == "dataset" else monkeypatch.setattr(
        shelf, "save_caption", save
    )
    with pytest.raises(UserError, match="No space left"):
        upload(project, "x.png", png())
    monkeypatch.undo()
    assert tree(project) == before and leftovers(project) == []
    upload(project, "x.png", png())
    assert (project.folder / "dataset/10_hero/x.png").is_file()


def test_an_original_left_by_a_killed_upload_is_used(project: Project) -> None:
    upload(project, "x.png", png())
    (project.folder / "dataset/10_hero/x.png").unlink()
    assert len(upload(project, "x.png", png()).pictures) == 1
    assert sorted(tree(project)) == ["dataset/10_hero/x.png", "images/x.png"]


def test_many_at_once_are_all_there(project: Project) -> None:
    """Eight threads, the same name: eight pictures, each with the caption of its own set."""
    other = add_concept(project, "other")

    def one(number: int) -> list[str]:
        return upload(project, "x.png", png(number), other.id).pictures

    with ThreadPoolExecutor(8) as pool:
        ids = list(itertools.chain(*pool.map(one, range(16))))
    assert len(set(ids)) == 16
    assert {path.read_bytes() for path in (project.folder / "images").iterdir()} == {png(n) for n in range(16)}
    assert {picture.id for picture in list_pictures(project)} == set(ids)


def test_ten_first_uploads_make_one_concept(project: Project) -> None:
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda number: upload(project, f"{number}.png", png(number)), range(10)))
    assert [(concept.name, concept.pictures) for concept in list_concepts(project)] == [("hero", 10)]


def test_a_folder_with_its_captions(project: Project, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(20):
        write_picture(source / f"{number}.png", f"tag {number}" if number % 2 else None, shift=number)
    (source / "bad.png").write_bytes(b"junk")
    (source / "stray.txt").write_text("nobody's", encoding="utf-8")
    (source / "notes.md").write_text("ignored", encoding="utf-8")
    events: list[object] = []
    concept = add_concept(project, "hero")
    added = add_folder(project, concept.id, source, LIMITS, events.append)
    assert (len(added.pictures), added.captions) == (20, 10)
    assert codes(added) == ["image.unknown", "collection.alone"]
    assert [event.code for event in events if isinstance(event, Log)] == ["image.unknown", "collection.alone"]
    stages = [event for event in events if isinstance(event, Stage)]
    assert [(stage.done, stage.total) for stage in stages] == [(16, 21), (21, 21)]
    assert not (project.folder / "images/0.png").samefile(source / "0.png")
    again = add_folder(project, concept.id, source, LIMITS)
    assert (len(again.pictures), again.captions, codes(again).count("collection.already_there")) == (0, 0, 20)


def test_a_folder_ends_at_the_limit_and_keeps_what_is_in(project: Project, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(5):
        write_picture(source / f"{number}.png", shift=number)
    added = add_folder(project, "", source, Limits(files=3))
    assert len(added.pictures) == 3 and codes(added) == ["collection.too_many"]


def test_stop_is_obeyed(project: Project, tmp_path: Path) -> None:
    write_picture(tmp_path / "source/x.png")
    commands = Commands()
    commands.stop()
    with pytest.raises(Stopped):
        add_folder(project, "", tmp_path / "source", LIMITS, commands=commands)


@pytest.mark.parametrize("name", ["", "nothing here", "a\x00b"])
def test_a_folder_that_is_none(project: Project, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(UserError) as caught:
        add_folder(project, "", folder / name, LIMITS)
    assert caught.value.code == ("dataset.folder_missing" if name else "dataset.empty")
    assert str(tmp_path) not in caught.value.text()
    shutil.rmtree(folder)
