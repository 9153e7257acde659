"""Captions written beside the pictures of a folder, and taken back.

What was there before goes to `DIR/.lora_train/captions/<time>/`; the newest of these can be taken back, then the one
before it. A caption that somebody has changed since is left alone.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora_train.collection.caption_files import read_caption, save_caption
from lib_lora_train.errors import UserError
from lib_lora_train.files import discard, write_json
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.describing import describe
from lib_lora_train.prepare.folders import HIDDEN, find_pictures
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.prepare.models import fetch_models
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

RECORD, RECORD_VERSION = "record.json", 1


@dataclass
class Tagged:
    """`changed` captions were written, `kept` are as they were."""

    changed: int = 0
    kept: int = 0
    problems: list[UserError] = field(default_factory=list)


def tag_folder(
    folder: str,
    tools: Tools,
    settings: PrepareSettings,
    trigger: str = "",
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Tagged:
    """Writes the captions. Nothing is written before all pictures were looked at.

    Raises Stopped, and UserError: those of the folder, prepare.nothing_usable, of taggers, file.write.
    """
    found = find_pictures(folder, "DIR")
    cache = found.root / HIDDEN
    tagged = Tagged()

    def say(problems: Sequence[UserError]) -> None:
        for problem in problems:
            events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))
            tagged.problems.append(problem)

    for note in found.notes:
        events(note)
    say(found.problems)
    say(fetch_models(tools, settings, ["tag"], events, commands))
    digests, contents = Digests(cache / "digests.json"), {}
    for picture in found.pictures:
        try:
            contents[picture] = digests.of(picture.path, picture.name)
        except UserError as error:
            say([error])
    digests.save()
    looked_at = [(content, picture.name, picture.path) for picture, content in contents.items()]
    say(describe(looked_at, cache, tools, settings.tag, events, commands))
    if commands is not None and commands.stopping:
        raise Stopped
    seen = tools.seen(cache)
    if not any(seen.tags_of(content, settings.tag) or seen.sentence_of(content, settings.tag) for content in contents.values()):  # fmt: skip
        raise UserError("prepare.nothing_usable", found.root.name, count=len(found.pictures))
    caption = captioning(seen, settings.tag, trigger)
    events(Stage("prepare.stage_writing"))
    changes = []
    for picture, content in contents.items():
        before = read_caption(picture.path.parent, picture.path.name)
        text = caption(content, before.text)
        if text is None or text == before.text:
            tagged.kept += 1
        else:
            changes.append((picture.key, picture.path, before.text, text))
    _save(cache, changes)
    tagged.changed = len(changes)
    return tagged


def undo_tags(folder: str) -> tuple[int, int]:
    """Takes the newest writing of captions back: how many came back, and how many were changed since and stay.

    Raises UserError: those of the folder, prepare.no_undo, file.write.
    """
    root = find_pictures(folder, "DIR").root
    place = root / HIDDEN / "captions"
    for entry in sorted(place.iterdir(), reverse=True) if place.is_dir() else []:
        record = _read(entry)
        if record is None:
            continue
        pictures = {picture.key: picture.path for picture in find_pictures(folder, "DIR").pictures}
        back = left = 0
        for key, before, after in record:
            path = pictures.get(key)
            if path is None or read_caption(path.parent, path.name).text != after:
                left += 1
                continue
            save_caption(path.parent, path.name, before)
            back += 1
        discard(entry)
        return back, left
    raise UserError("prepare.no_undo", root.name)


def _save(cache: Path, changes: Sequence[tuple[str, Path, str, str]]) -> None:
    """The record first: whatever is written after it can be taken back."""
    if not changes:
        return
    entry = cache / "captions" / f"{time.time_ns():020d}-{secrets.token_hex(3)}"
    items: list[dict[str, Any]] = [
        {"picture": key, "before": before, "after": after} for key, _, before, after in changes
    ]
    write_json(entry / RECORD, {"version": RECORD_VERSION, "captions": items})
    for _, path, _, after in changes:
        save_caption(path.parent, path.name, after)


def _read(entry: Path) -> list[tuple[str, str, str]] | None:
    try:
        content = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        if content["version"] != RECORD_VERSION:
            return None
        return [(str(item["picture"]), str(item["before"]), str(item["after"])) for item in content["captions"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None

