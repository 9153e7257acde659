"""The tag editor: captions as files of other programs."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Depends, Query, Request, Response

from lib_lora_train.api.bridge import in_thread
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Body, Policy, policy
from lib_lora_train.api.replies import reply, stream_reply
from lib_lora_train.api.route import body_chunks, current_call
from lib_lora_train.api.tag_bodies import TagImport
from lib_lora_train.api.tags import desk_of, overview_reply
from lib_lora_train.editor import exchanging

CALL = Depends(current_call)
MOST_FILE = 64_000_000  # bytes
MOST_NAME, MOST_FILTER = 1_000, 2_000  # characters


@policy(Policy.READ)
def export_captions(
    project_id: str,
    kind: str = Query("kohya", alias="as", max_length=40),
    filter: str = Query("", max_length=MOST_FILTER),
    call: Call = CALL,
) -> Response:
    """Captions of the pictures that a filter finds: as kohya's metadata, all tags one per line, or a zip of files."""
    content, name, media_type = exchanging.export_captions(desk_of(call, project_id), kind, filter, call.language)
    return stream_reply(iter([content]), name, media_type)


@policy(Policy.WRITE, Body.BYTES)
async def import_captions(
    request: Request,
    project_id: str,
    name: str = Query(..., min_length=1, max_length=MOST_NAME),
    offset: int = Query(0, ge=0, le=10**9),
    limit: int = Query(50, ge=1, le=200),
    call: Call = CALL,
) -> Response:
    """What kohya's metadata, a zip of captions or a text file would change; the body is the file as it is."""

    def read(chunks: Iterator[bytes]) -> Response:
        desk = desk_of(call, project_id)
        return reply(exchanging.read_captions(desk, b"".join(chunks), name, offset, limit, call.language))

    most = min(MOST_FILE, call.studio.limits.file_bytes)
    return await in_thread(read, body_chunks(request, most), call.gate.uploads())


@policy(Policy.WRITE)
def apply_import(project_id: str, body: TagImport, call: Call = CALL) -> Response:
    """Gives the pictures the captions of the file that was sent before."""
    desk = desk_of(call, project_id)
    exchanging.apply_captions(desk, body.token, body.digest)
    return overview_reply(call, desk)


_TAGS = "/projects/{project_id}/tags"
ROUTES = (
    ("GET", f"{_TAGS}/export", export_captions),
    ("POST", f"{_TAGS}/import", import_captions),
    ("POST", f"{_TAGS}/import/apply", apply_import),
)
