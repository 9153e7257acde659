"""Zips in and out."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.collection import packing
from lib_lora_train.collection.adding import add_stream
from lib_lora_train.collection.archive import add_zip, write_zip, zip_chunks
from lib_lora_train.collection.concepts import add_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.limits import Limits
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from tests.collection.tools import LIMITS, captions, codes, jpeg, leftovers, new_project, png, tree, upload, zip_of
from tests.helpers.pictures import encoded, gradient


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def add(project: Project, data: bytes, limits: Limits = LIMITS, concept: str = ""):
    return upload(project, "set.zip", data, concept, limits)


def test_pictures_with_captions_from_any_folder(project: Project) -> None:
    added = add(
        project,
        zip_of(
            {
                "photos/1.png": png(1), "photos/1.txt": b"one", "more/1.png": png(2), "more/1.txt": b"two",
                "2.jpg": jpeg(), "2.caption": b"three", "stray.txt": b"four", "readme.md": b"no", "Thumbs.db": b"no",
            }
        ),
    )  # fmt: skip
    assert (len(added.pictures), added.captions) == (3, 3)
    assert codes(added) == ["collection.alone"]
    assert captions(project) == {"1.png": "one", "1-2.png": "two", "2.jpg": "three"}
    assert leftovers(project) == []


def test_kohya_folders_become_concepts(project: Project) -> None:
    chosen = add_concept(project, "hero")
    mask = encoded(gradient(48, 32).convert("L"), "PNG")
    added = add(
        project,
        zip_of(
            {
                "set/dataset/12_red fox/a.png": png(1), "set/dataset/12_red fox/a.txt": b"fox",
                "set/masks/12_red fox/a.png": mask, "set/reg/1_fox/r.png": png(2), "set/loose.png": png(3),
                "set/dataset/10_hero/h.png": png(4), "set/masks/12_red fox/none.png": mask,
            }
        ),
        concept=chosen.id,
    )  # fmt: skip
    assert [(concept.repeats, concept.name, concept.regularization, concept.pictures) for concept in list_concepts(project)] == [
        (10, "hero", False, 2), (12, "red fox", False, 1), (1, "fox", True, 1),
    ]  # fmt: skip
    assert (project.folder / "masks/12_red fox/a.png").read_bytes() == mask
    assert codes(added) == ["collection.alone"]


def test_a_zip_without_pictures_is_said(project: Project) -> None:
    assert (
        codes(add(project, zip_of({"readme.md": b"x"}))) == codes(add(project, zip_of({}))) == ["collection.zip_empty"]
    )


def test_litter_is_not_looked_at(project: Project) -> None:
    files = {"__MACOSX/._a.png": b"\x00\x05\x16\x07", ".hidden.png": png(), "x/.git/b.png": png(), "a.png": png()}
    assert codes(added := add(project, zip_of(files))) == []
    assert len(added.pictures) == 1


def test_a_bad_file_does_not_stop_the_good_ones(project: Project) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("good.png", png(1))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", zip_of({"a.png": png(2)}))
        archive.writestr("inner.tar.gz", b"x")
        archive.writestr("cut.png", png(3)[:120])
        archive.writestr("page.png", b"<html>404</html>")
        archive.writestr("photo.psd", b"8BPS")
        archive.writestr("flipped.png", png(4))
        archive.writestr("locked.png", png(5))
        archive.writestr("last.png", png(6))
    data = bytearray(buffer.getvalue())
    data[data.index(png(4)) + 60] ^= 0xFF  # now its check sum is wrong
    for at in (data.index(b"locked.png") - 24, data.rindex(b"locked.png") - 38):
        data[at] |= 1  # encrypted
    added = add(project, bytes(data))
    assert sorted(codes(added)) == sorted(
        [
            "collection.zip_link", "collection.zip_nested", "collection.zip_nested", "collection.zip_encrypted",
            "image.truncated", "image.html", "image.foreign", "collection.zip_member",
        ]
    )  # fmt: skip
    assert set(captions(project)) == {"good.png", "last.png"}
    assert leftovers(project) == []


def test_other_methods_are_refused(project: Project) -> None:
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        assert codes(add(project, zip_of({"a.png": png()}, method))) == ["collection.zip_method"]


@pytest.mark.parametrize(
    ("raw", "flags", "name"),
    [
        ("图片 一.png".encode("gbk"), 0, "图片 一.png"),
        ("图.png".encode("gbk"), 0, "图.png"),
        ("дом.png".encode(), 0, "дом.png"),
        ("é ö.png".encode(), 0, "é ö.png"),
        ("图片.png".encode(), 0, "图片.png"),
        ("图片.png".encode(), 0x800, "图片.png"),
        ("é.png".encode("cp437"), 0, "é.png"),
        ("café.png".encode("cp437"), 0, "café.png"),
        ("e\u0301.png".encode(), 0x800, "é.png"),
        ("キャラ.png".encode(), 0x800, "キャラ.png"),
        ("🦊.png".encode(), 0x800, "🦊.png"),
    ],
)
def test_names_in_any_encoding_survive(project: Project, raw: bytes, flags: int, name: str) -> None:
    placeholder = "n" * len(raw)
    data = bytearray(zip_of({placeholder: png()}).replace(placeholder.encode(), raw))
    data[6:8] = struct.pack("<H", flags)
    directory = data.index(b"PK\x01\x02")
    data[directory + 8 : directory + 10] = struct.pack("<H", flags)
    added = add(project, bytes(data))
    assert codes(added) == []
    assert [picture.name for picture in list_pictures(project)] == [name]


def test_mixed_encodings_in_one_zip(project: Project) -> None:
    files = {"a" * 8: "白猫.png".encode("gbk"), "b" * 7: "äß.png".encode("cp437")[:7], "c" * 10: "黑猫.png".encode()}
    data = zip_of({placeholder: png(index) for index, placeholder in enumerate(files)})
    for placeholder, raw in files.items():
        data = data.replace(placeholder.encode()[: len(raw)], raw)
    added = add(project, data.replace(b"\x84\xe1.pngb", b"\x84\xe1.png "))
    assert codes(added) == []
    assert {"白猫.png", "黑猫.png"} <= {picture.name for picture in list_pictures(project)}


def test_bombs_are_refused(project: Project) -> None:
    upload(project, "y.png", png(1))
    before = tree(project)
    zeros = png() + b"\x00" * 30_000_000  # begins like a picture, so that it is read
    small = Limits(file_bytes=20_000_000)
    for limits, code in ((LIMITS, "collection.zip_ratio"), (small, "collection.zip_ratio|collection.too_heavy")):
        tracemalloc.start()
        said = codes(add(project, zip_of({"x.png": zeros, "y.txt": b"a" * 3_000_000}), limits))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert said[0] in code.split("|") and said[-1] in ("collection.zip_ratio", "collection.caption_long")
        assert peak < 20_000_000
    assert tree(project) == before and leftovers(project) == []


def test_the_whole_is_capped_not_only_each_file(project: Project) -> None:
    junk = png()[:40] + b"\x01" * 3_000  # refused each, but all are read
    files = {f"{number}.png": junk + bytes([number]) for number in range(20)}
    said = codes(add(project, zip_of(files), Limits(total_bytes=30_000)))
    assert said[-1] == "collection.zip_total" or "collection.zip_total" in said
    assert len(said) <= 16


def test_too_many_files(project: Project) -> None:
    data = zip_of({f"{number}.txt": b"" for number in range(1_400)})
    with pytest.raises(UserError) as caught:
        add(project, data, Limits(files=10))
    assert caught.value.code == "collection.zip_members"
    assert "1040" in caught.value.sentence() and "set.zip" in caught.value.sentence()


def test_a_huge_directory_is_not_read(project: Project) -> None:
    """Two hundred thousand entries: refused before they are made into objects."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0x21, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    directory = entry * 200_000
    data = directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 7, 7, len(directory), 0, 0)
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        add(project, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "collection.zip_members"
    assert peak < 60_000_000


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip at all", zip_of({"a.png": png()})[:-30]])
def test_no_zip(project: Project, data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        add(project, data)
    assert caught.value.code == "collection.zip_damaged"
    assert leftovers(project) == []


def test_a_member_without_a_name_is_no_file(project: Project) -> None:
    data = bytearray(zip_of({"a.png": png()}))
    name_length = data.index(b"PK\x01\x02") + 28
    data[name_length] = 0
    with pytest.raises(UserError) as caught:
        codes(add(project, bytes(data)))
    assert caught.value.code.startswith("collection.")
    assert leftovers(project) == []


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_zip_gives_sentences(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes changed anywhere: a sentence, never another error."""
    project = new_project(tmp_path_factory.mktemp("p"))
    whole = bytearray(zip_of({"10_a/x.png": png(size=(16, 16)), "10_a/x.txt": b"cat"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        codes(add(project, bytes(whole)))
    except UserError as error:
        assert error.sentence("zh-CN")
    assert leftovers(project) == []


# ---------------------------------------------------------------------- out


def filled(project: Project) -> Project:
    mask = encoded(gradient(48, 32).convert("L"), "PNG")
    files = {
        "dataset/12_红 fox/a.png": png(1), "dataset/12_红 fox/a.txt": "狐狸, fox".encode(), "masks/12_红 fox/a.png": mask,
        "dataset/5_b/10.png": png(2), "dataset/5_b/2.jpg": jpeg(), "regularization/1_fox/r.png": png(3),
    }  # fmt: skip
    assert codes(add(project, zip_of(files))) == []
    return project


def test_what_goes_out_comes_back(project: Project, tmp_path: Path) -> None:
    filled(project)
    write_zip(project, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "dataset/5_b/2.jpg", "dataset/5_b/10.png", "dataset/12_红 fox/a.png", "dataset/12_红 fox/a.txt",
            "masks/12_红 fox/a.png", "regularization/1_fox/r.png",
        ]  # fmt: skip
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not any(info.flag_bits & 8 for info in archive.infolist())
    other = new_project(tmp_path / "others")
    assert codes(add_zip(other, "", tmp_path / "out.zip", LIMITS)) == []
    assert tree(other) == tree(project)


def test_the_same_data_set_gives_the_same_zip(project: Project, tmp_path: Path) -> None:
    filled(project)
    other = filled(new_project(tmp_path / "others"))
    assert b"".join(zip_chunks(project)) == b"".join(zip_chunks(other))


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
@pytest.mark.parametrize("wide", [False, True])
def test_another_program_reads_it(
    project: Project, tmp_path: Path, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the fields of large archives, made to be used from the first byte on."""
    if wide:
        monkeypatch.setattr(packing, "LARGEST", 10)
        monkeypatch.setattr(packing, "MOST_ENTRIES", 1)
    write_zip(filled(project), tmp_path / "out.zip")
    done = subprocess.run(["unzip", "-t", str(tmp_path / "out.zip")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("dataset/12_红 fox/a.txt").decode() == "狐狸, fox"
        assert len(archive.namelist()) == 6


def test_it_is_never_whole_in_memory(project: Project) -> None:
    large = encoded(gradient(900, 900).resize((1800, 1800)), "BMP")
    for number in range(4):
        upload(project, f"{number}.bmp", large[:-1] + bytes([number]))
    tracemalloc.start()
    total = sum(len(chunk) for chunk in zip_chunks(project))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 4 * len(large) > 38_000_000
    assert peak < 5_000_000


def test_a_file_that_changes_meanwhile_is_said(project: Project) -> None:
    filled(project)
    chunks = zip_chunks(project)
    next(chunks)
    (project.folder / "dataset/5_b/2.jpg").write_bytes(jpeg() + b"more")
    with pytest.raises(UserError) as caught:
        list(chunks)
    assert caught.value.code == "collection.unsteady"


def test_an_empty_project_is_an_empty_zip(project: Project) -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_chunks(project)))) as archive:
        assert archive.namelist() == []


def test_stray_captions_of_a_zip_find_pictures_that_are_there(project: Project) -> None:
    add_stream(project, "", "a.png", [png()], LIMITS)
    added = add(project, zip_of({"a.txt": b"cat"}))
    assert (added.captions, codes(added)) == (1, [])
    assert captions(project) == {"a.png": "cat"}
