"""How much of a caption is trained on: the token limit in the project's settings."""

from __future__ import annotations

from lib_lora_train.editor.desk import Desk
from lib_lora_train.errors import UserError
from lib_lora_train.runs.drafts import DRAFT, read_draft
from lib_lora_train.tags.token_counts import LIMITS


def token_limit(desk: Desk) -> int:
    """75, 150 or 225 tokens, start and end marks not counted."""
    path = desk.project.folder / DRAFT
    try:
        information = path.stat()
    except OSError:
        return LIMITS[0]
    return desk.once("limit", (information.st_size, information.st_mtime_ns), lambda: _read(desk))


def _read(desk: Desk) -> int:
    try:
        limit = read_draft(desk.project).model.max_token_length
    except UserError:  # said where the settings are shown
        return LIMITS[0]
    return limit if limit in LIMITS else LIMITS[0]
