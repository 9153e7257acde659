"""Using a cell of a grid, undoing that, LoRA files from LoRA files, and sweeps."""

from __future__ import annotations

from typing import Literal

from fastapi import Depends, Response

from lib_lora_train.api.bodies import Nothing
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.preview_bodies import GridPick, GridUnpick, LoraTool, SweepQuestion
from lib_lora_train.api.replies import file_reply, reply
from lib_lora_train.api.route import current_call
from lib_lora_train.previews.picks import picked_file, shown_pick
from lib_lora_train.previews.pictures import find_cell
from lib_lora_train.previews.tools import shown_tools, use_tool
from lib_lora_train.runs.drafts import read_draft
from lib_lora_train.runs.history import changed_settings
from lib_lora_train.runs.naming import find_lora
from lib_lora_train.runs.picking import unpick
from lib_lora_train.runs.sweeps import look_at_runs, plan_sweep
from lib_lora_train.settings.reading import from_document
from lib_lora_train.words import word

CALL = Depends(current_call)


@policy(Policy.WRITE)
def pick(project_id: str, grid_id: str, body: GridPick, call: Call = CALL) -> Response:
    """Publishes a cell's file under a name with card and thumbnail, checked before; a name in use is refused.

    With `wait` false it is answered at once, and `GET /grids` tells how far it is.
    """
    previews = call.studio.previews
    project = call.studio.project(call.visitor, project_id)
    view = previews.view(project, grid_id)
    cell = find_cell(view, body.cell)
    values = {name: value for name, value in vars(body).items() if name not in ("cell", "wait") and value is not None}
    picking = previews.picking.start(project, call.visitor, view, cell, values)
    if body.wait:
        return reply(previews.picking.result(picking, call.language))
    return reply({"picking": previews.picking.shown(project, call.visitor)})


@policy(Policy.WRITE)
def cancel_pick(project_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Ends the picking that waits or is under way, if it has not come to its last step."""
    project = call.studio.project(call.visitor, project_id)
    call.studio.previews.picking.stop(project, call.visitor)
    return reply({"picking": call.studio.previews.picking.shown(project, call.visitor)})


@policy(Policy.WRITE)
def undo_pick(project_id: str, body: GridUnpick, call: Call = CALL) -> Response:
    """Takes a published file away again, and brings back what was moved for it; the newest when none is named."""
    project = call.studio.project(call.visitor, project_id)
    return reply(shown_pick(unpick(call.studio.host, project, body.pick)))


@policy(Policy.READ)
def download_picked(
    project_id: str, pick_id: str, part: Literal["lora", "card", "picture"], call: Call = CALL
) -> Response:
    """What a pick has published: the LoRA, its card, or the picture of the card."""
    path = picked_file(call.studio.host, call.studio.project(call.visitor, project_id), pick_id, part)
    return file_reply(path, path.name)


@policy(Policy.READ)
def list_tools(project_id: str, call: Call = CALL) -> Response:
    """What can be made of LoRA files, and the files there are."""
    call.studio.project(call.visitor, project_id)
    return reply(shown_tools(call.studio.loras(call.visitor)))


@policy(Policy.WRITE)
def run_tool(project_id: str, tool: str, body: LoraTool, call: Call = CALL) -> Response:
    """A new LoRA file: `resize`d to a rank, `merge`d from several, `scrub`bed of what tells of pictures, `convert`ed."""
    project = call.studio.project(call.visitor, project_id)
    files = call.studio.previews.check_files(call.visitor, body.files)
    return reply(
        use_tool(call.studio.host, project, tool, files, body.name, body.weights, body.rank, body.keep, body.precision)
    )


@policy(Policy.READ)
def download_file(project_id: str, name: str, call: Call = CALL) -> Response:
    """A LoRA file that tools can take, as those that they have made."""
    call.studio.project(call.visitor, project_id)
    [stem] = call.studio.previews.check_files(call.visitor, [name])
    path = find_lora(call.studio.host, stem)
    return file_reply(path, path.name)


@policy(Policy.WRITE)
def sweep(project_id: str, body: SweepQuestion, call: Call = CALL) -> Response:
    """A run for every combination of some settings' values, with its steps; with `start` they are put in line, all or none."""
    project = call.studio.project(call.visitor, project_id)
    settings = read_draft(project) if body.settings is None else from_document(body.settings, "settings").settings
    planned = plan_sweep(settings, body.values)
    started = call.studio.sweep(call.visitor, project, planned) if body.start else []
    runs = []
    looked_at = look_at_runs(call.studio.host, project, planned)
    for place, (each, (steps, problem)) in enumerate(zip(planned, looked_at, strict=True)):
        changed = [{**vars(item), "label": word(item.label, call.language)} for item in changed_settings(each.settings)]
        said = problem.as_dict(call.language) if problem is not None else None
        run = {"label": each.label, "settings": changed, "steps": steps, "problem": said, "run": "", "job": ""}
        runs.append(run | ({"run": started[place].run_id, "job": started[place].job.id} if started else {}))
    return reply({"runs": runs, "started": bool(started)})


_GRIDS = "/projects/{project_id}/grids"
ROUTES = (
    ("POST", f"{_GRIDS}/unpick", undo_pick),
    ("POST", f"{_GRIDS}/cancel-pick", cancel_pick),
    ("GET", f"{_GRIDS}/picks/{{pick_id}}/{{part}}", download_picked),
    ("GET", f"{_GRIDS}/tools", list_tools),
    ("GET", f"{_GRIDS}/tools/files/{{name}}", download_file),
    ("POST", f"{_GRIDS}/tools/{{tool}}", run_tool),
    ("POST", f"{_GRIDS}/sweep", sweep),
    ("POST", f"{_GRIDS}/{{grid_id}}/pick", pick),
)
