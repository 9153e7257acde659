"""Captions to and from other programs' files."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import first_line
from lib_lora_train.errors import UserError
from lib_lora_train.tags.exchange import (
    EXPORTS,
    Incoming,
    export,
    kohya,
    matched,
    read_folder,
    read_import,
    read_metadata,
    write_folder,
    write_metadata,
)
from lib_lora_train.tags.exchange import folder as captions_folder
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.proposing import propose_texts
from tests.helpers.sheets import GIRL, item

PROSE = "A girl with a hat, smiling, sits on the old bench."
ITEMS = [
    item("q, hat\nsecond line", "1.png"),
    item(PROSE, "2.jpg"),
    item("", "3.png"),
    item("<b>, 雨, \u202eabc", "a.b.webp"),
    item("1girl", "1.png", GIRL),
]


def metadata(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8")


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def taken(items: list[Item], incoming: Incoming) -> dict[str, str]:
    """What would change, by picture, and the names that mean none under ""."""
    found = matched(items, incoming)
    changes = propose_texts(items, found.texts).changes
    return {change.item.picture: change.after for change in changes} | (
        {"": " ".join(found.unmatched)} if found.unmatched else {}
    )


# ---------------------------------------------------------------------- metadata of sd-scripts


def test_metadata_is_written_as_sd_scripts_looks_it_up() -> None:
    assert json.loads(write_metadata(ITEMS)) == {
        "10_hero/1": {"tags": "q, hat"},
        "10_hero/2": {"caption": PROSE},
        "10_hero/a.b": {"tags": "<b>, 雨, \u202eabc"},
        "regularization/1_girl/1": {"tags": "1girl"},
    }


def test_metadata_is_read() -> None:
    given = {
        "a": {"caption": "a girl.", "tags": "hat, smile", "train_resolution": [512, 512]},
        "b": {"tags": ["hat", "smile"]},
        "c": {"caption": None, "tags": " hat "},
        "d": {"caption": " ", "tags": ""},
        "e": {"latents_size": 1},
    }
    assert read_metadata(metadata(given)) == {"a": "a girl., hat, smile", "b": "hat, smile", "c": "hat"}
    assert read_metadata(b"\xef\xbb\xbf" + metadata({"a": {"tags": "x"}})) == {"a": "x"}
    assert read_metadata(json.dumps({"雨": {"tags": "x"}}).encode("utf-16")) == {"雨": "x"}


@pytest.mark.parametrize(
    ("data", "code", "where"),
    [
        (b"", "edits.import_json", "m.json"),
        (b"{", "edits.import_json", "m.json"),
        (b"\xff\xff\xff", "edits.import_json", "m.json"),
        (b"[" * 200_000, "edits.import_json", "m.json"),
        (b"[]", "edits.import_form", "m.json"),
        (b'"x"', "edits.import_form", "m.json"),
        (metadata({"a": "x"}), "edits.import_entry", "a"),
        (metadata({"a": {"tags": 3}}), "edits.import_entry", "a"),
        (metadata({"a": {"tags": ["x", 3]}}), "edits.import_entry", "a"),
        (metadata({"a": {"caption": {"x": 1}}}), "edits.import_entry", "a"),
        (metadata({"a\n\x00": {"caption": True}}), "edits.import_entry", "a??"),
        (metadata({"a": {"tags": "x\x00"}}), "collection.caption_characters", "a"),
        (metadata({"a": {"tags": "\ud800"}}), "collection.caption_characters", "a"),
        (metadata({"a": {"tags": "x" * 70_000}}), "collection.caption_long", "a"),
    ],
)
def test_bad_metadata_is_refused_in_a_sentence(data: bytes, code: str, where: str) -> None:
    with pytest.raises(UserError) as caught:
        read_import(data, "folder/m.json")
    assert (caught.value.code, caught.value.where) == (code, where)
    assert caught.value.text() and caught.value.text("zh-CN")


def test_metadata_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kohya, "MOST_NAMES", 2)
    with pytest.raises(UserError) as caught:
        read_metadata(metadata({str(number): {} for number in range(3)}))
    assert caught.value.code == "edits.import_many"
    monkeypatch.setattr(kohya, "MOST_BYTES", 10)
    with pytest.raises(UserError) as caught:
        read_metadata(b" " * 11)
    assert caught.value.code == "edits.import_large"


# ---------------------------------------------------------------------- which picture a name means


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("2", "dataset/10_hero/2.jpg"),
        ("2.JPG", "dataset/10_hero/2.jpg"),
        ("2.txt", "dataset/10_hero/2.jpg"),
        ("10_hero/1", "dataset/10_hero/1.png"),
        ("10_HERO/1.png", "dataset/10_hero/1.png"),
        ("C:\\data\\10_hero\\1.png", "dataset/10_hero/1.png"),
        ("/data/img/1_girl/1.png", "regularization/1_girl/1.png"),
        ("a.b", "dataset/10_hero/a.b.webp"),
        ("./10_hero/a.b.webp", "dataset/10_hero/a.b.webp"),
        ("elsewhere/2", "dataset/10_hero/2.jpg"),
        ("1", ""),  # there are two
        ("4", ""),
        ("", ""),
        ("..", ""),
        ("../" * 500 + "10_hero", ""),
    ],
)
def test_names(name: str, picture: str) -> None:
    found = taken(ITEMS, Incoming({name: "new"}))
    assert list(found) == [picture]
    assert len(found[picture]) < 200


def test_imports_keep_other_lines_unless_they_bring_their_own() -> None:
    assert taken(ITEMS, Incoming({"10_hero/1": "new"})) == {"dataset/10_hero/1.png": "new\nsecond line"}
    assert taken(ITEMS, Incoming({"10_hero/1": "new\nother"})) == {"dataset/10_hero/1.png": "new\nother"}
    assert taken(ITEMS, Incoming({"10_hero/1": "new"}, whole=True)) == {"dataset/10_hero/1.png": "new"}


def test_pictures_that_share_a_caption_file_get_it_together() -> None:
    pair = [item("hat", "1.png"), item("hat", "1.jpg", id="other")]
    assert len(matched(pair, Incoming({"1": "new"})).texts) == 2
    assert taken(pair, Incoming({"1": "new"})) == {"dataset/10_hero/1.png": "new"}


# ---------------------------------------------------------------------- folders and lists


def test_a_zip_of_captions() -> None:
    data = export(ITEMS, "folder")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("10_hero/1.txt") == b"q, hat\nsecond line"
        assert sorted(archive.namelist()) == [
            "10_hero/1.txt", "10_hero/2.txt", "10_hero/a.b.txt", "regularization/1_girl/1.txt",
        ]  # fmt: skip
    assert data == export(ITEMS, "folder")
    assert taken(ITEMS, read_import(data, "captions.zip")) == {}


def test_what_else_is_in_a_zip_is_passed_over() -> None:
    files = {
        "x/2.txt": b"new",
        "x/2.jpg": b"\xff",
        "x/3.caption": "雨".encode("gb18030"),
        "x/1.txt": b" ",
        "../a.b.txt": b"y",
    }
    found = taken(ITEMS, read_import(zipped({**files, "__MACOSX/2.txt": b"no"}), "c.zip"))
    assert found == {"dataset/10_hero/2.jpg": "new", "dataset/10_hero/3.png": "雨", "dataset/10_hero/a.b.webp": "y"}
    both = zipped({"2.caption": b"no", "2.txt": b"yes"})
    assert taken(ITEMS, read_import(both, "c.zip")) == {"dataset/10_hero/2.jpg": "yes"}


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("c.zip", b"PK", "collection.zip_damaged"),
        ("c.zip", zipped({"a.png": b"x"}), "edits.import_none"),
        ("c.zip", zipped({"a.txt": b"  "}), "edits.import_none"),
        ("c.zip", zipped({"a.txt": b"a" * 70_000}), "collection.caption_long"),
        ("c.zip", zipped({"a.txt": b"a" * 300_000}), "caption.too_large"),
        ("c.zip", zipped({"a.txt": b"\x00" * 90_000_000}), "caption.too_large"),
        ("c.exe", b"MZ", "edits.import_unknown"),
        ("", b"", "edits.import_unknown"),
        ("2.txt", b" \n", "edits.import_none"),
        ("2.txt", b"x" * 70_000, "collection.caption_long"),
        ("2.txt", b"\xff\xfe\x00\xd8", "caption.encoding"),
    ],
)
def test_files_that_cannot_be_taken_in(name: str, data: bytes, code: str) -> None:
    with pytest.raises(UserError) as caught:
        read_import(data, name)
    assert caught.value.code == code


def test_links_in_a_zip_are_not_captions() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        link = zipfile.ZipInfo("2.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError) as caught:
        read_import(target.getvalue(), "c.zip")
    assert caught.value.code == "collection.zip_link"


def test_one_tag_per_line() -> None:
    assert export([*ITEMS, item("hat", "9.png")], "lines").decode("utf-8") == "hat\n1girl\n<b>\nq\n\u202eabc\n雨\n"
    assert read_import(b"1girl\r\nhat,\n\nlong hair\n", "10_hero/2.txt") == Incoming(
        {"10_hero/2.txt": "1girl, hat, long hair"}
    )
    for text in ("1girl, hat\nsecond", PROSE, f"{PROSE}\nmore", "hat"):
        assert read_import(text.encode("utf-8"), "2.txt").texts == {"2.txt": text}


def test_a_folder_of_captions(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "2.txt").write_text("no")
    assert write_folder(ITEMS, tmp_path) == 4
    assert (tmp_path / "10_hero" / "1.txt").read_bytes() == b"q, hat\nsecond line"
    (tmp_path / "10_hero" / "3.caption").write_bytes("\ufeff雨".encode())
    (tmp_path / "10_hero" / "2.txt").unlink()
    if os.name != "nt":
        (tmp_path / "10_hero" / "2.txt").symlink_to(tmp_path / "10_hero" / "1.txt")
    assert taken(ITEMS, Incoming(read_folder(tmp_path), whole=True)) == {"dataset/10_hero/3.png": "雨"}


def test_bad_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        read_folder(tmp_path / "gone")
    assert caught.value.code == "edits.import_none"
    (tmp_path / "a.txt").write_bytes(b"x" * 300_000)
    with pytest.raises(UserError) as caught:
        read_folder(tmp_path)
    assert caught.value.code == "caption.too_large"
    (tmp_path / "a.txt").write_bytes(b"x")
    (tmp_path / "b.txt").write_bytes(b"x")
    monkeypatch.setattr(captions_folder, "MOST_NAMES", 1)
    with pytest.raises(UserError) as caught:
        read_folder(tmp_path)
    assert caught.value.code == "edits.import_many"


def test_export_kinds() -> None:
    assert {kind: bool(export(ITEMS, kind)) for kind in EXPORTS} == dict.fromkeys(EXPORTS, True)
    assert {kind: export([], kind)[:2] for kind in EXPORTS} == {"kohya": b"{}", "lines": b"", "folder": b"PK"}
    with pytest.raises(UserError) as caught:
        export(ITEMS, "csv")
    assert caught.value.code == "edits.export_kind"


lines = st.text(alphabet="ab ,._<>\"'雨\u202e\u200b😀\t", min_size=1, max_size=20).filter(
    lambda text: text.strip(" ,\t")
)


@given(st.lists(lines, min_size=1, max_size=5), st.sampled_from(["kohya", "folder"]))
def test_what_goes_out_comes_in_again(texts: list[str], kind: str) -> None:
    items = [item(text, f"{number}.png") for number, text in enumerate(texts)]
    incoming = read_import(export(items, kind), f"x{EXPORTS[kind]}")
    blank = [item("", one.name) for one in items]
    found = matched(blank, incoming)
    assert found.unmatched == []
    wanted = {one.id: first_line(one.text)[1] if kind == "kohya" else one.text.strip() for one in items}
    assert found.texts == {picture: text for picture, text in wanted.items() if text}
