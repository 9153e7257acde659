"""What stands in a project's form is there again the next time."""

from __future__ import annotations

import json

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.project import Project, edit_project
from lib_lora_train.runs.drafts import DRAFT, WISHES, read_draft, read_wishes, write_draft, write_wishes
from lib_lora_train.runs.managed import MANAGED, as_prompts
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe


def test_a_draft_is_kept_without_what_the_project_decides(project: Project) -> None:
    assert read_draft(project) == TrainSettings()
    settings = TrainSettings()
    settings.model.checkpoint, settings.network.network_dim = "model", 48
    settings.dataset.train_data_dir = settings.run.output_dir = settings.run.resume = "/somewhere"
    write_draft(project, settings)
    draft = read_draft(project)
    assert (draft.model.checkpoint, draft.network.network_dim) == ("model", 48)
    assert "/somewhere" not in (project.folder / DRAFT).read_text(encoding="utf-8")
    assert settings.dataset.train_data_dir == "/somewhere"  # a copy was changed


def test_managed_settings_exist() -> None:
    assert {f"{item.group}.{item.name}" for item in describe(TrainSettings)} >= MANAGED


def test_a_damaged_draft_is_said(project: Project) -> None:
    (project.folder / DRAFT).write_text("{", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_draft(project)
    assert caught.value.code == "settings.syntax" and caught.value.where == DRAFT


def test_wishes_are_kept_and_follow_the_project(project: Project) -> None:
    assert read_wishes(project) == Wishes("character", "auto", "balanced", "")
    write_wishes(project, Wishes("character", "photo", "thorough", "model"))
    assert read_wishes(project) == Wishes("character", "photo", "thorough", "model")
    assert read_wishes(edit_project(project, kind="style")).kind == "style"
    with pytest.raises(UserError) as caught:
        write_wishes(project, Wishes(choice="fast"))
    assert (caught.value.code, caught.value.where) == ("run.wish", "choice")


@pytest.mark.parametrize("content", ["", "[]", '{"choice": "fast"}', '{"medium": 7}', '{"medium": null}'])
def test_wishes_that_cannot_be_read_are_the_usual_ones(project: Project, content: str) -> None:
    (project.folder / WISHES).write_text(content, encoding="utf-8")
    assert read_wishes(project) == Wishes(kind="character")


@pytest.mark.parametrize(
    ("kind", "medium", "drawn"),
    [
        ("person", "auto", False), ("character", "auto", True), ("style", "auto", True), ("object", "auto", False),
        ("concept", "auto", False), ("person", "drawn", True), ("character", "photo", False),
    ],
)  # fmt: skip
def test_the_medium_follows_the_kind(kind: str, medium: str, drawn: bool) -> None:
    assert Wishes(kind, medium).drawn == drawn


def test_old_wishes_with_more_in_them_are_read(project: Project) -> None:
    (project.folder / WISHES).write_text(json.dumps({"choice": "quick", "later": 1}), encoding="utf-8")
    assert read_wishes(project).choice == "quick"


def test_prompts_are_never_a_file() -> None:
    assert as_prompts("secret.txt") == "secret.txt\n"
    assert as_prompts("a\nb.txt") == "a\nb.txt"
