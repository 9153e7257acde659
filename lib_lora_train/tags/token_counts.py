"""How many tokens captions have, kept by what the captions say, and what a limit leaves of them.

Counts are of the line that is trained on, as kohya's trainer counts: without the start and end marks, and without the
characters that nobody sees, which training takes away.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from lib_lora_train.dataset.captions import visible
from lib_lora_train.dataset.tag_text import first_line
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text
from lib_lora_train.tags.item import UNKNOWN

LOGGER = logging.getLogger("lib_lora_train.tags")
LIMITS = (75, 150, 225)  # tokens that kohya's max_token_length allows
_VERSION = 1
_LONGEST = 100_000  # characters of a line; a longer one is far beyond every limit and only costs time


class Counter(Protocol):
    """What counts: `host.base.TokenCounter`, or another that has its members."""

    key: str
    name: str
    trouble: UserError | None

    def count(self, texts: Sequence[str]) -> list[int]: ...

    def cut(self, text: str, limit: int) -> int: ...


class TokenCounts:
    """Numbers of tokens by a caption's version; kept in the file `path`, which may be deleted at any time.

    Without a `counter`, or with one in trouble, everything is unknown.
    """

    def __init__(self, path: Path | None = None, counter: Counter | None = None) -> None:
        self._path = path
        self._counter = counter if counter is not None and counter.trouble is None else None
        self._known: dict[str, int] = {}
        self._kept = 0
        if path is not None and self._counter is not None:
            self._known = _load(path, self._counter.key)
            self._kept = len(self._known)

    @property
    def key(self) -> str:
        """Of the counter; "" without one."""
        return "" if self._counter is None else self._counter.key

    def is_of(self, counter: Counter | None) -> bool:
        """Whether these are the counts of that counter."""
        return self.key == ("" if counter is None or counter.trouble is not None else counter.key)

    def of(self, version: str, line: str) -> int:
        """Tokens of a caption's trained line. `version` is the caption's."""
        if self._counter is None:
            return UNKNOWN
        if not line:
            return 0
        found = self._known.get(version)
        if found is None:
            found = self._known[version] = self._counter.count([visible(line)[:_LONGEST]])[0]
        return found

    def save(self, versions: Iterable[str], least: int = 1) -> None:
        """Writes down the counts of `versions`, where `least` or more have been added since the last time.

        A disk that cannot be written to costs time at the next reading, nothing else.
        """
        if self._path is None or self._counter is None or len(self._known) - self._kept < least:
            return
        self._kept = len(self._known)
        counts = {version: self._known[version] for version in versions if version in self._known}
        content = {"version": _VERSION, "counter": self._counter.key, "counts": counts}
        try:
            write_text(self._path, json.dumps(content, separators=(",", ":")))
        except UserError as error:
            LOGGER.warning("%s", error)


def cut_at(text: str, counter: Counter, limit: int) -> int:
    """Index in a caption's text of the first character that a limit of tokens cuts off; -1 when it cuts nothing."""
    before, line, _ = first_line(text)
    seen = visible(line)[:_LONGEST]
    cut = counter.cut(seen, limit)
    if cut < 0 or seen == line:
        return len(before) + cut if cut >= 0 else -1
    place = -1  # in the line with all its characters
    for character in seen[: cut + 1]:
        place = line.index(character, place + 1)
    return len(before) + place


def first_cut_tag(tags: Sequence[str], counter: Counter, limit: int) -> int:
    """Index of the first tag that a limit cuts off, wholly or in part; -1 when it cuts none."""
    cut = counter.cut(visible(", ".join(tags)), limit)
    if cut < 0:
        return -1
    end = 0
    for index, tag in enumerate(tags):
        end += len(visible(tag))
        if end > cut:
            return index
        end += len(", ")
    return -1


def _load(path: Path, key: str) -> dict[str, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION or content["counter"] != key:
            return {}
        counts = content["counts"].items()
        return {version: count for version, count in counts if type(count) is int and count >= 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}  # none yet, or not ours: they are counted anew
