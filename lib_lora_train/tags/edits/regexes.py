"""A user's regular expressions, bounded: in length, in time and in what they make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib_lora_train.collection.limits import MAX_CAPTION_BYTES
from lib_lora_train.errors import UserError
from lib_lora_train.tags.edits.base import check_text, shortened

MOST_PATTERNS = 50
MOST_PATTERN = 500  # characters
SECONDS = 4.0  # for a whole batch; the few milliseconds of ordinary expressions are far below it
_START_SECONDS = 10.0  # more for the process itself to start, on a busy machine
_MEMORY = 1_000_000_000  # bytes, where the system can limit it
_MOST_FOUND = 1_000_000
_MOST_MADE = 256_000_000  # characters, of all texts together
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")  # a pattern's \\n would begin another line
_WORKER = Path(__file__).with_name("regex_worker.py")


def check_pattern(field: str, pattern: str) -> str:
    """Raises UserError: edits.nothing, edits.too_long, edits.characters. What it says is checked where it is run."""
    if not pattern:
        raise UserError("edits.nothing", field)
    return check_text(field, pattern, MOST_PATTERN)


def found_spans(
    field: str, patterns: Sequence[str], texts: Sequence[str], ignore_case: bool, seconds: float = SECONDS
) -> dict[str, list[tuple[int, int]]]:
    """Where the patterns are found in each text, by text; those with nothing are left out, and so are empty finds.

    Raises UserError: edits.pattern, edits.pattern_slow, edits.pattern_large, edits.no_worker.
    """
    task = {
        "how": "spans", "patterns": list(patterns), "texts": list(texts), "ignore_case": ignore_case, "most": _MOST_FOUND,
    }  # fmt: skip
    answer = _asked(field, task, seconds)["spans"]
    found = zip(texts, answer, strict=True)
    return {text: [(start, end) for start, end in spans] for text, spans in found if spans is not None}


def substituted(
    field: str, pattern: str, replacement: str, texts: Sequence[str], ignore_case: bool, seconds: float = SECONDS
) -> dict[str, str]:
    """What `re.sub` makes of each text, by text; those that stay are left out. Groups are \\1 or \\g<name>.

    Raises as `found_spans`.
    """
    task = {
        "how": "texts", "patterns": [pattern], "replacement": replacement, "texts": list(texts),
        "ignore_case": ignore_case, "longest": MAX_CAPTION_BYTES, "most": _MOST_MADE,
    }  # fmt: skip
    answer = _asked(field, task, seconds)["texts"]
    return {text: _CONTROL.sub(" ", new) for text, new in zip(texts, answer, strict=True) if new is not None}


def _asked(field: str, task: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The worker's answer. It gets nothing of this process but the task."""
    if not task["texts"]:
        return {"spans": [], "texts": []}
    data = json.dumps({**task, "seconds": seconds, "memory": _MEMORY}).encode("ascii")
    command = [sys.executable, "-I", "-S", "-B", str(_WORKER)]
    began = time.monotonic()
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows: no black window for a moment
    try:
        done = subprocess.run(
            command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds + _START_SECONDS,
            creationflags=flags, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UserError("edits.pattern_slow", field, seconds=round(seconds)) from error
    except OSError as error:
        raise UserError("edits.no_worker", field, reason=error.strerror or "?") from error
    if done.returncode and time.monotonic() - began > seconds:
        raise UserError("edits.pattern_slow", field, seconds=round(seconds))
    if done.returncode:
        raise UserError("edits.no_worker", field, reason=str(done.returncode))
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer.get("error") == "syntax":
        shown = shortened(" | ".join(task["patterns"]))
        raise UserError("edits.pattern", field, pattern=shown, reason=str(answer["reason"]))
    if answer.get("error"):
        raise UserError("edits.pattern_large", field)
    return answer
