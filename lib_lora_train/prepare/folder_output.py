"""Bringing the folder that is trained on up to date, file by file, each whole.

What is ours is told from what somebody put there or changed by a record of it, which is written before the first file
and again after the last: whoever continues after a killed process knows the files of both sides. What is not ours is
never written over.

    OUT/.lora_train/prepared.json          what was made, and from what
    OUT/.lora_train/removed/<time>/        what an earlier run made and nobody wants any more
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib_lora_train.collection.caption_files import read_caption, save_caption
from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, resolve_inside, sweep_temporaries, write_json
from lib_lora_train.prepare.bench import Bench
from lib_lora_train.prepare.folders import HIDDEN, FolderPicture
from lib_lora_train.prepare.rendering import Recipe
from lib_lora_train.signals import EventSink, Log

RECORD, RECORD_VERSION = "prepared.json", 2
REMOVED = "removed"
Mark = tuple[str, int, int]  # what is in a file, its size in bytes and its time in ns


@dataclass(frozen=True)
class Output:
    """A picture to be: where from, how it is made, and its caption."""

    picture: FolderPicture
    recipe: Recipe
    folder: str
    name: str
    caption: str

    @property
    def key(self) -> str:
        """Its path below OUT."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


@dataclass
class Entry:
    """What the record says of one picture: every state of its files that is ours. `about` is for a person to read."""

    original: str
    pictures: list[Mark] = field(default_factory=list)
    masks: list[Mark] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass
class Written:
    """`changed` pictures were written, `unchanged` were right already, `stays` are somebody's and were left alone;
    `captions` were written or taken away, `removed` pictures went aside."""

    changed: int = 0
    unchanged: int = 0
    stays: int = 0
    captions: int = 0
    removed: int = 0


def masks_folder(out: Path) -> Path:
    return out.with_name(out.name + "_masks")


@dataclass
class OutputFolder:
    """OUT, with the masks beside it."""

    out: Path
    bench: Bench
    events: EventSink

    def __post_init__(self) -> None:
        self.masks = masks_folder(self.out)
        self.written = Written()
        self._aside = self.out / HIDDEN / REMOVED / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"

    def update(self, outputs: Sequence[Output]) -> Written:
        """Raises UserError("file.write"); the next run goes on from there."""
        self._sweep(outputs)
        record = _read_record(self.out)
        originals = {output.key: output.picture.key for output in outputs}
        for key, entry in list(record.items()):
            if originals.get(key) != entry.original:
                self._set_aside(key, entry)
                del record[key]
        fresh = {output.key: self._expected(output) for output in outputs}
        self._save({key: _both(record.get(key), entry) for key, entry in fresh.items()})
        for output in outputs:
            self._bring(output, record.get(output.key), fresh[output.key])
        self._save(fresh)
        self._forget(outputs)
        return self.written

    def _expected(self, output: Output) -> Entry:
        """The entry of an output as it will be when all its files are written."""
        recipe, behind = output.recipe, output.recipe.background
        about = {
            "sha256": recipe.digest,
            "crop": recipe.crop.as_dict(),
            "background": None if behind is None else {**vars(behind.settings), "mask": behind.matte},
        }
        masks = [_mark(recipe.mask_key, self.bench.mask(recipe.mask_key))] if recipe.mask_key else []
        captions = [_version(output.caption)] if output.caption.strip() else []
        return Entry(output.picture.key, [_mark(recipe.content, self._source(output))], masks, captions, about)

    def _source(self, output: Output) -> Path:
        return self.bench.picture(output.recipe) if output.recipe.key else output.picture.path

    def _bring(self, output: Output, before: Entry | None, fresh: Entry) -> None:
        """One picture with its mask and caption; `fresh` is brought in line with what is there then."""
        target = self.out / output.key
        state, fresh.pictures = _bring_file(
            self._source(output), target, output.recipe.content, before.pictures if before else []
        )
        self.written.changed += state == "changed"
        self.written.unchanged += state == "unchanged"
        self.written.stays += state == "stays"
        if state == "stays":
            self.events(Log("prepare.picture_stays", {"where": output.key}, "warning"))
        self._bring_mask(output, before, fresh)
        self._bring_caption(output, target, before, fresh)

    def _bring_mask(self, output: Output, before: Entry | None, fresh: Entry) -> None:
        ours, key = before.masks if before else [], output.recipe.mask_key
        target = (self.masks / output.key).with_suffix(".png")
        if key:
            state, fresh.masks = _bring_file(self.bench.mask(key), target, key, ours)
            if state == "stays":
                self.events(Log("prepare.mask_stays", {"where": output.key}, "warning"))
        elif _known(target, ours):
            self._move_aside(target, f"{self.masks.name}/{output.key}")

    def _bring_caption(self, output: Output, target: Path, before: Entry | None, fresh: Entry) -> None:
        """Words that somebody wrote into OUT stay."""
        there = read_caption(target.parent, target.name)
        ours = [*(before.captions if before else []), *fresh.captions]
        if there.version and there.version not in ours and there.text != output.caption:
            self.events(Log("prepare.caption_stays", {"where": output.key}, "warning"))
            fresh.captions = before.captions if before else []
        elif there.text != output.caption and (there.version or output.caption.strip()):
            save_caption(target.parent, target.name, output.caption)
            self.written.captions += 1

    def _set_aside(self, key: str, entry: Entry) -> None:
        """What an earlier run made: the picture last, so that whoever is killed on the way is gone on from."""
        target, mask = self.out / key, (self.masks / key).with_suffix(".png")
        try:
            inside = resolve_inside(self.out, key).parent == target.parent.resolve()
        except UserError:
            return
        if not inside or not _known(target, entry.pictures):
            return
        caption = target.with_suffix(".txt")
        if caption.is_file():
            self._move_aside(caption, str(Path(key).with_suffix(".txt")))
        if _known(mask, entry.masks):
            self._move_aside(mask, f"{self.masks.name}/{Path(key).with_suffix('.png')}")
        self._move_aside(target, key)
        self.written.removed += 1

    def _move_aside(self, path: Path, name: str) -> None:
        place = self._aside / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)  # masks may lie on another disk
        except OSError as error:
            raise UserError("file.write", path.name, reason=error.strerror or "?") from error

    def _save(self, entries: Mapping[str, Entry]) -> None:
        pictures = {key: entry.as_dict() for key, entry in entries.items()}
        write_json(self.out / HIDDEN / RECORD, {"version": RECORD_VERSION, "pictures": pictures})

    def _sweep(self, outputs: Sequence[Output]) -> None:
        """What a killed process left half written."""
        cache = self.bench.folder
        folders = {place / output.folder for output in outputs for place in (self.out, self.masks)}
        for folder in (*folders, cache, *(cache / name for name in ("pictures", "masks", "mattes"))):
            sweep_temporaries(folder)

    def _forget(self, outputs: Sequence[Output]) -> None:
        """Pictures by other settings are made anew when they are wanted again, rather than kept for ever."""
        wanted = {self.bench.picture(output.recipe) for output in outputs}
        wanted |= {self.bench.mask(output.recipe.mask_key) for output in outputs}
        for folder in ("pictures", "masks"):
            for path in (self.bench.folder / folder).glob("*.png"):
                if path not in wanted:
                    path.unlink(missing_ok=True)


def _bring_file(source: Path, target: Path, content: str, ours: Sequence[Mark]) -> tuple[str, list[Mark]]:
    """Copies where that is due. Returns changed, unchanged or stays, and what is ours afterwards."""
    known = _known(target, ours)
    if known is not None and known[0] == content:
        return "unchanged", [known]
    if known is None and os.path.lexists(target):
        if not _same(source, target):
            return "stays", list(ours)
        return "unchanged", [_mark(content, target)]
    try:
        information = source.stat()
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
            os.utime(temporary, ns=(information.st_atime_ns, information.st_mtime_ns))  # as the record says already
        return "changed", [_mark(content, target)]
    except FileNotFoundError as error:
        raise UserError("image.missing", source.name) from error


def _known(path: Path, marks: Sequence[Mark]) -> Mark | None:
    """The mark by which a file is ours."""
    try:
        information = path.lstat()
    except OSError:
        return None
    found = (information.st_size, information.st_mtime_ns)
    return next((mark for mark in marks if mark[1:] == found), None)


def _same(one: Path, other: Path) -> bool:
    try:
        return not other.is_symlink() and other.is_file() and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _mark(content: str, path: Path) -> Mark:
    try:
        information = path.stat()
    except OSError as error:
        raise UserError("image.unreadable", path.name, reason=error.strerror or "?") from error
    return content, information.st_size, information.st_mtime_ns


def _version(caption: str) -> str:
    return hashlib.sha256(caption.encode("utf-8")).hexdigest()[:16]


def _both(before: Entry | None, after: Entry) -> Entry:
    if before is None:
        return after
    pictures, masks = [*before.pictures, *after.pictures], [*before.masks, *after.masks]
    return Entry(after.original, pictures, masks, [*before.captions, *after.captions], after.about)


def _read_record(out: Path) -> dict[str, Entry]:
    """None where it cannot be understood: then every file that is there is somebody else's, until it proves the same."""
    try:
        content = json.loads((out / HIDDEN / RECORD).read_text(encoding="utf-8"))
        if content["version"] != RECORD_VERSION:
            return {}
        return {key: _entry(values) for key, values in content["pictures"].items() if _is_below(key)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _entry(values: Mapping[str, Any]) -> Entry:
    """Raises KeyError, TypeError, ValueError."""
    pictures, masks = (
        [(str(c), int(size), int(time)) for c, size, time in values[name]] for name in ("pictures", "masks")
    )
    return Entry(str(values["original"]), pictures, masks, [str(text) for text in values["captions"]])


def _is_below(key: str) -> bool:
    """A record may come with somebody else's folder."""
    parts = key.split("/")
    return all(part not in ("", ".", "..", HIDDEN) and part == Path(part).name and "\x00" not in part for part in parts)
