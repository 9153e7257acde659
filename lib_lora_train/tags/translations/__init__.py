"""Tags in another language, beside the tag and to search by: our own list and the user's files. Nothing is asked of a
service.

A file has rows `tag,translation` (or `tag,category,translation`, as some lists that people share). Several words for
one tag stand in one cell, `长发/长头发`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.errors import UserError
from lib_lora_train.tags.tables import MAX_CELL, read_table
from lib_lora_train.vision.tags_file import tag_words

TRANSLATIONS_FOLDER = "tags/translations"  # of the user's files, below the models folder
MAX_FILES = 20
_FOLDER = Path(__file__).parent
_MAX_SEARCH = 100  # characters
_COLOUR = re.compile("(?<=[黑白灰红橙黄绿蓝紫粉棕金银青])色的?")
_EYES = re.compile("眼睛|瞳(?!孔)")
_HEADERS = ("tag", "name")


class Translations:
    """Immutable, so threads may share it. `sources` names the user's files, `problems` those that could not be used."""

    def __init__(
        self,
        language: str = "",
        pairs: Mapping[str, str] | None = None,
        sources: Iterable[str] = (),
        problems: Iterable[UserError] = (),
    ) -> None:
        """`pairs`: tag -> translation."""
        self.language = language
        self.sources = tuple(sources)
        self.problems = tuple(problems)
        self._tags = {tag_key(tag): tag for tag in pairs or {}}
        self._texts = {tag_key(tag): text for tag, text in (pairs or {}).items()}
        self._searched = {key: _searchable(text) for key, text in self._texts.items()}

    @classmethod
    def load(cls, language: str, folder: Path | None = None) -> Translations:
        """The list that ships for `language` (zh-CN has one) under those of the CSV files in `folder`, whose words
        replace ours; of two files the later by name counts. Never raises for what lies there."""
        pairs: dict[str, tuple[str, str]] = {}
        sources, problems = [], []
        for path in [*_shipped_file(language), *translation_files(folder)]:
            try:
                read = {tag_key(tag): (tag, text) for tag, text in _read(path)}
            except UserError as error:
                problems.append(error)
                continue
            pairs |= read
            if path.parent != _FOLDER:
                sources.append(path.name)
        return cls(language, dict(pairs.values()), sources, problems)

    def __len__(self) -> int:
        return len(self._texts)

    def of(self, tag: str) -> str:
        """The translation, "" when there is none. Capitals and underscores of the tag make no difference."""
        return self._texts.get(tag_key(tag), "")

    def tag(self, key: str) -> str:
        """The tag as captions write it, from its `tag_key`; `key` itself when it has no translation."""
        return self._tags.get(key, key)

    def search(self, text: str) -> set[str]:
        """Tags, as `tag_key` writes them, whose translation contains `text`; none for blank text."""
        return {key for _, key in self.matches(text)}

    def matches(self, text: str) -> list[tuple[int, str]]:
        """As `search`, with how close each is: 0 it is the translation (or one of several), 1 that begins so, 2 it is
        inside."""
        wanted = _searchable(text[:_MAX_SEARCH])
        if not wanted:
            return []
        return [(_closeness(wanted, held), key) for key, held in self._searched.items() if wanted in held]


def translation_files(folder: Path | None) -> list[Path]:
    """The user's files, in the order they are read."""
    try:
        return sorted(path for path in folder.glob("*.csv") if path.is_file())[:MAX_FILES] if folder else []
    except OSError:  # a folder that may not be read is as none
        return []


@cache
def shipped_tags() -> tuple[str, ...]:
    """The tags of the list that ships, the most frequent first."""
    return tuple(tag for path in _shipped_file("zh-CN") for tag, _ in _read(path))


def _shipped_file(language: str) -> list[Path]:
    path = _FOLDER / "zh-CN.csv"
    return [path] if language == path.stem and path.is_file() else []


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """Raises UserError as `read_table`."""
    for number, row in enumerate(read_table(path)):
        cells = [cell.strip() for cell in row]
        tag, text = cells[0], cells[2] if len(cells) > 2 and cells[2] else cells[1] if len(cells) > 1 else ""
        if text and len(tag) <= MAX_CELL and len(text) <= MAX_CELL and (number or tag.lower() not in _HEADERS):
            yield tag_words(tag), text


def _searchable(text: str) -> str:
    """Full-width and half-width signs, capitals and blanks make no difference, nor do the ways to name a colour in
    Chinese: 蓝色的眼睛, 蓝眼睛, 蓝眼 and 蓝瞳, or 金色头发 and 金发."""
    plain = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _EYES.sub("眼", _COLOUR.sub("", plain)).replace("头发", "发")


def _closeness(wanted: str, held: str) -> int:
    words = held.replace("、", "/").replace(";", "/").replace(",", "/").split("/")
    if wanted in words:
        return 0
    return 1 if any(word.startswith(wanted) for word in words) else 2
