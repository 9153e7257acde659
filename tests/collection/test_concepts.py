"""Concepts: made, renamed, deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.collection import limits
from lib_lora_train.collection.concepts import add_concept, default_concept, delete_concept, edit_concept
from lib_lora_train.collection.entries import list_concepts, list_pictures
from lib_lora_train.dataset.folders import scan
from lib_lora_train.errors import UserError
from lib_lora_train.project import Project
from lib_lora_train.settings import TrainSettings
from tests.collection.tools import new_project, png, tree, upload, zip_of
from tests.helpers.pictures import encoded, gradient


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def facts(project: Project) -> list[tuple[int, str, bool, int]]:
    return [(each.repeats, each.name, each.regularization, each.pictures) for each in list_concepts(project)]


def test_made_as_kohya_names_them(project: Project) -> None:
    assert add_concept(project, " 红发 少女: v2 ", 12).folder == project.folder / "dataset/12_红发 少女_ v2"
    assert add_concept(project, "girl", 1, regularization=True).folder == project.folder / "regularization/1_girl"
    assert facts(project) == [(12, "红发 少女_ v2", False, 0), (1, "girl", True, 0)]
    upload(project, "x.png", png(), list_concepts(project)[0].id)
    upload(project, "y.png", png(1), list_concepts(project)[1].id)
    settings = TrainSettings().dataset
    settings.train_data_dir, settings.reg_data_dir = (
        str(project.folder / name) for name in ("dataset", "regularization")
    )
    settings.resolution = "64"
    found = scan(settings)
    assert {(each.repeats, each.class_tokens, each.is_regularization) for each in found.concepts} == {
        (12, "红发 少女_ v2", False), (1, "girl", True),
    }  # fmt: skip


@pytest.mark.parametrize("trigger", ["hero", "", "../../x", "a" * 300, "...", "\ud800"])
def test_there_is_always_a_default(tmp_path: Path, trigger: str) -> None:
    project = Project(tmp_path, "p-000000", "t", "style", trigger, 0.0)
    project.folder.mkdir()
    made = default_concept(project)
    assert made.repeats == 10 and made.folder.parent == project.folder / "dataset"
    assert default_concept(project) == made
    assert made.name == {"hero": "hero", "": "style", "...": "style"}.get(trigger, made.name)


@pytest.mark.parametrize(
    ("name", "repeats", "code"),
    [
        ("", 10, "collection.concept_name"),
        (" . ", 10, "collection.concept_name"),
        ("x" * 101, 10, "collection.concept_name"),
        ("x", 0, "collection.repeats"),
        ("x", -3, "collection.repeats"),
        ("x", 10_001, "collection.repeats"),
        ("x", True, "collection.repeats"),
        ("x", 2.5, "collection.repeats"),
        ("HERO", 10, "collection.concept_taken"),
    ],
)
def test_what_is_not_a_concept(project: Project, name: str, repeats: int, code: str) -> None:
    other = add_concept(project, "other")
    add_concept(project, "hero")
    before = facts(project)
    for call in (lambda: add_concept(project, name, repeats), lambda: edit_concept(project, other.id, name, repeats)):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.code == code and caught.value.sentence("zh-CN")
    assert facts(project) == before


def test_there_is_an_end_to_concepts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_lora_train.collection.concepts.MAX_CONCEPTS", 3)
    for number in range(3):
        add_concept(project, f"c{number}")
    with pytest.raises(UserError) as caught:
        add_concept(project, "c3")
    assert caught.value.code == "collection.too_many_concepts"
    assert limits.MAX_CONCEPTS == 200


def test_renaming_takes_masks_along(project: Project) -> None:
    mask = encoded(gradient(48, 32).convert("L"), "PNG")
    upload(project, "set.zip", zip_of({"10_a/x.png": png(), "10_a/x.txt": b"cat", "masks/10_a/x.png": mask}))
    concept = list_concepts(project)[0]
    renamed = edit_concept(project, concept.id, "b", 7)
    assert (renamed.name, renamed.repeats, renamed.pictures) == ("b", 7, 1)
    assert sorted(tree(project)) == ["dataset/7_b/x.png", "dataset/7_b/x.txt", "images/x.png", "masks/7_b/x.png"]
    assert list_concepts(project) == [renamed]
    assert edit_concept(project, renamed.id) == renamed
    assert edit_concept(project, renamed.id, "B").folder.name == "7_B"
    assert edit_concept(project, list_concepts(project)[0].id, repeats=8).id == list_concepts(project)[0].id


def test_a_rename_that_fails_half_way_is_undone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = encoded(gradient(48, 32).convert("L"), "PNG")
    upload(project, "set.zip", zip_of({"10_a/x.png": png(), "masks/10_a/x.png": mask}))
    before = tree(project)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.parent.name == "masks":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(UserError, match="Permission denied"):
        edit_concept(project, list_concepts(project)[0].id, "b")
    assert tree(project) == before
    assert list(project.folder.glob("*.moves")) == []


def test_a_deleted_concept_is_gone(project: Project) -> None:
    concept = add_concept(project, "hero")
    upload(project, "x.png", png(), concept.id)
    assert len(delete_concept(project, concept.id)) == 16
    assert list_concepts(project) == [] and list_pictures(project) == []
    assert tree(project) == {}
    for call in (delete_concept, lambda project, id: edit_concept(project, id, "x")):
        with pytest.raises(UserError) as caught:
            call(project, concept.id)
        assert caught.value.code == "collection.unknown_concept"


def test_two_make_the_same_one(project: Project) -> None:
    def make(_: int) -> str:
        try:
            return add_concept(project, "hero").id
        except UserError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(make, range(8)))
    assert results.count("collection.concept_taken") == 7
    assert facts(project) == [(10, "hero", False, 0)]
