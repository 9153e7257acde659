"""The grids of a project: what there is, making one, its pictures, judging, taking them away."""

from __future__ import annotations

from fastapi import Depends, Query, Response

from lib_lora_train.api.bodies import Nothing, Trashed
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.preview_bodies import GridCells, GridQuestion, GridScores, GridStars, NewGrid
from lib_lora_train.api.replies import AN_HOUR, inline_reply, reply, stream_reply
from lib_lora_train.api.route import current_call
from lib_lora_train.previews import exporting, pictures
from lib_lora_train.previews.asking import Question

CALL = Depends(current_call)


@policy(Policy.READ)
def list_grids(project_id: str, call: Call = CALL) -> Response:
    """A project's grids, newest first, the settings of a grid, deleted grids and picks that can be undone."""
    project = call.studio.project(call.visitor, project_id)
    return reply(call.studio.previews.overview(project, call.visitor))


@policy(Policy.WRITE)
def plan_grid(project_id: str, body: GridQuestion, call: Call = CALL) -> Response:
    """What a grid would be: pictures, how many of them are new, seconds, files and prompts. Nothing is kept of it."""
    project = call.studio.project(call.visitor, project_id)
    return reply(call.studio.previews.plan(project, call.visitor, _question(body)))


@policy(Policy.WRITE)
def make_grid(project_id: str, body: NewGrid, call: Call = CALL) -> Response:
    """Puts a grid in line, or goes on with the one that was asked for in the same way."""
    project = call.studio.project(call.visitor, project_id)
    grid_id = call.studio.previews.start(project, call.visitor, _question(body), body.grid)
    return reply({"grid": grid_id, **_shown(call, project_id, grid_id, cells=False)}, 201)


@policy(Policy.WRITE)
def restore_grid(project_id: str, body: Trashed, call: Call = CALL) -> Response:
    """Brings a deleted grid back."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"grid": call.studio.previews.restore(project, body.trash_id)})


@policy(Policy.READ)
def show_grid(project_id: str, grid_id: str, cells: bool = Query(True), call: Call = CALL) -> Response:
    """A grid with its axes, cells, scores and recommendation; `?cells=false` for how far it is, with places of cells in `drawn`."""
    return reply(_shown(call, project_id, grid_id, cells))


@policy(Policy.WRITE)
def delete_grid(project_id: str, grid_id: str, call: Call = CALL) -> Response:
    """Moves a grid to the trash; its pictures stay until the trash is full."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"trash_id": call.studio.previews.delete(project, call.visitor, grid_id)})


@policy(Policy.WRITE)
def stop_grid(project_id: str, grid_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Ends drawing; what is drawn stays."""
    call.studio.previews.stop(call.studio.project(call.visitor, project_id), call.visitor, grid_id)
    return reply(_shown(call, project_id, grid_id, cells=False))


@policy(Policy.WRITE)
def continue_grid(project_id: str, grid_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Draws what is missing, and scores what is new."""
    call.studio.previews.go_on(call.studio.project(call.visitor, project_id), call.visitor, grid_id)
    return reply(_shown(call, project_id, grid_id, cells=False))


@policy(Policy.WRITE)
def redraw_cells(project_id: str, grid_id: str, body: GridCells, call: Call = CALL) -> Response:
    """Draws some pictures again."""
    call.studio.previews.redraw(call.studio.project(call.visitor, project_id), call.visitor, grid_id, body.cells)
    return reply(_shown(call, project_id, grid_id, cells=False))


@policy(Policy.WRITE)
def give_stars(project_id: str, grid_id: str, body: GridStars, call: Call = CALL) -> Response:
    """Gives a cell 1 to 5 stars, which win over the scores; 0 takes them away."""
    project = call.studio.project(call.visitor, project_id)
    call.studio.previews.give_stars(project, grid_id, body.cell, body.stars)
    return reply(_shown(call, project_id, grid_id, cells=False))


@policy(Policy.WRITE)
def switch_scores(project_id: str, grid_id: str, body: GridScores, call: Call = CALL) -> Response:
    """Which scores are shown and count."""
    call.studio.previews.switch(call.studio.project(call.visitor, project_id), grid_id, body.on)
    return reply(_shown(call, project_id, grid_id, cells=True))


@policy(Policy.READ)
def show_cell(project_id: str, grid_id: str, key: str, call: Call = CALL) -> Response:
    """A cell's picture as PNG with the text that draws it again."""
    project = call.studio.project(call.visitor, project_id)
    path = pictures.picture_path(project, call.studio.previews.view(project, grid_id), key)
    return inline_reply(path, "image/png", AN_HOUR)


@policy(Policy.READ)
def show_thumbnail(project_id: str, grid_id: str, key: str, call: Call = CALL) -> Response:
    """A cell's picture, small, as JPEG."""
    project = call.studio.project(call.visitor, project_id)
    path = pictures.thumbnail(project, call.studio.previews.view(project, grid_id), key)
    return inline_reply(path, "image/jpeg", AN_HOUR)


@policy(Policy.READ)
def show_text(project_id: str, grid_id: str, key: str, call: Call = CALL) -> Response:
    """What draws a cell again in txt2img, and a name that is free for its file."""
    project, studio = call.studio.project(call.visitor, project_id), call.studio
    return reply(pictures.cell_text(studio.host, project, studio.previews.view(project, grid_id), key))


@policy(Policy.READ)
def show_difference(project_id: str, grid_id: str, key: str, call: Call = CALL) -> Response:
    """By what a cell differs from the same picture without the LoRA, as PNG."""
    project = call.studio.project(call.visitor, project_id)
    content = pictures.difference(project, call.studio.previews.view(project, grid_id), key)
    return inline_reply(content, "image/png", AN_HOUR)


@policy(Policy.READ)
def export_grid(
    project_id: str, grid_id: str, kind: str = Query("png", alias="as", max_length=40), call: Call = CALL
) -> Response:
    """A grid as one large picture (`?as=png`), a table of scores (`csv`), all of it (`zip`), or the text of an X/Y/Z plot (`plot`)."""
    project = call.studio.project(call.visitor, project_id)
    view = call.studio.previews.view(project, grid_id)
    return stream_reply(*exporting.export(project, view, kind, call.language))


def _question(body: GridQuestion) -> Question:
    return Question(body.runs, body.files, body.bases, body.settings)


def _shown(call: Call, project_id: str, grid_id: str, cells: bool) -> dict[str, object]:
    project = call.studio.project(call.visitor, project_id)
    return call.studio.previews.shown(project, grid_id, call.visitor, cells)


_GRIDS = "/projects/{project_id}/grids"
_GRID = f"{_GRIDS}/{{grid_id}}"
ROUTES = (
    ("GET", _GRIDS, list_grids),
    ("POST", _GRIDS, make_grid),
    ("POST", f"{_GRIDS}/plan", plan_grid),
    ("POST", f"{_GRIDS}/restore", restore_grid),
    ("GET", _GRID, show_grid),
    ("DELETE", _GRID, delete_grid),
    ("POST", f"{_GRID}/stop", stop_grid),
    ("POST", f"{_GRID}/continue", continue_grid),
    ("POST", f"{_GRID}/redraw", redraw_cells),
    ("PUT", f"{_GRID}/stars", give_stars),
    ("PUT", f"{_GRID}/scores", switch_scores),
    ("GET", f"{_GRID}/cells/{{key}}", show_cell),
    ("GET", f"{_GRID}/cells/{{key}}/thumbnail", show_thumbnail),
    ("GET", f"{_GRID}/cells/{{key}}/text", show_text),
    ("GET", f"{_GRID}/difference/{{key}}", show_difference),
    ("GET", f"{_GRID}/export", export_grid),
)
