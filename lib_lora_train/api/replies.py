"""What goes back: data, errors, pictures and files, each with the headers that keep it from being taken for more."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from lib_lora_train.errors import UserError
from lib_lora_train.files import safe_name

PRIVATE = "private, no-store"
STAMPED = "private, max-age=31536000, immutable"  # the address changes when the thing does
AN_HOUR = "private, max-age=3600"
CHUNK = 1 << 20  # bytes

# By code, else by the longest beginning that stands here, else 400.
STATUS: dict[str, int] = {
    "access.": 403,
    "api.failed": 500,
    "api.field_": 422,
    "api.host": 403,
    "api.json": 422,
    "api.login": 401,
    "api.no_": 404,
    "api.origin": 403,
    "api.page": 403,
    "api.session": 401,
    "api.too_large": 413,
    "api.type": 415,
    "collection.caption_changed": 409,
    "collection.concept_taken": 409,
    "collection.too_heavy": 413,
    "collection.unknown_": 404,
    "editor.changed": 409,
    "history.changed": 409,
    "history.not_newest": 409,
    "history.unknown_entry": 404,
    "job.busy": 409,
    "job.not_waiting": 409,
    "job.queue_full": 409,
    "job.unknown": 404,
    "models.unknown": 404,
    "picking.appeared": 409,
    "picking.in_way": 409,
    "picking.later": 409,
    "picking.no_pick": 404,
    "picking.taken": 409,
    "prepare.busy": 409,
    "prepare.no_downloads": 403,
    "prepare.no_finding": 404,
    "prepare.no_mask": 404,
    "prepare.no_undo": 409,
    "prepare.training": 409,
    "prepare.unknown_source": 404,
    "preset.taken": 409,
    "preset.unknown": 404,
    "preview.no_cell": 404,
    "previews.busy": 409,
    "previews.model_busy": 409,
    "previews.no_": 404,
    "previews.no_making": 403,
    "previews.not_in_trash": 404,
    "previews.pick_ended": 409,
    "project.no_run": 404,
    "project.taken": 409,
    "project.unknown": 404,
    "run.lives": 409,
    "run.no_file": 404,
    "run.not_in_trash": 404,
    "run.not_resumable": 409,
    "run.not_running": 409,
    "run.repeats_busy": 409,
    "run.taken": 409,
    "studio.project_lives": 409,
}


def status_of(code: str) -> int:
    matching = [known for known in STATUS if code == known or (known[-1] in "._" and code.startswith(known))]
    return STATUS[max(matching, key=len)] if matching else 400


def plain(value: object) -> object:
    """`value` as JSON has it: numbers that are none become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def reply(value: object, status: int = 200) -> Response:
    """Data as JSON."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # "replace": a file name that is no text on this system cannot be sent, and nothing is asked for by name.
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def error_reply(error: UserError, language: str, asks_for_login: bool = False) -> Response:
    """The error's four fields; of a caption that somebody else has changed, their text as well, and of a filter that
    is not understood, the place where it is wrong, and of a name that is taken, one that is free."""
    content: dict[str, object] = {"error": error.as_dict(language)}
    if error.code == "collection.caption_changed":
        content["theirs"] = {"text": error.values["theirs"], "version": error.values["version"]}
    if error.code.startswith("filter.") and {"position", "length"} <= error.values.keys():
        content["mark"] = {"position": error.values["position"], "length": error.values["length"]}
    if error.code == "picking.taken":
        content["free"] = error.values["free"]
    response = reply(content, status_of(error.code))
    if response.status_code == 401 and asks_for_login:
        response.headers["www-authenticate"] = 'Basic realm="LoRA Train", charset="UTF-8"'
    return response


def inline_reply(content: Path | bytes, media_type: str, kept: str = "") -> Response:
    """Something small of ours that is shown in the page; `kept` says how long the browser may keep it."""
    if isinstance(content, Path):
        with _open(content) as handle:
            content = handle.read()
    response = Response(content, media_type=media_type)
    if kept:
        response.headers["cache-control"] = kept
    return response


def text_reply(text: str, name: str) -> Response:
    """A small text file to be saved."""
    return Response(text.encode("utf-8", "replace"), media_type="text/plain", headers=_saved_as(name))


def file_reply(path: Path, name: str) -> Response:
    """A file of any size to be saved, sent piece by piece. Raises UserError("api.no_file")."""
    handle = _open(path)
    headers = {**_saved_as(name), "content-length": str(path.stat().st_size)}
    return StreamingResponse(_pieces(handle), media_type="application/octet-stream", headers=headers)


def stream_reply(chunks: Iterator[bytes], name: str, media_type: str) -> Response:
    """What is made while it is sent, to be saved."""
    return StreamingResponse(chunks, media_type=media_type, headers=_saved_as(name))


def harden(response: Response) -> Response:
    """Nobody keeps or embeds it, and no browser takes it for something else than it says it is."""
    response.headers.setdefault("cache-control", PRIVATE)
    response.headers.setdefault("x-content-type-options", "nosniff")
    response.headers.setdefault("cross-origin-resource-policy", "same-origin")
    return response


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:  # deleted between the look and now
        raise UserError("api.no_file", path.name) from error


def _pieces(handle: BinaryIO) -> Iterator[bytes]:
    with handle:
        while chunk := handle.read(CHUNK):
            yield chunk


def _saved_as(name: str) -> dict[str, str]:
    """RFC 6266 with the name in RFC 5987 form, and a plain one for programs that do not read that."""
    name = safe_name(name)
    plain_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("%", "_")
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return {"content-disposition": f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{encoded}"}
