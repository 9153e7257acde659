"""A project on disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.project import (
    FOLDERS,
    create_project,
    delete_project,
    edit_project,
    list_projects,
    list_runs,
    list_trash,
    new_run,
    open_project,
    restore_project,
    run_folder,
)


@pytest.mark.parametrize(
    "title", ["Alice", "红发少女", "🦊", "a/b: c?", "..", "con", "x" * 200, "Ünïcödé – «très» long"]
)
def test_any_title_is_kept(tmp_path: Path, title: str) -> None:
    project = create_project(tmp_path, title, "person", "alice")
    assert open_project(tmp_path, project.id) == project
    assert project.title == title
    assert project.id.isascii() and len(project.id) <= 31
    assert {path.name for path in project.folder.iterdir()} == {*FOLDERS, "project.json"}


@pytest.mark.parametrize("title", ["", "  ", "x" * 201])
def test_a_title_is_needed(tmp_path: Path, title: str) -> None:
    with pytest.raises(UserError) as caught:
        create_project(tmp_path, title)
    assert caught.value.code == "project.title" and list(tmp_path.iterdir()) == []


def test_kind_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        create_project(tmp_path, "a", "robot")
    assert caught.value.code == "project.kind" and "person" in caught.value.text()


def test_same_title_twice_makes_two(tmp_path: Path) -> None:
    first, second = create_project(tmp_path, "a"), create_project(tmp_path, "a")
    assert first.id != second.id
    assert [project.id for project in list_projects(tmp_path)[0]] in ([second.id, first.id], [first.id, second.id])


def test_edit_keeps_the_folder(tmp_path: Path) -> None:
    project = create_project(tmp_path, "before")
    edited = edit_project(project, title="after", kind="style", trigger_word=" sty ")
    assert (edited.id, edited.title, edited.kind, edited.trigger_word) == (project.id, "after", "style", "sty")
    assert open_project(tmp_path, project.id) == edited


def test_delete_can_be_undone(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a")
    (project.folder / "images" / "1.png").write_bytes(b"picture")
    trash_id = delete_project(tmp_path, project.id)
    assert list_projects(tmp_path) == ([], [])
    assert list_trash(tmp_path) == [(trash_id, project)]
    assert restore_project(tmp_path, trash_id) == project
    assert (project.folder / "images" / "1.png").read_bytes() == b"picture"
    assert list_trash(tmp_path) == []


def test_restore_never_overwrites(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a")
    trash_id = delete_project(tmp_path, project.id)
    (tmp_path / project.id).mkdir()
    with pytest.raises(UserError) as caught:
        restore_project(tmp_path, trash_id)
    assert caught.value.code == "project.taken"
    assert list_trash(tmp_path) == [(trash_id, project)]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1}', '{"title": "x"}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_damaged_project_is_named_and_hides_no_other(tmp_path: Path, content: str | bytes) -> None:
    good, bad = create_project(tmp_path, "good"), create_project(tmp_path, "bad")
    (bad.folder / "project.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    projects, problems = list_projects(tmp_path)
    assert projects == [good]
    assert [(error.code, error.where) for error in problems] == [("project.damaged", bad.id)]


def test_a_newer_project_is_refused(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a")
    file = project.folder / "project.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "version": 2}), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        open_project(tmp_path, project.id)
    assert caught.value.code == "project.newer"


def test_runs_are_numbered(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a")
    assert [new_run(project).name for _ in range(3)] == ["r01", "r02", "r03"]
    (project.folder / "runs" / "r99").mkdir()
    (project.folder / "runs" / "notes").mkdir()
    assert new_run(project).name == "r100"
    assert list_runs(project) == ["r01", "r02", "r03", "r99", "r100"]
    assert run_folder(project, "r02").name == "r02"
    with pytest.raises(UserError):
        run_folder(project, "r04")


def test_runs_made_at_once_are_different(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a")
    with ThreadPoolExecutor(8) as pool:
        names = [path.name for path in pool.map(lambda _: new_run(project), range(40))]
    assert sorted(names) == [f"r{number:02d}" for number in range(1, 41)]


def test_dataset_folder_is_kohyas(tmp_path: Path) -> None:
    project = create_project(tmp_path, "a", "character", "al/ice: x")
    assert project.dataset_folder(10).name == "10_al_ice_ x"
    assert create_project(tmp_path, "b", "style").dataset_folder(3).name == "3_style"


def test_half_a_character_in_a_title_can_be_written(tmp_path):
    project = create_project(tmp_path, "a\ud800b", trigger_word="\udfffx")
    assert open_project(tmp_path, project.id).title == "a?b"
    assert open_project(tmp_path, project.id).trigger_word == "?x"
