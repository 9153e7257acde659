"""Putting something into captions, or elsewhere: tags, and text around them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_lora_train.dataset.tag_text import split_tags
from lib_lora_train.errors import UserError
from lib_lora_train.settings.fields import setting
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.base import (
    Change,
    Draft,
    Edit,
    EditContext,
    Looked,
    Tags,
    check_text,
    entries_of,
    listed,
    shortened,
    single,
    tags_in,
)
from lib_lora_train.tags.edits.matching import TagMatcher, bare_key, bare_keys
from lib_lora_train.tags.edits.phrases import Phrases, cut

PLACES = ("front", "trigger", "back", "before", "after")
_ANCHORED = ("before", "after")
_SENTENCE_ENDS = ".!?…。！？"


@dataclass(frozen=True)
class AddEdit(Edit):
    """Tags that a caption does not have yet are put into it."""

    kind: ClassVar[str] = "add"
    label: ClassVar[str] = "Add"
    help: ClassVar[str] = "Adds tags to captions that do not have them yet."

    tags: list[str] = setting([], "Tags", "What to add, in this order.")
    where: str = setting("back", "Where", "front: first of all; trigger: right behind the trigger word, else first; back: last; before or after: beside another tag.", choices=PLACES)  # fmt: skip
    tag: str = setting("", "Beside", "The tag to put it before or after; pictures without that tag stay as they are.")
    move: bool = setting(False, "Move it there", "Also where a caption has the tag already, in another place.")
    empty: bool = setting(True, "Also without a caption", "Pictures without a caption get one.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.comma, edits.itself, and what `entries_of` raises."""
        new = entries_of("tags", self.tags)
        _check_anchor(self.where, self.tag, new)

    def title(self) -> Log:
        values = {"tags": listed(entries_of("tags", self.tags)), "tag": shortened(self.tag.strip())}
        return Log(f"edits.title_add_{self.where}", values)

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        new = tuple(dict(zip(map(bare_key, tags := entries_of("tags", self.tags)), tags, strict=True)).values())
        keys = bare_keys(new)
        known, place = set(keys), _Place(self.where, self.tag, context)
        phrases = [Phrases([tag]) for tag in new]

        def tags_with(tags: Tags) -> Sequence[str]:
            if not tags and not self.empty:
                return tags
            there = bare_keys(tags)
            if self.move:
                rest = tuple(tag for tag, key in zip(tags, there, strict=True) if key not in known)
                return place.put(rest, new) or tags
            have = set(there)
            fresh = tuple(tag for tag, key in zip(new, keys, strict=True) if key not in have)
            return (place.put(tags, fresh) or tags) if fresh else tags

        def sentence_with(line: str) -> str:
            if not line and not self.empty:
                return line
            # Between commas a word of a sentence is a tag; elsewhere it belongs to what is said, and stays.
            parts = _parts(line, known) if self.move and place.has_room(line) else {}
            fresh = [
                tag for tag, key, said in zip(new, keys, phrases, strict=True) if key in parts or not said.spans(line)
            ]
            return place.said(cut(line, list(parts.values())), fresh) if fresh else line

        return Change(tags=tags_with, prose=sentence_with, notes=place.notes)


@dataclass(frozen=True)
class MoveEdit(Edit):
    """Tags that a caption has are put elsewhere in it."""

    kind: ClassVar[str] = "move"
    label: ClassVar[str] = "Move"
    help: ClassVar[str] = "Puts tags elsewhere in the captions that have them."

    tags: list[str] = setting([], "Tags", "What to move; * and ? are wildcards.")
    where: str = setting("front", "Where", "front: first of all; trigger: right behind the trigger word, else first; back: last; before or after: beside another tag; position: to a place that is counted.", choices=(*PLACES, "position"))  # fmt: skip
    tag: str = setting("", "Beside", "The tag to put it before or after; pictures without that tag stay as they are.")
    position: int = setting(1, "Position", "For position: 1 is the first place.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.comma, edits.itself, and what `entries_of` raises."""
        _check_anchor(self.where, self.tag, entries_of("tags", self.tags))

    def title(self) -> Log:
        tags = listed(entries_of("tags", self.tags))
        values = {"tags": tags, "tag": shortened(self.tag.strip()), "position": self.position}
        return Log(f"edits.title_move_{self.where}", values)

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        place = _Place(self.where, self.tag, context, self.position)
        wanted = TagMatcher(entries_of("tags", self.tags)).among(tags_in(drafts))
        wanted = frozenset(tag for tag in wanted if not place.is_anchor(tag))  # a wildcard may mean it too

        def moved(tags: Tags) -> Sequence[str]:
            if wanted.isdisjoint(tags):
                return tags
            rest = tuple([tag for tag in tags if tag not in wanted])
            return place.put(rest, tuple([tag for tag in tags if tag in wanted])) or tags

        return Change(tags=moved, notes=place.notes)


@dataclass(frozen=True)
class AffixEdit(Edit):
    """Text before and behind every caption, or every tag."""

    kind: ClassVar[str] = "affix"
    label: ClassVar[str] = "Prefix and suffix"
    help: ClassVar[str] = "Puts text before and behind captions or tags; where it stands already it is not put again."

    prefix: str = setting("", "Prefix", "The text before, with its blanks and commas.")
    suffix: str = setting("", "Suffix", "The text behind, with its blanks and commas.")
    to: str = setting("caption", "To", "caption: around the whole caption; tags: around each tag.", choices=("caption", "tags"))  # fmt: skip
    only: list[str] = setting([], "Only these tags", "For tags: none for all but the trigger word; * and ? are wildcards.")  # fmt: skip

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.comma, edits.too_long, edits.characters, edits.too_many."""
        check_text("prefix", self.prefix)
        check_text("suffix", self.suffix)
        entries_of("only", self.only, needed=False)
        if not (self.prefix + self.suffix).strip():
            raise UserError("edits.nothing", "prefix")
        if self.to == "tags" and "," in self.prefix + self.suffix:
            name = "prefix" if "," in self.prefix else "suffix"
            raise UserError("edits.comma", name, entry=shortened(self.prefix if name == "prefix" else self.suffix))

    def title(self) -> Log:
        return Log(f"edits.title_affix_{self.to}", {"prefix": shortened(self.prefix), "suffix": shortened(self.suffix)})

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        if self.to == "caption":
            return Change(line=self._around, prose=self._around)
        only, front = entries_of("only", self.only, needed=False), set(bare_keys(context.front))
        matches = TagMatcher(only) if only else lambda tag: bare_key(tag) not in front
        around = Looked(lambda tag: self._around(tag).strip() if matches(tag) else tag)
        return Change(tags=lambda tags: [around[tag] for tag in tags])

    def _around(self, text: str) -> str:
        if not text:
            return text
        before = "" if text.startswith(self.prefix.lstrip()) else self.prefix
        behind = "" if text.endswith(self.suffix.rstrip()) else self.suffix
        return before + text + behind


def _parts(line: str, keys: Collection[str]) -> dict[str, tuple[int, int]]:
    """Where in a sentence those tags stand between commas, from left to right; each the first time."""
    found: dict[str, tuple[int, int]] = {}
    start = 0
    for part in line.split(","):
        if (key := bare_key(part.strip())) in keys:
            found.setdefault(key, (start, start + len(part)))
        start += len(part) + 1
    return found


def _check_anchor(where: str, tag: str, tags: Tags) -> None:
    if where in _ANCHORED:
        anchor = single("tag", tag)
        if bare_key(anchor) in bare_keys(tags):
            raise UserError("edits.itself", "tag", entry=shortened(anchor))


class _Place:
    """Where in a caption tags are put, and how many captions have no such place."""

    def __init__(self, where: str, tag: str, context: EditContext, position: int = 1) -> None:
        self._where, self._position = where, position
        self._anchor = bare_key(tag.strip()) if where in _ANCHORED else ""
        self._tag = tag.strip()
        self._phrases = Phrases([self._tag] if self._anchor else [])
        self._front = bare_keys(context.front)
        self._missing = 0

    def is_anchor(self, tag: str) -> bool:
        return bool(self._anchor) and bare_key(tag) == self._anchor

    def put(self, tags: Tags, new: Tags) -> Tags | None:
        """The tags with `new` among them; None where the tag is missing that they should stand beside."""
        place = self._index(tags)
        if place is None:
            self._missing += 1
            return None
        return (*tags[:place], *new, *tags[place:])

    def _index(self, tags: Tags) -> int | None:
        if self._where == "back":
            return len(tags)
        if self._where == "position":
            return min(self._position - 1, len(tags))
        if self._where == "trigger":
            count = len(self._front)
            return count if count and bare_keys(tags[:count]) == self._front else 0
        if self._where == "front":
            return 0
        keys = bare_keys(tags)
        if self._anchor not in keys:
            return None
        return keys.index(self._anchor) + (self._where == "after")

    def has_room(self, line: str) -> bool:
        """Whether a sentence says the words that something should stand beside."""
        return not self._anchor or bool(self._phrases.spans(line))

    def said(self, line: str, new: Sequence[str]) -> str:
        """A sentence with more words: beside others by blanks, before and behind all of it by commas."""
        words = ", ".join(new)
        if not line:
            return words if self._where not in _ANCHORED else line
        if self._where in _ANCHORED:
            spans = self._phrases.spans(line)
            if not spans:
                self._missing += 1
                return line
            start, end = spans[0]
            beside = f"{words} {line[start:end]}" if self._where == "before" else f"{line[start:end]} {words}"
            return line[:start] + beside + line[end:]
        if self._where == "back":
            return f"{line}{' ' if line[-1] in _SENTENCE_ENDS else ', '}{words}"
        parts, count = split_tags(line), len(self._front)
        if self._where == "trigger" and count and bare_keys(parts[:count]) == self._front:
            return ", ".join([*parts[:count], words, *parts[count:]])
        return f"{words}, {line}"

    def notes(self) -> list[Log]:
        if not self._missing:
            return []
        return [Log("edits.note_no_anchor", {"count": self._missing, "tag": shortened(self._tag)})]
