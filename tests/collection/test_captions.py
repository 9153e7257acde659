"""Writing captions."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.collection.captions import write_caption
from lib_lora_train.collection.concepts import default_concept
from lib_lora_train.collection.entries import PictureInfo, find_picture, list_pictures
from lib_lora_train.dataset.captions import read_caption
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import leftovers, new_project, png, upload


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path)
    upload(made, "x.png", png())
    return made


def only(project: Project) -> PictureInfo:
    return list_pictures(project)[0]


def test_written_as_it_is(project: Project) -> None:
    text = "<b onclick=x()>cat</b>, 猫\u200d🦊  "
    written = write_caption(project, only(project).id, text, "")
    path = project.folder / "dataset/10_hero/x.txt"
    assert path.read_bytes() == text.encode("utf-8")
    assert (written.caption, written.version) == (text, hashlib.sha256(text.encode()).hexdigest()[:16])
    assert written == find_picture(project, written.id) == only(project)
    assert write_caption(project, written.id, "b", written.version).caption == "b"


def test_the_second_writer_sees_the_first_ones_words(project: Project) -> None:
    picture = only(project)
    first = write_caption(project, picture.id, "first", picture.version)
    with pytest.raises(UserError) as caught:
        write_caption(project, picture.id, "second", picture.version)
    assert caught.value.code == "collection.caption_changed"
    assert caught.value.values == {"theirs": "first", "version": first.version}
    assert only(project).caption == "first"
    assert write_caption(project, picture.id, "second", first.version).caption == "second"


def test_of_many_writers_one_wins(project: Project) -> None:
    picture = only(project)

    def write(number: int) -> str:
        try:
            return write_caption(project, picture.id, f"by {number}", picture.version).caption
        except UserError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(write, range(20)))
    assert results.count("collection.caption_changed") == 19
    assert only(project).caption in results


def test_a_blank_caption_is_none(project: Project) -> None:
    """sd-scripts stops at an empty file; and the .caption behind it must not come back."""
    folder = default_concept(project).folder
    (folder / "x.caption").write_text("old", encoding="utf-8")
    picture = only(project)
    assert picture.caption == "old"
    picture = write_caption(project, picture.id, "new", picture.version)
    picture = write_caption(project, picture.id, " \n", picture.version)
    assert (picture.caption, picture.version) == ("", "")
    assert sorted(path.name for path in folder.iterdir()) == ["x.png"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\x00b", "collection.caption_characters"),
        ("a\ud800b", "collection.caption_characters"),
        ("猫" * 22_000, "collection.caption_long"),
    ],
)
def test_what_cannot_be_a_caption(project: Project, text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        write_caption(project, only(project).id, text, "")
    assert caught.value.code == code and caught.value.sentence("zh-CN")
    assert only(project).version == "" and leftovers(project) == []


def test_another_encoding_is_shown_and_replaced_only_when_saved(project: Project) -> None:
    path = default_concept(project).folder / "x.txt"
    data = "白猫，坐着".encode("gbk")
    path.write_bytes(data)
    picture = only(project)
    assert (picture.caption, path.read_bytes()) == ("白猫，坐着", data)
    write_caption(project, picture.id, picture.caption, picture.version)
    assert path.read_bytes() == "白猫，坐着".encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_a_link_is_replaced_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("outside", encoding="utf-8")
    path = default_concept(project).folder / "x.txt"
    for text in ("mine", ""):
        path.unlink(missing_ok=True)
        path.symlink_to(outside)
        picture = only(project)
        assert (picture.caption, picture.version) == ("", "")
        write_caption(project, picture.id, text, "")
        assert outside.read_text(encoding="utf-8") == "outside" and not path.is_symlink()


def test_what_is_written_is_what_is_read(project: Project) -> None:
    picture_id, path = only(project).id, project.folder / "dataset/10_hero/x.txt"

    @settings(max_examples=150)
    @given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=80))
    def check(text: str) -> None:
        written = write_caption(project, picture_id, text, only(project).version)
        if text.strip():
            assert path.read_bytes() == text.encode("utf-8")
            assert written.version and read_caption(path) is not None
        else:
            assert not path.exists()
        assert only(project) == written

    check()
