"""Grids on disk: what is written is read, files are found where they are, the trash has an end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lib_lora_train.access import Exposure
from lib_lora_train.errors import UserError
from lib_lora_train.jobs import Registry
from lib_lora_train.preview.grids import Base, Column, Drawing, Grid, GridPrompt
from lib_lora_train.preview.scores import Scores
from lib_lora_train.previews import store
from lib_lora_train.previews.exporting import cell_name
from lib_lora_train.previews.showing import View, shown_grid, shown_line, state_of, without_places
from lib_lora_train.previews.store import Asked, Cost, Kept, Source
from lib_lora_train.project import Project, create_project
from tests.helpers.studios import studio_host

DRAWING = Drawing("", "DDIM", 20, 7.0, 64, 64, 1)


@pytest.fixture
def place(tmp_path: Path):
    (tmp_path / "loras").mkdir()
    return studio_host(tmp_path, tmp_path / "none"), create_project(tmp_path / "projects", "Zuna")


def kept(host, project: Project, grid_id: str = "g01", text: str = 'a "quoted" <b>, 祖 😀') -> Kept:
    sources = (Source("r01", "A-r01-000001.safetensors"), Source("", "sub/other.safetensors"))
    columns = tuple(
        Column(store.column_path(host, project, source), f"label {number}", f"hash {number}", number, 10 * number)
        for number, source in enumerate(sources)
    )
    grid = Grid(
        (Base("tiny", "x"),), columns, (0.0, 0.5, 1.0), (GridPrompt(text, "caption", "caption", ("b",)),), (1, 2), DRAWING, "embedded"
    )  # fmt: skip
    asked = Asked(("r01",), ("other",), ("tiny",), {"weights": "0.5, 1", "steps": 20})
    return Kept(grid_id, "r01", 12.5, "anna", asked, grid, sources, {"k": 3}, Cost(1.5, 3, 2))


def written(host, project: Project, **changes: str) -> Kept:
    made = kept(host, project, store.new_folder(project).name, **changes)
    store.write_grid(project, made)
    return made


def test_what_is_written_is_read(place) -> None:
    host, project = place
    made = written(host, project)
    assert store.read_grid(host, project, "g01") == made
    content = (project.folder / "grids" / "g01" / "grid.json").read_text(encoding="utf-8")
    assert str(host.paths.loras) not in content and made.runs == ["r01"]


def test_a_file_is_found_where_a_pick_has_moved_it(place) -> None:
    host, project = place
    written(host, project)
    own = host.paths.loras / project.id / "A-r01-000001.safetensors"
    moved = project.folder / "runs" / "r01" / "checkpoints" / own.name
    assert store.read_grid(host, project, "g01").grid.columns[0].path == own
    moved.parent.mkdir(parents=True)
    moved.write_bytes(b"x")
    assert store.read_grid(host, project, "g01").grid.columns[0].path == moved


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "columns": [{}]}'])
def test_a_damaged_grid_is_said_to_be_one(place, content: str) -> None:
    host, project = place
    written(host, project)
    (project.folder / "grids" / "g01" / "grid.json").write_text(content)
    with pytest.raises(UserError) as caught:
        store.read_grid(host, project, "g01")
    assert caught.value.code == "previews.damaged"


@pytest.mark.parametrize("name", ["g1", "cells", "..", ".trash", "g01/../g01", "", "g０１"])
def test_what_is_no_grid(place, name: str) -> None:
    host, project = place
    written(host, project)
    with pytest.raises(UserError) as caught:
        store.read_grid(host, project, name)
    assert caught.value.code in ("previews.no_grid", "path.outside")


def test_the_trash_has_an_end_and_takes_pictures_along_that_nobody_has(place, monkeypatch: pytest.MonkeyPatch) -> None:
    host, project = place
    monkeypatch.setattr(store, "MOST_TRASH", 1)
    cells = store.cell_store(project)
    first, second, third = (written(host, project, text=text) for text in ("one", "two", "two"))
    for made in (first, second):
        for cell in made.grid.cells():
            cells.put(cell.key, Image.new("RGB", (8, 8)), "")
    store.delete_grid(host, project, first.id)
    assert len(cells.present()) == 20  # in the trash, and can come back
    store.delete_grid(host, project, second.id)
    assert [each.id for each in store.list_trash(project)] == [second.id]
    assert cells.present() == {cell.key for cell in third.grid.cells()}
    assert store.new_folder(project).name == "g04"


def test_no_picture_is_removed_while_a_grid_cannot_be_read(place) -> None:
    host, project = place
    made, damaged = written(host, project), written(host, project)
    cells = store.cell_store(project)
    cells.put("0" * 32, Image.new("RGB", (8, 8)), "")
    (project.folder / "grids" / damaged.id / "grid.json").write_text("{")
    store.sweep_cells(host, project)
    assert cells.present() == {"0" * 32}
    (project.folder / "grids" / damaged.id / "grid.json").unlink()
    (project.folder / "grids" / damaged.id).rmdir()
    store.sweep_cells(host, project)
    assert cells.present() == set() and store.read_grid(host, project, made.id) == made


def test_scores_that_cannot_be_read_are_none(place) -> None:
    _, project = place
    folder = store.new_folder(project)
    assert store.read_scores(project, folder.name) == Scores()
    (folder / "scores.json").write_text("{")
    assert store.read_scores(project, folder.name) == Scores()


def test_the_state_of_a_grid(place) -> None:
    host, project = place
    view = View(kept(host, project), Scores())
    whole, job = len(view.cells), {"state": "queued"}
    found = [
        state_of(view, *each)
        for each in (
            (0, None, None),
            (0, job, None),
            (whole, None, {"state": "done"}),
            (whole, None, None),
            (whole, None, {"state": "failed"}),  # by scoring it
            (whole - 1, None, {"state": "done"}),  # somebody skipped a picture, or deleted one
            (1, None, {"state": "interrupted"}),
        )
    ]
    assert found == ["new", "queued", "done", "done", "failed", "stopped", "interrupted"]


def test_scores_of_other_axes_are_not_shown(place) -> None:
    host, project = place
    scores = Scores(places={(0, 7, 1.0): {"collapse": 0.5}}, on=frozenset({"collapse"}), whole=True)
    emptied = without_places(scores)
    assert (emptied.places, emptied.whole, emptied.on) == ({}, False, scores.on)
    view = View(kept(host, project), emptied)
    shown = shown_grid(view, set(), None, None, "en", True)
    assert shown["recommendation"] is None and shown["scores"]["curve"] == []
    assert str(host.paths.loras) not in json.dumps([shown, shown_line(view, set(), None, None, "zh-CN")])


def test_names_of_cells_are_their_own_and_safe(place) -> None:
    host, project = place
    made = kept(host, project)
    grid = replace(made.grid, bases=(Base("a", "1"), Base("b", "2")), prompts=tuple(GridPrompt(t) for t in "xyz"))
    names = [cell_name(grid, cell) for cell in grid.cells()]
    assert len({name.casefold() for name in names}) == len(names) == grid.size
    assert all("/" not in name and name.endswith(".png") for name in names)


def test_exposure_is_not_needed_to_read(place) -> None:
    """A view is made of files alone."""
    from lib_lora_train.collection.limits import Limits
    from lib_lora_train.previews.previews import Previews

    host, project = place
    written(host, project)
    previews = Previews(host, Exposure(), Limits.local(), lambda visitor: [], Registry())
    first = previews.view(project, "g01")
    assert previews.view(project, "g01") is first  # nothing has changed
    previews.switch(project, "g01", ["copying"])
    assert previews.view(project, "g01").scores.on == {"copying"}
    assert not previews.lives(project) and previews.close(1)
