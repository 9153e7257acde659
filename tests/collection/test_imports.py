"""Taking over data sets that something else made."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lib_lora_train.collection.concepts import add_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.collection.imports import import_from
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, message
from lib_lora_train.project import Project
from lib_lora_train.signals import Log
from tests.collection.tools import LIMITS, captions, codes, fingerprint, new_project, png, tree, zip_of
from tests.helpers.pictures import encoded, gradient, write_picture

MASK = encoded(gradient(96, 64).convert("L"), "PNG")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "projects")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def take(project: Project, path: Path, concept_id: str = "") -> tuple[list[str], list[str]]:
    """Codes of what was left out, and of what was noted. The source stays as it was, whatever comes."""
    root = path if path.is_dir() else path.parent
    before, logs = fingerprint(root), []
    added = import_from(project, path, LIMITS, logs.append, concept_id=concept_id)
    assert fingerprint(root) == before
    notes = [event for event in logs if isinstance(event, Log)]
    for note in notes:
        for language in LANGUAGES:
            assert str(root.parent) not in message(note.code, language, **note.values)
    problems = codes(added)
    return problems, [note.code for note in notes if note.code not in problems]


def facts(project: Project) -> list[tuple[int, str, bool, int]]:
    return [(each.repeats, each.name, each.regularization, each.pictures) for each in list_concepts(project)]


def test_a_plain_folder(project: Project, source: Path) -> None:
    write_picture(source / "a.png", "one")
    write_picture(source / "sub/b.png", "two")
    assert take(project, source) == ([], [])
    assert facts(project) == [(10, "hero", False, 1)]
    other = add_concept(project, "other")
    take(project, source, other.id)
    assert facts(project) == [(10, "hero", False, 1), (10, "other", False, 1)]


def test_kohya_folders_in_the_folder(project: Project, source: Path) -> None:
    write_picture(source / "12_fox/a.png", "one", shift=1)
    write_picture(source / "5_a b/b.png", "two", shift=2)
    (source / "masks/12_fox").mkdir(parents=True)
    (source / "masks/12_fox/a.png").write_bytes(MASK)
    write_picture(source / "reg/1_animal/r.png", shift=3)
    write_picture(source / "log/x.png")
    write_picture(source / "loose.png")
    assert take(project, source) == ([], ["dataset.folder_ignored", "dataset.loose"])
    assert facts(project) == [(5, "a b", False, 1), (12, "fox", False, 1), (1, "animal", True, 1)]
    assert (project.folder / "masks/12_fox/a.png").read_bytes() == MASK
    assert captions(project) == {"a.png": "one", "b.png": "two", "r.png": ""}


@pytest.mark.parametrize("holder", ["img", "dataset", "train"])
def test_kohya_folders_below(project: Project, source: Path, holder: str) -> None:
    write_picture(source / holder / "7_fox/a.png", "one")
    write_picture(source / "regularization/2_animal/r.png", shift=3)
    (source / "mask/7_fox").mkdir(parents=True)
    (source / "mask/7_fox/a.png").write_bytes(MASK)
    (source / "model").mkdir()
    assert take(project, source) == ([], [])
    assert facts(project) == [(7, "fox", False, 1), (2, "animal", True, 1)]
    assert "masks/7_fox/a.png" in tree(project)


def test_one_numbered_folder_itself(project: Project, source: Path) -> None:
    write_picture(source / "3_fox/a.png", "one")
    take(project, source / "3_fox")
    assert facts(project) == [(3, "fox", False, 1)]


def test_a_zip(project: Project, source: Path) -> None:
    (source / "x.zip").write_bytes(zip_of({"4_fox/a.png": png()}))
    take(project, source / "x.zip")
    assert facts(project) == [(4, "fox", False, 1)]


def train_tools(root: Path, version: str, repeats: int, processed: int, origin: int = 2) -> Path:
    """A project of sd-webui-train-tools as that extension lays it out."""
    folder = root / "versions" / version
    for number in range(origin):
        write_picture(folder / f"dataset/origin/up{number}.png", shift=number)
        write_picture(folder / f"dataset/origin/preload/up{number}.png", shift=number)
    (folder / f"dataset/processed/{repeats}_alice").mkdir(parents=True)
    for number in range(processed):
        write_picture(
            folder / f"dataset/processed/{repeats}_alice/0000{number}-0-up.png", f"girl {number}", shift=number
        )
    (folder / "trains/base-bs-1").mkdir(parents=True)
    (folder / "trains/base-bs-1/alice-v1.safetensors").write_bytes(b"x")
    (folder / "dataset_config.json").write_text('{"train_num_repetitions": 16}', encoding="utf-8")
    return folder


def test_a_train_tools_project(project: Project, source: Path) -> None:
    older, newer = train_tools(source, "v1", 16, 2), train_tools(source, "v2", 20, 3)
    write_picture(newer / "dataset/reg/2_girl/r.png", shift=9)
    os.utime(older, (1_000, 1_000))
    assert take(project, source) == ([], ["collection.train_tools"])
    assert facts(project) == [(20, "alice", False, 3), (2, "girl", True, 1)]
    assert captions(project)["00001-0-up.png"] == "girl 1"
    take(project, older)
    assert facts(project)[0] == (16, "alice", False, 2)


def test_a_train_tools_project_that_was_never_processed(project: Project, source: Path) -> None:
    train_tools(source, "v1", 16, 0, origin=3)
    take(project, source)
    assert facts(project) == [(10, "hero", False, 3)]


def dataset_file(source: Path, text: str, name: str = "set.toml") -> Path:
    (source / name).write_text(text, encoding="utf-8")
    return source / name


def test_a_kohya_data_set_file(project: Project, source: Path) -> None:
    write_picture(source / "foxes/a.png", shift=1)
    (source / "foxes/a.txt").write_text("no", encoding="utf-8")
    (source / "foxes/a.cap").write_text("one", encoding="utf-8")
    (source / "m").mkdir()
    (source / "m/a.png").write_bytes(MASK)
    write_picture(source / "deep/8_cats/b.png", "two", shift=2)
    write_picture(source / "animals/r.png", shift=3)
    path = dataset_file(
        source,
        """
        [general]
        caption_extension = ".cap"
        num_repeats = 3
        [[datasets]]
        resolution = 512
        [[datasets.subsets]]
        image_dir = "foxes"
        class_tokens = "red fox"
        conditioning_data_dir = "m"
        [[datasets.subsets]]
        image_dir = '%s'
        num_repeats = 8
        [[datasets]]
        num_repeats = 1
        [[datasets.subsets]]
        image_dir = './animals'
        is_reg = true
        """
        % (source / "deep/8_cats"),
    )
    assert take(project, path) == ([], [])
    assert facts(project) == [(3, "red fox", False, 1), (8, "cats", False, 1), (1, "animals", True, 1)]
    assert captions(project) == {"a.png": "one", "b.png": "two", "r.png": ""}
    assert "masks/3_red fox/a.png" in tree(project)


@pytest.mark.parametrize(
    "image_dir", ["/content/drive/foxes", "C:\\\\data\\\\foxes\\\\", "../elsewhere/foxes", "foxes/"]
)
def test_a_file_from_another_machine_finds_the_folder_beside_it(project: Project, source: Path, image_dir: str) -> None:
    write_picture(source / "foxes/a.png", "one")
    path = dataset_file(source, f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{image_dir}"\nclass_tokens = "fox"')
    assert take(project, path) == ([], [])
    assert facts(project) == [(1, "fox", False, 1)]


def test_a_file_inside_the_folder_it_names(project: Project, source: Path) -> None:
    write_picture(source / "a.png", "one")
    path = dataset_file(source, '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/x/source"\nnum_repeats = 4')
    take(project, path)
    assert facts(project) == [(4, "source", False, 1)]


def test_long_class_tokens_are_cut_and_said(project: Project, source: Path) -> None:
    write_picture(source / "foxes/a.png", "one")
    path = dataset_file(
        source, f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "foxes"\nclass_tokens = "{"fox " * 40}"'
    )
    assert take(project, path) == ([], ["collection.tokens_cut"])
    assert facts(project) == [(1, ("fox " * 25).strip(), False, 1)]


def test_a_path_as_windows_copies_it(project: Project, source: Path) -> None:
    write_picture(source / "a.png", "one")
    assert len(import_from(project, Path(f' "{source}" '), LIMITS).pictures) == 1
    with pytest.raises(UserError) as caught:
        import_from(project, Path(), LIMITS)
    assert caught.value.code == "dataset.no_folder"


def test_json_is_read_too(project: Project, source: Path) -> None:
    write_picture(source / "foxes/a.png", "one")
    document = {"datasets": [{"subsets": [{"image_dir": "foxes", "metadata_file": "meta.json"}]}]}
    assert take(project, dataset_file(source, json.dumps(document), "set.json")) == ([], ["collection.metadata_file"])
    assert facts(project) == [(1, "foxes", False, 1)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[datasets]", "collection.dataset_file"),
        ("", "collection.no_subsets"),
        ("datasets = 3", "collection.no_subsets"),
        ("[[datasets]]\nsubsets = [1, 2]", "collection.no_subsets"),
        ("[general]\nx = 1\n[[datasets]]\nresolution = 512", "collection.no_subsets"),
    ],
)
def test_a_file_that_names_nothing(project: Project, source: Path, text: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        take(project, dataset_file(source, text))
    assert caught.value.code == code and str(source) not in caught.value.text("zh-CN")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('image_dir = "gone"', "collection.subset_folder"),
        ("image_dir = 3", "collection.subset_folder"),
        ('image_dir = ""', "collection.subset_folder"),
        ('image_dir = "/etc"', "collection.subset_folder"),
        ('image_dir = ".."', "collection.subset_folder"),
        ('image_dir = "foxes"\nnum_repeats = 0', "collection.subset_value"),
        ('image_dir = "foxes"\nnum_repeats = true', "collection.subset_value"),
        ('image_dir = "foxes"\nnum_repeats = "3"', "collection.subset_value"),
        ('image_dir = "foxes"\ncaption_extension = 3', "collection.subset_value"),
        ('image_dir = "foxes"\nconditioning_data_dir = "/etc"', "collection.subset_folder"),
    ],
)
def test_a_wrong_subset_does_not_stop_the_others(project: Project, source: Path, line: str, code: str) -> None:
    write_picture(source / "foxes/a.png", "one")
    text = (
        f'[[datasets]]\n[[datasets.subsets]]\n{line}\n[[datasets.subsets]]\nimage_dir = "foxes"\nclass_tokens = "good"'
    )
    assert take(project, dataset_file(source, text))[0] == [code]
    assert facts(project) == [(1, "good", False, 1)]


def test_other_files_are_not_taken(project: Project, source: Path) -> None:
    for name, code in (("x.safetensors", "collection.import_unknown"), ("gone.toml", "dataset.folder_missing")):
        (source / "x.safetensors").write_bytes(b"x")
        with pytest.raises(UserError) as caught:
            import_from(project, source / name, LIMITS)
        assert caught.value.code == code and str(source) not in caught.value.text()
    (source / "huge.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError) as caught:
        import_from(project, source / "huge.toml", LIMITS)
    assert caught.value.code == "collection.too_heavy"
    (source / "latin.toml").write_bytes(b"x = '\xe9'")
    with pytest.raises(UserError, match="UTF-8"):
        import_from(project, source / "latin.toml", LIMITS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_links_that_lead_out_are_not_read(project: Project, source: Path, tmp_path: Path) -> None:
    secret = write_picture(tmp_path / "secret/10_s/s.png", "secret words").parent.parent
    write_picture(secret / "10_s/t.png", shift=5)
    write_picture(source / "10_a/a.png", "one")
    (source / "9_out").symlink_to(secret / "10_s")
    (source / "10_a/s.png").symlink_to(secret / "10_s/s.png")
    write_picture(source / "10_a/b.png", shift=4)
    (source / "10_a/b.txt").symlink_to(secret / "10_s/s.txt")
    (source / "masks").symlink_to(secret)
    (source / "reg").symlink_to(secret)
    problems, _ = take(project, source)
    assert problems == ["dataset.link"] * 3
    assert facts(project) == [(10, "a", False, 2)]
    assert captions(project) == {"a.png": "one", "b.png": ""}
    shutil.rmtree(source)
    source.symlink_to(secret)  # but the folder that was named may itself be a link
    take(project, source)
    assert "s.png" in {picture.name for picture in list_pictures(project)}
