"""Known tags, translations and rules: read once, and again when their files change."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lib_lora_train.editor import completing, lexicon
from lib_lora_train.editor.lexicon import Kept, Lexicon
from lib_lora_train.tags.vocabulary import Vocabulary
from tests.helpers.editing import Office


def test_made_once_while_the_files_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, made = tmp_path / "x.csv", []
    kept = Kept(lambda: [file], lambda: made.append(file.exists()) or len(made))
    assert [kept.get(), kept.get()] == [1, 1]
    monkeypatch.setattr(lexicon, "_LOOKED", 0.0)
    assert kept.get() == 1
    file.write_text("a")
    assert [kept.get(), kept.get()] == [2, 2] and made == [False, True]


def test_what_fails_is_tried_again() -> None:
    fails = [ValueError, ValueError, None]

    def make() -> str:
        if error := fails.pop(0):
            raise error
        return "there"

    kept: Kept[str] = Kept(list, make)
    for _ in range(2):
        with pytest.raises(ValueError):
            kept.get()
    assert kept.get() == "there"


def test_nobody_waits_long_for_a_long_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = threading.Event()

    def slow(*given: Any) -> Vocabulary:
        assert read.wait(60)
        return Vocabulary([], ["slow.csv"])

    monkeypatch.setattr(lexicon, "find_vocabulary", slow)
    monkeypatch.setattr(lexicon, "_PATIENCE", 0.01)
    words = Lexicon(tmp_path, tmp_path)
    assert words.vocabulary_soon().sources == ()
    read.set()
    monkeypatch.setattr(lexicon, "_PATIENCE", 60)
    assert words.vocabulary().sources == words.vocabulary_soon().sources == ("slow.csv",)


def test_lists_of_the_users_and_of_taggers_elsewhere(tmp_path: Path) -> None:
    office = Office(tmp_path, ["hero, zebra stripes"])
    tags = office.models / "tags"
    (tags / "translations").mkdir(parents=True)
    (tags / "mine.csv").write_text('zeppelin,0,123,"airship"\n', encoding="utf-8")
    (tags / "translations" / "fr.csv").write_text("zeppelin,dirigeable\n", encoding="utf-8")
    elsewhere = office.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "selected_tags.csv").write_text("tag_id,name,category,count\n1,zebra_print,0,77\n", encoding="utf-8")
    office.open()
    overview = office.overview()
    assert overview["vocabulary"] == {"source": "mine.csv, elsewhere", "count": 2}
    assert overview["translation"] == {"language": "en", "count": 1}
    found = completing.complete(office.desk, "ze", 10, "en")
    assert [(each["tag"], each["count"], each["translation"], each["own"]) for each in found] == [
        ("zebra stripes", 0, "", 1), ("zeppelin", 123, "dirigeable", 0), ("zebra print", 77, "", 0),
    ]  # fmt: skip
    assert completing.complete(office.desk, "airsh", 10, "en")[0]["alias"] == "airship"
    assert completing.complete(office.desk, "dirig", 10, "en")[0]["tag"] == "zeppelin"
