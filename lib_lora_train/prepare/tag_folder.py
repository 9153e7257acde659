"""Captions written beside the pictures of a folder, and taken back.

What was there before goes to `DIR/.lora_train/captions/<time>/`; the newest of these can be taken back, then the one
before it. A caption that somebody has changed since is left alone.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora_train.collection.caption_files import Caption, read_caption, save_caption
from lib_lora_train.collection.names import fold, shown
from lib_lora_train.dataset.images import read_size
from lib_lora_train.errors import UserError
from lib_lora_train.files import discard, write_json
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.describing import describe
from lib_lora_train.prepare.folders import HIDDEN, FolderPicture, Found, find_pictures
from lib_lora_train.prepare.kept import Digests
from lib_lora_train.prepare.models import fetch_models
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Commands, EventSink, Log, Stage, Stopped, ignore_events

RECORD, RECORD_VERSION = "record.json", 1

Say = Callable[[Sequence[UserError]], None]


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
    """Writes the captions. Nothing is written before all pictures were looked at; without a tagger or captioner it is
    the trigger word alone.

    Raises Stopped, and UserError: those of the folder, prepare.empty, prepare.no_words, prepare.nothing_usable, of
    taggers, file.write.
    """
    found = find_pictures(folder, "DIR")
    found.check_some()
    wanted = settings.tag
    looking = bool(wanted.taggers or wanted.captioner != "none")
    if not looking and not trigger and not wanted.trigger:
        raise UserError("prepare.no_words", "--tagger")
    tools.check_taggers(wanted.taggers)
    cache = found.root / HIDDEN
    tagged = Tagged()

    def say(problems: Sequence[UserError]) -> None:
        for problem in problems:
            events(Log(problem.code, {"where": problem.where, **problem.values}, "warning"))
            tagged.problems.append(problem)

    for note in found.notes:
        events(note)
    say(found.problems)
    contents = _contents(found, cache, say)
    unfetched = fetch_models(tools, settings, ["tag"], events, commands)
    looked_at = [(content, picture.name, picture.path) for picture, content in contents.items()]
    seen = tools.seen(cache)
    caption = captioning(seen, wanted, trigger)
    try:
        problems = describe(looked_at, cache, tools, wanted, events, commands) if looking else []
    except UserError as error:  # that it could not be downloaded says more than that it is missing
        raise next((each for each in unfetched if each.where == error.where), error) from error
    missing = {each.where for each in unfetched}
    say([*unfetched, *(each for each in problems if each.code != "models.missing" or each.where not in missing)])
    if commands is not None and commands.stopping:
        raise Stopped
    if looking:
        seen = tools.seen(cache)
        caption = captioning(seen, wanted, trigger)
        reading = seen.by(wanted)
        usable = {picture for picture, content in contents.items() if reading.tags_of(content) or reading.sentence_of(content)}  # fmt: skip
    else:
        usable = _readable(contents, say)
    if not usable:
        raise UserError("prepare.nothing_usable", found.root.name, count=len(found.pictures))
    changes = []
    for picture in (each for each in contents if each in usable):
        before = read_caption(picture.path.parent, picture.path.name)
        text = caption(contents[picture], before.text) if _is_writable(picture, before, say) else None
        if text is None or text == before.text:
            tagged.kept += 1
        else:
            changes.append((picture.key, picture.path, before.text, text))
    if changes:
        events(Stage("prepare.stage_writing"))
        _save(cache, changes)
    tagged.changed = len(changes)
    return tagged


def _contents(found: Found, cache: Path, say: Say) -> dict[FolderPicture, str]:
    """The pictures with their digests. Of several that share a caption, because only their ending differs, the first."""
    digests, contents = Digests(cache / "digests.json"), {}
    stems: dict[tuple[str, str], str] = {}
    for picture in found.pictures:
        first = stems.setdefault((picture.folder, fold(picture.stem)), picture.path.name)
        try:
            found.check_link(picture)
            if first != picture.path.name:
                raise UserError("prepare.same_caption", picture.name, other=shown(first))
            contents[picture] = digests.of(picture.path, picture.name)
        except UserError as error:
            say([error])
    digests.save()
    return contents


def _readable(pictures: Iterable[FolderPicture], say: Say) -> set[FolderPicture]:
    """Those that are pictures, as far as their headers tell."""
    found = set()
    for picture in pictures:
        try:
            read_size(picture.path, picture.name)
            found.add(picture)
        except UserError as error:
            say([error])
    return found


def _is_writable(picture: FolderPicture, caption: Caption, say: Say) -> bool:
    """Words that cannot be read are not written over, nor is a link."""
    path = picture.path.with_name(picture.stem + ".txt")
    if caption.error is not None:
        say([caption.error])
    elif not caption.version and os.path.lexists(path):
        say([UserError("caption.unreadable", shown(path.name), reason="no file")])
    else:
        return True
    return False


def undo_tags(folder: str) -> tuple[int, int]:
    """Takes the newest writing of captions back: how many came back, and how many were changed since and stay.

    Raises UserError: those of the folder, prepare.no_tags_undo, file.write.
    """
    found = find_pictures(folder, "DIR")
    place = found.root / HIDDEN / "captions"
    for entry in sorted(place.iterdir(), reverse=True) if place.is_dir() else []:
        record = _read(entry)
        if record is None:
            continue
        pictures = {picture.key: picture.path for picture in found.pictures}
        back = left = 0
        for key, before, after in record:
            path = pictures.get(key)
            text = read_caption(path.parent, path.name).text if path is not None else None
            if path is not None and text == after:
                save_caption(path.parent, path.name, before)
                back += 1
            elif text != before:  # which it is when the writing was cut off
                left += 1
        discard(entry)
        return back, left
    raise UserError("prepare.no_tags_undo", found.root.name)


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
