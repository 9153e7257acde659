"""What taggers saw is kept, whole or not at all, and read back fast."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.prepare import guesses as module
from lib_lora_train.prepare.guesses import FLOOR, Guesses, GuessStore, Vocabulary
from lib_lora_train.prepare.sentences import SentenceStore

WORDS = Vocabulary.of("wd", ["general", "long_hair", "smile", "=_="], [9, 0, 0, 4])


def some(*probabilities: float) -> Guesses:
    return Guesses.of(WORDS, np.array(probabilities, np.float32))


def same(first: Guesses | None, second: Guesses) -> bool:
    return first is not None and first.as_dict() == second.as_dict()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_what_can_pass_a_threshold_is_kept_likeliest_first() -> None:
    guesses = some(0.2, FLOOR, 0.9, 0.0099)
    assert guesses.indices.tolist() == [2, 0, 1]
    assert guesses.probabilities.tolist() == pytest.approx([0.9, 0.2, 0.01])
    assert guesses.as_dict() == {"tagger": "wd", "tags": [["smile", 0.9], ["general", 0.2], ["long_hair", 0.01]]}
    assert guesses.by_key == pytest.approx({"smile": 0.9, "general": 0.2, "long hair": 0.01})


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), max_size=8))
def test_what_is_put_in_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]) -> None:
    folder = tmp_path_factory.mktemp("guesses")
    store = GuessStore(folder)
    for number, row in enumerate(rows):
        store.put("wd-1", f"picture {number}", some(*row))
    store.save()
    for again in (store, GuessStore(folder)):
        for number, row in enumerate(rows):
            assert same(again.get("wd-1", f"picture {number}"), some(*row))
        assert again.get("wd-1", "another") is None
        assert again.get("wd-2", "picture 0") is None
        assert again.missing("wd-1", ["picture 0", "another", "another"]) == (
            ["another"] if rows else ["picture 0", "another"]
        )
        found = list(map(again.reader("wd-1"), ["another", "picture 0"]))
        assert [each is not None for each in found] == [False, bool(rows)]


def test_names_and_categories_come_back_too(tmp_path: Path) -> None:
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0.4))
    store.save()
    found = GuessStore(tmp_path).get("wd-1", "a")
    assert found is not None
    assert (found.vocabulary.tagger, found.vocabulary.names) == ("wd", WORDS.names)
    assert found.vocabulary.categories.tolist() == [9, 0, 0, 4]
    assert found.vocabulary.spaced == ["general", "long hair", "smile", "=_="]


@pytest.mark.parametrize("cut", [0, 1, 100, 400, -30, -1])
def test_a_file_that_was_cut_counts_as_not_there_and_is_written_anew(tmp_path: Path, cut: int) -> None:
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0.4))
    store.save()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:cut])
    again = GuessStore(tmp_path)
    assert again.get("wd-1", "a") is None
    assert again.missing("wd-1", ["a"]) == ["a"]
    again.put("wd-1", "b", some(0, 0, 0.3, 0))
    again.save()
    assert same(GuessStore(tmp_path).get("wd-1", "b"), some(0, 0, 0.3, 0))


@given(st.data())
def test_any_byte_may_be_wrong(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Nothing but a UserError may come of it, and what is given keeps within the vocabulary."""
    folder = tmp_path_factory.mktemp("guesses")
    store = GuessStore(folder)
    for number in range(3):
        store.put("wd-1", str(number), some(0.1, 0.5, 0.2, 0.4))
    store.save()
    (path,) = folder.iterdir()
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    again = GuessStore(folder)
    for number in range(3):
        found = again.get("wd-1", str(number))
        if found is not None:
            found.as_dict()
            assert found.probabilities.max() <= 1
    again.put("wd-1", "new", some(0, 0.5, 0, 0))
    again.save()
    assert same(GuessStore(folder).get("wd-1", "new"), some(0, 0.5, 0, 0))


def test_wrong_numbers_are_seen(tmp_path: Path) -> None:
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0.4))
    store.save()
    (path,) = tmp_path.iterdir()
    with np.load(path) as arrays:
        kept = dict(arrays)
    for name, value in [
        ("indices", [1, 4]),
        ("indices", [-1, 1]),
        ("counts", [3]),
        ("counts", [-2]),
        ("probabilities", [0.5, np.nan]),
        ("probabilities", [0.5, 1.5]),
        ("categories", [0]),
    ]:
        with path.open("wb") as handle:
            np.savez(handle, **{**kept, name: np.array(value, kept[name].dtype)})
        assert GuessStore(tmp_path).get("wd-1", "a") is None, name
    with path.open("wb") as handle:
        np.savez(handle, **kept)
    assert same(GuessStore(tmp_path).get("wd-1", "a"), some(0, 0.5, 0, 0.4))


def test_a_full_disk_is_said_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0.4))
    store.save()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    store.put("wd-1", "b", some(0, 0, 0, 0.4))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError) as caught:
            store.save()
    assert caught.value.code == "file.write"
    assert len(files(tmp_path)) == 1
    assert GuessStore(tmp_path).get("wd-1", "a") is not None
    store.save()
    assert GuessStore(tmp_path).get("wd-1", "b") is not None


def test_two_stores_of_one_folder_keep_what_both_saw(tmp_path: Path) -> None:
    first, second = GuessStore(tmp_path), GuessStore(tmp_path)
    first.put("wd-1", "a", some(0, 0.5, 0, 0))
    second.put("wd-1", "b", some(0, 0, 0.5, 0))
    first.save()
    second.save()
    assert first.get("wd-1", "b") is not None
    assert second.get("wd-1", "a") is not None


def test_another_list_of_tags_begins_anew(tmp_path: Path) -> None:
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0))
    other = Vocabulary.of("wd", ["x"], [0])
    store.put("wd-1", "b", Guesses.of(other, np.array([0.5], np.float32)))
    assert store.get("wd-1", "a") is None


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PICTURES", 3)
    store = GuessStore(tmp_path)
    for number in range(5):
        store.put("wd-1", str(number), some(0, 0.5, 0, 0))
    store.save()
    assert store.missing("wd-1", map(str, range(5))) == ["0", "1"]


def test_it_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAVE_SECONDS", -1.0)
    store = GuessStore(tmp_path)
    store.put("wd-1", "a", some(0, 0.5, 0, 0))
    assert GuessStore(tmp_path).get("wd-1", "a") is not None


def test_threads_may_read_and_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAVE_SECONDS", 0.0)
    store, errors = GuessStore(tmp_path), []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 20):
                store.put("wd-1", str(number), some(0, 0.5, 0, 0))
                store.get("wd-1", str(number))
        except (KeyError, RuntimeError, ValueError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.save()
    assert errors == []
    assert (
        GuessStore(tmp_path).missing("wd-1", [str(start + number) for start in (0, 100, 200) for number in range(20)])
        == []
    )


# ---------------------------------------------------------------------- which tagger


def test_a_tagger_is_known_by_name_and_files(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"weights")
    (model / "selected_tags.csv").write_text("name,category\nx,0\n")
    store = GuessStore(tmp_path / "store")
    assert store.key_of("my tagger") is None
    key = store.identify("my tagger", model)
    assert store.identify("my tagger", model) == key == store.key_of("my tagger")
    assert GuessStore(tmp_path / "store").key_of("my tagger") == key
    assert store.identify("other", model) != key
    (model / "model.onnx").write_bytes(b"heavier weights")
    changed = store.identify("my tagger", model)
    assert changed != key
    assert store.key_of("my tagger") == changed


def test_a_hash_is_not_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("model.onnx", "selected_tags.csv"):
        (model / name).write_bytes(b"x")
    key = GuessStore(tmp_path / "store").identify("t", model)
    monkeypatch.setattr(module, "tagger_digest", lambda folder: pytest.fail("computed again"))
    assert GuessStore(tmp_path / "store").identify("t", model) == key


def test_a_damaged_list_of_taggers_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"t": 5}', '{"t": {"key": "../x"}}', "\x00"):
        (tmp_path / "taggers.json").write_text(text)
        assert GuessStore(tmp_path).key_of("t") is None


def test_no_model_no_key(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        GuessStore(tmp_path).identify("t", tmp_path)
    assert caught.value.code == "onnx.missing_file"


# ---------------------------------------------------------------------- sentences


def test_sentences_are_kept_too(tmp_path: Path) -> None:
    store = SentenceStore(tmp_path)
    assert store.get("blip", "a") is None
    store.put("blip", "a", "a girl")
    store.put("blip", "b", "")
    store.save()
    again = SentenceStore(tmp_path)
    assert (again.get("blip", "a"), again.get("blip", "b"), again.get("blip", "c"), again.get("x", "a")) == (
        "a girl",
        "",
        None,
        None,
    )
    for text in ("", "[]", "{", '{"a": 1}'):
        next(tmp_path.iterdir()).write_text(text)
        assert SentenceStore(tmp_path).get("blip", "a") is None
