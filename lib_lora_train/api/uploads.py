"""Pictures in and the data set out: single files, folders of the server, the whole as a zip."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from fastapi import Depends, Query, Request, Response

from lib_lora_train.api.bodies import Folder
from lib_lora_train.api.bridge import in_thread
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Body, Policy, policy
from lib_lora_train.api.replies import reply, stream_reply
from lib_lora_train.api.route import body_chunks, current_call
from lib_lora_train.collection.adding import Added, add_stream
from lib_lora_train.collection.archive import zip_chunks
from lib_lora_train.collection.imports import import_from

CALL = Depends(current_call)
MAX_NAME = 1000  # characters; a longer one is no file's name anywhere


@policy(Policy.WRITE, Body.BYTES)
async def add_file(
    request: Request,
    project_id: str,
    name: str = Query(..., min_length=1, max_length=MAX_NAME),
    concept: str = "",
    call: Call = CALL,
) -> Response:
    """Adds a picture, a caption (.txt) or a .zip of both, called `name`; the body is the file as it is."""
    limits = call.studio.limits
    most = limits.total_bytes if name.lower().endswith(".zip") else limits.file_bytes

    def add(chunks: Iterator[bytes]) -> Added:
        return add_stream(call.studio.project(call.visitor, project_id), concept, name, chunks, limits)

    return _added(await in_thread(add, body_chunks(request, most), call.gate.uploads()), call)


@policy(Policy.FOLDERS)
def import_folder(project_id: str, body: Folder, call: Call = CALL) -> Response:
    """Adds a folder of the server: kohya's, a data set TOML, another trainer's project, or plain pictures."""
    project = call.studio.project(call.visitor, project_id)
    return _added(import_from(project, Path(body.path), call.studio.limits, concept_id=body.concept), call)


@policy(Policy.READ)
def download_dataset(project_id: str, call: Call = CALL) -> Response:
    """The data set with captions and masks, as folders that kohya's scripts take."""
    project = call.studio.project(call.visitor, project_id)
    chunks = zip_chunks(project)
    first = next(chunks, b"")  # here an error still becomes an answer
    return stream_reply(itertools.chain([first], chunks), f"{project.title}.zip", "application/zip")


def _added(added: Added, call: Call) -> Response:
    return reply(added.as_dict(call.language))


ROUTES = (
    ("POST", "/projects/{project_id}/files", add_file),
    ("POST", "/projects/{project_id}/import", import_folder),
    ("GET", "/projects/{project_id}/dataset.zip", download_dataset),
)
