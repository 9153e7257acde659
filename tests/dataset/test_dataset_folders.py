"""Scanning folders: concepts, captions, regularization, what is left out and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.buckets import CropPlan
from lib_lora_train.dataset.folders import scan
from lib_lora_train.dataset.listing import Concept
from lib_lora_train.dataset.pictures import Picture, Scan, balance_regularization
from lib_lora_train.dataset.summary import bucket_info, dataset_dirs, tag_frequency
from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from lib_lora_train.signals import Commands, Log, Stage, Stopped
from tests.helpers.pictures import write_picture


def chosen(root: Path, **values: object) -> DatasetSettings:
    return DatasetSettings(train_data_dir=str(root), resolution="64", min_bucket_reso=64, **values)


def codes(found: Scan) -> set[str]:
    return {note.code for note in found.notes} | {problem.code for problem in found.problems}


def test_numbered_folders_as_kohya_reads_them(tmp_path):
    write_picture(tmp_path / "3_white cat_x" / "a.png", "tag one, tag two", shift=1)
    write_picture(tmp_path / "3_white cat_x" / "b.png", shift=2)
    write_picture(tmp_path / "12_dog" / "a.png", shift=3)
    write_picture(tmp_path / "2" / "c.png", shift=4)
    write_picture(tmp_path / "cats" / "d.png", shift=5)
    write_picture(tmp_path / "0_off" / "e.png", shift=6)
    write_picture(tmp_path / "loose.png", shift=7)
    found = scan(chosen(tmp_path, repeats=99, class_tokens="unused"))
    assert [(p.where, p.concept.name, p.repeats, p.caption) for p in found.pictures] == [
        ("12_dog/a.png", "12_dog", 12, "dog"),
        ("2/c.png", "2", 2, ""),
        ("3_white cat_x/a.png", "3_white cat_x", 3, "tag one, tag two"),
        ("3_white cat_x/b.png", "3_white cat_x", 3, "white cat_x"),
    ]
    ignored = [note.values["where"] for note in found.notes if note.code == "dataset.folder_ignored"]
    assert ignored == ["0_off", "cats"]
    assert [note.values["count"] for note in found.notes if note.code == "dataset.loose"] == [1]
    assert found.problems == []


def test_plain_folder(tmp_path):
    write_picture(tmp_path / "a.png", "tagged", shift=1)
    write_picture(tmp_path / "b.png", shift=2)
    found = scan(chosen(tmp_path, repeats=7, class_tokens="a cat"))
    assert [(p.where, p.repeats, p.caption, p.size) for p in found.pictures] == [
        ("a.png", 7, "tagged", (96, 64)),
        ("b.png", 7, "a cat", (96, 64)),
    ]
    assert found.pictures[0].crop == CropPlan((64, 64), (96, 64), (16, 0, 80, 64))
    assert found.buckets == ((64, 64),)
    assert len(found.pictures[0].content_hash) == 64


def test_a_numbered_folder_picked_itself(tmp_path):
    folder = tmp_path / "10_white cat"
    write_picture(folder / "a.png", shift=1)
    found = scan(chosen(folder))
    assert [(p.where, p.repeats, p.caption) for p in found.pictures] == [("a.png", 10, "white cat")]
    assert codes(found) == {"dataset.named_folder"}
    assert [p.repeats for p in scan(chosen(folder, repeats=3)).pictures] == [3]
    assert [p.caption for p in scan(chosen(folder, class_tokens="dog")).pictures] == ["dog"]
    (tmp_path / "2024").mkdir()
    write_picture(tmp_path / "2024" / "a.png", "x")
    assert [p.repeats for p in scan(chosen(tmp_path / "2024")).pictures] == [1]


def test_caption_order_and_empty_captions(tmp_path):
    for name in "abc":
        write_picture(tmp_path / f"{name}.png", shift=ord(name))
        (tmp_path / f"{name}.caption").write_text(f"{name} caption")
    (tmp_path / "a.txt").write_text("a text")
    (tmp_path / "b.txt").write_text(" \n")
    found = scan(chosen(tmp_path))
    assert [picture.caption for picture in found.pictures] == ["a text", "b caption", "c caption"]
    assert [note.values["where"] for note in found.notes if note.code == "caption.empty"] == ["b.txt"]
    found = scan(chosen(tmp_path, caption_extension=".caption"))
    assert [picture.caption for picture in found.pictures] == ["a caption", "b caption", "c caption"]


def test_a_caption_that_leads_outside_is_not_read(tmp_path):
    (tmp_path / "secret.txt").write_text("a secret")
    write_picture(tmp_path / "data" / "a.png")
    (tmp_path / "data" / "a.txt").symlink_to(tmp_path / "secret.txt")
    found = scan(chosen(tmp_path / "data", class_tokens="a cat"))
    assert found.pictures[0].caption == "a cat"
    assert [(problem.code, problem.where) for problem in found.problems] == [("dataset.link", "a.txt")]


def test_a_folder_that_leads_outside_is_not_read(tmp_path):
    write_picture(tmp_path / "other" / "a.png", shift=1)
    write_picture(tmp_path / "data" / "1_x" / "a.png", shift=2)
    (tmp_path / "data" / "5_y").symlink_to(tmp_path / "other", target_is_directory=True)
    found = scan(chosen(tmp_path / "data"))
    assert [picture.where for picture in found.pictures] == ["1_x/a.png"]
    assert [(problem.code, problem.where) for problem in found.problems] == [("dataset.link", "5_y")]


def test_a_link_inside_the_folder_is_fine(tmp_path):
    write_picture(tmp_path / "1_x" / "a.png")
    (tmp_path / "1_x" / "b.png").symlink_to(tmp_path / "1_x" / "a.png")
    found = scan(chosen(tmp_path))
    assert len(found.pictures) == 2
    assert [note.values["names"] for note in found.notes if note.code == "dataset.same_content"] == [
        "1_x/a.png, 1_x/b.png"
    ]


def test_hidden_files_and_litter_are_no_pictures(tmp_path):
    write_picture(tmp_path / "1_x" / "a.png")
    write_picture(tmp_path / "1_x" / "._a.png")
    write_picture(tmp_path / "__MACOSX" / "1_x" / "._a.png")
    write_picture(tmp_path / ".cache" / "a.png")
    (tmp_path / "1_x" / "Thumbs.db").write_bytes(b"x")
    found = scan(chosen(tmp_path))
    assert (len(found.pictures), found.problems) == (1, [])
    assert codes(found) == set()


def test_long_crops_are_noted(tmp_path):
    write_picture(tmp_path / "a.png", "x", size=(300, 64))
    found = scan(chosen(tmp_path))
    assert [note.values["share"] for note in found.notes if note.code == "dataset.cropped"] == ["21%"]


@pytest.mark.parametrize(
    ("prepare", "code", "values"),
    [
        (lambda root: None, "dataset.empty", {"folders": 0, "files": 0}),
        (lambda root: (root / "x").mkdir(), "dataset.empty", {"folders": 1, "files": 0}),
        (lambda root: (root / "a.txt").write_text("cat"), "dataset.empty", {"folders": 0, "files": 1}),
        (
            lambda root: (root / "a.png").write_bytes(b""),
            "dataset.all_broken",
            {"count": 1, "broken": 1, "first": "a.png"},
        ),
    ],
)
def test_nothing_to_train_on(tmp_path, prepare, code, values):
    prepare(tmp_path)
    with pytest.raises(UserError) as caught:
        scan(chosen(tmp_path))
    assert (caught.value.code, caught.value.where) == (code, "train_data_dir")
    assert values.items() <= caught.value.values.items()


@pytest.mark.parametrize(
    ("folder", "code"),
    [("", "dataset.no_folder"), ("/not/there", "dataset.folder_missing"), ("a\x00b", "dataset.folder_missing")],
)
def test_folders_that_are_none(folder, code):
    with pytest.raises(UserError) as caught:
        scan(DatasetSettings(train_data_dir=folder))
    assert caught.value.code == code
    assert "/not" not in caught.value.text()


def test_regularization(tmp_path):
    for index in range(3):
        write_picture(tmp_path / "train" / "4_hero" / f"{index}.png", "hero", shift=index)
        write_picture(tmp_path / "reg" / "1_girl" / f"{index}.png", shift=10 + index)
    found = scan(chosen(tmp_path / "train", reg_data_dir=str(tmp_path / "reg")))
    regular = [picture for picture in found.pictures if picture.is_regularization]
    assert [(picture.where, picture.caption, picture.repeats) for picture in regular] == [
        ("1_girl/0.png", "girl", 4),
        ("1_girl/1.png", "girl", 4),
        ("1_girl/2.png", "girl", 4),
    ]
    assert dataset_dirs(found.pictures) == {"4_hero": {"n_repeats": 4, "img_count": 3}}
    assert dataset_dirs(found.pictures, regularization=True) == {"1_girl": {"n_repeats": 1, "img_count": 3}}
    assert bucket_info(found.pictures)["buckets"] == {"0": {"resolution": [64, 64], "count": 24}}
    assert bucket_info(found.pictures)["mean_img_ar_error"] == 0.5
    assert tag_frequency(found.pictures) == {"4_hero": {"hero": 3}, "1_girl": {"girl": 3}}


def test_tag_frequency_in_lower_case(tmp_path):
    write_picture(tmp_path / "1_x" / "a.png", "Cat, white fur,, cat", shift=1)
    assert tag_frequency(scan(chosen(tmp_path)).pictures) == {"1_x": {"cat": 2, "white fur": 1}}


def make_picture(regular: bool, repeats: int, index: int) -> Picture:
    concept = Concept(f"{repeats}_{regular}", Path("x"), repeats, "", regular)
    return Picture(
        Path(f"{index}"), str(index), concept, "", repeats, (64, 64), CropPlan((64, 64), (64, 64), (0, 0, 64, 64)), ""
    )


def kohya_repeats(train: int, repeats: list[int]) -> list[int]:
    """The same by counting one by one, as sd-scripts does it."""
    shown, result, first = 0, [], True
    while repeats and shown < train:
        for index, count in enumerate(repeats if first else list(result)):
            if first:
                result.append(count)
                shown += count
            else:
                result[index] += 1
                shown += 1
            if shown >= train:
                break
        first = False
    return result


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.lists(st.integers(1, 9), max_size=8))
def test_regularization_is_balanced_as_kohya_does(train, regular):
    pictures = [make_picture(False, count, index) for index, count in enumerate(train)]
    pictures += [make_picture(True, count, 100 + index) for index, count in enumerate(regular)]
    balanced, notes = balance_regularization(pictures)
    result = [picture.repeats for picture in balanced if picture.is_regularization]
    assert result == kohya_repeats(sum(train), regular)
    assert [picture.repeats for picture in balanced if not picture.is_regularization] == train
    assert bool(notes) == (len(result) < len(regular))
    assert Counter(map(id, balanced[: len(train)])) == Counter(map(id, pictures[: len(train)]))
    if regular:
        assert sum(result) >= sum(train)


def test_progress_notes_and_problems_are_events(tmp_path):
    for index in range(3):
        write_picture(tmp_path / f"{index}.png", "x", shift=index)
    (tmp_path / "bad.png").write_bytes(b"")
    events = []
    found = scan(chosen(tmp_path), events.append)
    assert [event.done for event in events if isinstance(event, Stage)] == [1, 2, 3, 4]
    logs = [event for event in events if isinstance(event, Log)]
    assert [log.code for log in logs] == [note.code for note in found.notes] + ["image.empty"]
    assert logs[-1].level == "warning"


def test_stop(tmp_path):
    write_picture(tmp_path / "a.png")
    commands = Commands()
    commands.stop()
    with pytest.raises(Stopped):
        scan(chosen(tmp_path), commands=commands)


def test_the_order_is_the_same_on_every_file_system(tmp_path, monkeypatch):
    for name in ("b", "a", "C"):
        write_picture(tmp_path / f"{name}.png", shift=ord(name))
    import os

    real = os.scandir
    first = [picture.where for picture in scan(chosen(tmp_path)).pictures]

    class Backwards:
        def __init__(self, folder):
            with real(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(os, "scandir", Backwards)
    assert [picture.where for picture in scan(chosen(tmp_path)).pictures] == first == ["C.png", "a.png", "b.png"]
