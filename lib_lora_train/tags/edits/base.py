"""What every edit is: a table of settings, and how a batch of captions is changed by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from lib_lora_train.dataset.tag_text import split_tags
from lib_lora_train.errors import UserError
from lib_lora_train.signals import Log

MOST_ENTRIES = 500  # of a list of tags
MOST_LETTERS = 1_000  # of one entry or text
_SHOWN = 80  # characters of an entry in the journal
_REFUSED = frozenset("\x00\n\r\x85\u2028\u2029")

Tags = tuple[str, ...]
_Value = TypeVar("_Value")


def other_rank(tag: str) -> int:
    """For who has no table of categories: all tags are alike."""
    return 5


@dataclass(frozen=True)
class EditContext:
    """What an edit may need to know of the place.

    `counts`: pictures by tag as written. `rank`: 0 subject, 1 action, 2 feature, 3 view, 4 light, 5 other.
    `count_tokens`: without start and end, as sd-scripts counts; None when no tokenizer can be had.
    `form`: "tags", or "sentences" for captions that are all text.
    """

    counts: Mapping[str, int] = field(default_factory=Counter)
    rank: Callable[[str], int] = other_rank
    count_tokens: Callable[[str], int] | None = None
    trigger: str = ""
    form: str = "tags"

    @property
    def front(self) -> Tags:
        """The tags that the trigger word is made of."""
        return split_tags(self.trigger)


@dataclass(slots=True)
class Draft:
    """A caption on its way through the edits. `tags` and `line` are those of its trained line."""

    text: str
    line: str
    tags: Tags
    prose: bool
    tokens: int = -1  # as counted for `line`; -1 when it is not known


@dataclass
class Change:
    """How an edit changes captions; of the ways that are given, one is taken for each caption.

    `text`: from the whole text of the file, for all captions. `line`: from the trained line, for captions of tags.
    `tags`: the same, tag by tag. `prose`: from the trained line of sentences; without it they stay as they are.
    `notes` and `asked` are what there is to say when all captions are done.
    """

    tags: Callable[[Tags], Sequence[str]] | None = None
    prose: Callable[[str], str] | None = None
    line: Callable[[str], str] | None = None
    text: Callable[[str], str] | None = None
    notes: Callable[[], list[Log]] = list
    asked: Callable[[], list[dict[str, object]]] = list


@dataclass(frozen=True)
class Edit(ABC):
    """One change to many captions. Its settings are its fields, declared by `settings.fields.setting`."""

    kind: ClassVar[str]
    label: ClassVar[str]
    help: ClassVar[str]

    @abstractmethod
    def title(self) -> Log:
        """What it does, for the journal, in any language."""

    @abstractmethod
    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        """How the drafts will be changed. Raises UserError where the settings do not fit these captions."""


def tags_in(drafts: Sequence[Draft]) -> list[str]:
    """Every tag of the captions that are tags, once."""
    return list(dict.fromkeys(tag for draft in drafts if not draft.prose for tag in draft.tags))


def sentences_in(drafts: Sequence[Draft]) -> list[str]:
    return list(dict.fromkeys(draft.line for draft in drafts if draft.prose))


class Looked(dict[str, _Value]):
    """What a function says of each tag, worked out once."""

    def __init__(self, look: Callable[[str], _Value]) -> None:
        super().__init__()
        self._look = look
        self.parted = False  # whether any of it is several tags

    def __missing__(self, tag: str) -> _Value:
        self[tag] = found = self._look(tag)
        self.parted = self.parted or (isinstance(found, str) and "," in found)
        return found


def entries_of(field_name: str, entries: Sequence[str], needed: bool = True) -> Tags:
    """The tags in a list field, also where several stand in one entry with commas between them.

    Raises UserError: edits.nothing (when `needed`), edits.too_many, edits.too_long, edits.characters.
    """
    if len(entries) > MOST_ENTRIES:
        raise UserError("edits.too_many", field_name, most=MOST_ENTRIES)
    most = MOST_ENTRIES * MOST_LETTERS
    found = [
        check_text(field_name, tag) for entry in entries for tag in split_tags(check_text(field_name, entry, most))
    ]
    if len(found) > MOST_ENTRIES:
        raise UserError("edits.too_many", field_name, most=MOST_ENTRIES)
    if needed and not found:
        raise UserError("edits.nothing", field_name)
    return tuple(found)


def single(field_name: str, text: str) -> str:
    """One tag. Raises UserError: edits.nothing, edits.comma, edits.too_long, edits.characters."""
    tag = check_text(field_name, text).strip()
    if not tag:
        raise UserError("edits.nothing", field_name)
    if "," in tag:
        raise UserError("edits.comma", field_name, entry=shortened(tag))
    return tag


def check_text(field_name: str, text: str, most: int = MOST_LETTERS) -> str:
    """`text`, when it may stand in one line of a caption. Raises UserError: edits.too_long, edits.characters."""
    if len(text) > most:
        raise UserError("edits.too_long", field_name, most=most)
    if any(character in _REFUSED or "\ud800" <= character <= "\udfff" for character in text):
        raise UserError("edits.characters", field_name)
    return text


def shortened(text: str) -> str:
    """As a sentence quotes it."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def listed(tags: Sequence[str]) -> str:
    """As a sentence lists them."""
    return shortened(", ".join(tags))
