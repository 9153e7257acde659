"""A run's log in words: the sentences of its events, in the reader's language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO

from lib_lora_train.errors import in_language
from lib_lora_train.job_files import EVENTS
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.project import Project, run_folder

_STEP = b'{"event": "Step"'  # most of the lines, and nothing for a log: passed over without being parsed
_STAGE = b'{"event": "Stage"'
_LOOK_BACK = 1 << 16  # bytes before the offset in which the stage that was told last is looked for


@dataclass(frozen=True)
class Line:
    """`level` is info, warning or error; `time` in seconds since 1970, 0 where it was not recorded."""

    level: str
    text: str
    time: float


def read_log(
    project: Project, run_id: str, offset: int = 0, language: str = DEFAULT_LANGUAGE
) -> tuple[list[Line], int]:
    """The lines from byte `offset` of the events on, and the offset to go on from. Raises UserError("project.no_run").

    A stage is told once, however often it says how far it is. An offset past the end begins anew.
    """
    path = run_folder(project, run_id) / EVENTS
    try:
        with path.open("rb") as handle:
            end = handle.seek(0, 2)
            start = offset if 0 <= offset <= end else 0
            stage = _stage_before(handle, start)
            handle.seek(start)
            return _read(handle, start, stage, language)
    except FileNotFoundError:
        return [], 0


def _read(handle: BinaryIO, offset: int, stage: str, language: str) -> tuple[list[Line], int]:
    lines = []
    for raw in handle:
        if not raw.endswith(b"\n"):  # not yet written to its end
            break
        offset += len(raw)
        event = None if raw.startswith(_STEP) else _parsed(raw)
        if event is None or (event.get("event") == "Stage" and event.get("code") == stage):
            continue
        if event.get("event") == "Stage":
            stage = str(event.get("code"))
        text = _text(event, language)
        if text:
            lines.append(Line(_level(event), text, _time(event)))
    return lines, offset


def _stage_before(handle: BinaryIO, offset: int) -> str:
    """The code of the last stage before `offset`; empty when none is near."""
    start = max(0, offset - _LOOK_BACK)
    handle.seek(start)
    for raw in reversed(handle.read(offset - start).splitlines()):
        event = _parsed(raw) if raw.startswith(_STAGE) else None
        if event is not None:
            return str(event.get("code"))
    return ""


def _parsed(raw: bytes) -> dict[str, object] | None:
    """None for a line that was torn by a power cut."""
    try:
        event = json.loads(raw)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _text(event: Mapping[str, object], language: str) -> str:
    kind, code, values = event.get("event"), str(event.get("code")), event.get("values")
    values = values if isinstance(values, dict) else {}
    try:
        if kind == "Stage":
            return message(code, language)
        if kind == "Log":
            details = values.get("details")
            if isinstance(details, dict):
                error = in_language(details, language)
                return f"{error['sentence']} {error['remedy']}".strip()
            return message(code, language, **values)
        if kind == "Saved":
            return message("run.log_saved", language, name=_name(event["path"]), step=event["step"])
        if kind == "Validated":
            values = {"step": event["step"], "loss": f"{event['loss']:.4f}", "count": event["pictures"]}
            return message("run.log_validated", language, **values)
        if kind == "Sampled":
            return message("run.log_sampled", language, step=event["step"], prompt=event["prompt"])
    except (KeyError, IndexError, TypeError, ValueError):  # written by another version
        return code if kind == "Log" else ""
    return ""


def _name(path: object) -> str:
    """The last part of a path that this computer or another one wrote."""
    return PureWindowsPath(PurePosixPath(str(path)).name).name


def _level(event: Mapping[str, object]) -> str:
    level = event.get("level", "info")
    return level if level in ("info", "warning", "error") else "info"


def _time(event: Mapping[str, object]) -> float:
    time = event.get("time", 0.0)
    return float(time) if isinstance(time, int | float) else 0.0
