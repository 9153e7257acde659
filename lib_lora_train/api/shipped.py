"""The page's own files, sent as they are: scripts and style sheet."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.errors import UserError

STYLE = "style.css"
KINDS = {".js": "text/javascript", ".css": "text/css"}


def asset(folder: Path | None, name: str) -> Path:
    """A file of `folder` (which holds javascript/ and style.css) by its name, looked up among those there are.

    None is the folder of a host that serves them itself. Raises UserError("api.no_file").
    """
    if folder is not None:
        for path in [*(folder / "javascript").glob("*.js"), folder / STYLE]:
            if path.name == name and path.is_file():
                return path
    raise UserError("api.no_file", name[:120])
