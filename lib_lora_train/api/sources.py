"""The originals of a project: how they are cut, their masks, and pictures of all of it."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Depends, Query, Request, Response

from lib_lora_train.api.bodies import Frames, Like, Nothing
from lib_lora_train.api.bridge import in_thread
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Body, Policy, policy
from lib_lora_train.api.replies import STAMPED, inline_reply, reply
from lib_lora_train.api.route import body_chunks, current_call
from lib_lora_train.workshop import sources
from lib_lora_train.workshop.context import Context

CALL = Depends(current_call)
MOST_AT_ONCE = 1000
MOST_MASK = 20_000_000  # bytes


@policy(Policy.READ)
def list_sources(
    project_id: str,
    concept: str = "",
    offset: int = Query(0, ge=0, le=10**9),
    limit: int = Query(200, ge=1, le=MOST_AT_ONCE),
    call: Call = CALL,
) -> Response:
    """Original pictures with their crops, of one concept or of all."""
    return reply(sources.list_sources(_context(call, project_id), concept, offset, limit, call.language))


@policy(Policy.READ)
def read_source(project_id: str, source_id: str, call: Call = CALL) -> Response:
    """One original."""
    return _source(call, project_id, source_id)


@policy(Policy.READ)
def read_thumbnail(project_id: str, source_id: str, v: str = "", call: Call = CALL) -> Response:
    """An original, small, as JPEG."""
    return _view(call, project_id, source_id, v, sources.THUMBNAIL_SIDE)


@policy(Policy.READ)
def read_view(project_id: str, source_id: str, v: str = "", call: Call = CALL) -> Response:
    """An original, large, as JPEG."""
    return _view(call, project_id, source_id, v, sources.VIEW_SIDE)


@policy(Policy.READ)
def read_preview(
    project_id: str,
    source_id: str,
    crop: int = Query(0, ge=0, le=1000),
    size: int = Query(sources.VIEW_SIDE, ge=64, le=sources.VIEW_SIDE),
    v: str = "",
    call: Call = CALL,
) -> Response:
    """What would be written into the data set, at most `size` px long."""
    context = _context(call, project_id)
    entry = sources.entry_of(context, source_id)
    kept = STAMPED if v and v == sources.preview_stamp(entry, crop) else ""
    return inline_reply(*sources.preview(context, entry, crop, size), kept)


@policy(Policy.WRITE)
def change_crops(project_id: str, source_id: str, body: Frames, call: Call = CALL) -> Response:
    """Crops by hand."""
    sources.set_crops(_context(call, project_id), source_id, body.crops)
    return _source(call, project_id, source_id)


@policy(Policy.WRITE)
def reset_crops(project_id: str, source_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Back to the proposed crops."""
    sources.set_crops(_context(call, project_id), source_id, None)
    return _source(call, project_id, source_id)


@policy(Policy.WRITE)
def crop_all(project_id: str, body: Like, call: Call = CALL) -> Response:
    """The crops of one original for all others, at the same places."""
    sources.like_all(_context(call, project_id), body.source)
    project = call.studio.project(call.visitor, project_id)
    return reply(call.studio.workshop.overview(project, call.visitor))


@policy(Policy.READ)
def read_mask(
    project_id: str,
    source_id: str,
    size: int = Query(0, ge=0, le=sources.VIEW_SIDE),
    v: str = "",
    call: Call = CALL,
) -> Response:
    """The mask of an original, a grey PNG, at most `size` px long; 0 for as it is kept."""
    context = _context(call, project_id)
    data, stamp = sources.read_mask(context, sources.entry_of(context, source_id), size)
    return inline_reply(data, "image/png", STAMPED if v and v == stamp else "")


@policy(Policy.WRITE, Body.BYTES)
async def change_mask(request: Request, project_id: str, source_id: str, call: Call = CALL) -> Response:
    """A mask corrected by hand; the body is a PNG."""

    def keep(chunks: Iterator[bytes]) -> Response:
        sources.write_mask(_context(call, project_id), source_id, b"".join(chunks))
        return _source(call, project_id, source_id)

    return await in_thread(keep, body_chunks(request, MOST_MASK), call.gate.uploads())


@policy(Policy.WRITE)
def reset_mask(project_id: str, source_id: str, call: Call = CALL) -> Response:
    """Back to the mask that was made by a model."""
    sources.reset_mask(_context(call, project_id), source_id)
    return _source(call, project_id, source_id)


def _context(call: Call, project_id: str) -> Context:
    return call.studio.workshop.context(call.studio.project(call.visitor, project_id))


def _source(call: Call, project_id: str, source_id: str) -> Response:
    context = _context(call, project_id)
    return reply(sources.show_source(context, sources.entry_of(context, source_id), call.language))


def _view(call: Call, project_id: str, source_id: str, stamp: str, side: int) -> Response:
    entry = sources.entry_of(_context(call, project_id), source_id)
    kept = STAMPED if stamp and stamp == sources.stamp_of(entry) else ""
    return inline_reply(*sources.original_view(entry, side), kept)


_SOURCE = "/projects/{project_id}/prepare/sources/{source_id}"
ROUTES = (
    ("GET", "/projects/{project_id}/prepare/sources", list_sources),
    ("GET", _SOURCE, read_source),
    ("GET", f"{_SOURCE}/thumbnail", read_thumbnail),
    ("GET", f"{_SOURCE}/view", read_view),
    ("GET", f"{_SOURCE}/preview", read_preview),
    ("PUT", f"{_SOURCE}/crops", change_crops),
    ("POST", f"{_SOURCE}/crops/reset", reset_crops),
    ("POST", "/projects/{project_id}/prepare/crops/all", crop_all),
    ("GET", f"{_SOURCE}/matte", read_mask),
    ("PUT", f"{_SOURCE}/matte", change_mask),
    ("DELETE", f"{_SOURCE}/matte", reset_mask),
)
