"""How tags are written: blanks and underscores, capitals, weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_lora_train.dataset.tag_text import split_tags
from lib_lora_train.settings.fields import setting
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.base import Change, Draft, Edit, EditContext, entries_of, listed
from lib_lora_train.tags.edits.matching import TagMatcher, bare_key, bare_keys, unweighted, weighted
from lib_lora_train.tags.edits.taking import respelt
from lib_lora_train.vision.tags_file import KAOMOJI

_BLANKS = re.compile(r"\s+")
_JOINED = re.compile(r"[^\s,]*_[^\s,]*")
_ESCAPED = re.compile(r"\\([()\[\]])")
_WIDE_COMMAS = re.compile("\\s*[，、]\\s*")
_LETTERS = re.compile(r"[^\W\d_]{2}")
CASES = ("lower", "first", "title", "upper")


@dataclass(frozen=True)
class SpellingEdit(Edit):
    """Blanks, underscores and commas as they should be."""

    kind: ClassVar[str] = "spelling"
    label: ClassVar[str] = "Spaces and underscores"
    help: ClassVar[str] = "Writes tags with spaces or with underscores; doubled blanks go. Faces made of signs stay."  # fmt: skip

    write: str = setting("spaces", "Between words", "keep: as it is there.", choices=("spaces", "underscores", "keep"))
    escapes: bool = setting(
        True, "No backslashes", "Takes off backslashes before brackets: they belong in prompts only."
    )
    commas: bool = setting(True, "Chinese commas", "Full-width commas between tags become plain ones, which part tags.")

    def title(self) -> Log:
        return Log(f"edits.title_spelling_{self.write}")

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        spelt = respelt(self._spelt)

        def sentence(line: str) -> str:
            text = _JOINED.sub(_parted, line) if self.write == "spaces" else line
            return _BLANKS.sub(" ", _ESCAPED.sub(r"\1", text) if self.escapes else text)

        return Change(tags=spelt, prose=sentence)

    def _spelt(self, tag: str) -> str:
        if tag in KAOMOJI:
            return tag
        text = _WIDE_COMMAS.sub(", ", tag) if self.commas else tag
        text = _ESCAPED.sub(r"\1", text) if self.escapes and unweighted(text)[1] == 1 else text
        if self.write == "spaces" and not _has_face(text):
            text = text.replace("_", " ")
        text = _BLANKS.sub(" ", text).strip()
        if self.write == "underscores":
            text = ", ".join(part.replace(" ", "_") for part in split_tags(text))
        return text


def _parted(found: re.Match[str]) -> str:
    return found.group() if _has_face(found.group()) else found.group().replace("_", " ")


def _has_face(text: str) -> bool:
    """Whether an underscore in it may be a face's: without two letters in a row it is no word."""
    return "_" in text and (any(part in KAOMOJI for part in text.split()) or _LETTERS.search(text) is None)


@dataclass(frozen=True)
class CaseEdit(Edit):
    """Capitals."""

    kind: ClassVar[str] = "case"
    label: ClassVar[str] = "Capitals"
    help: ClassVar[str] = "Writes tags or sentences in small or capital letters; the trigger word stays as it is."

    to: str = setting("lower", "Write", "lower: all small; first: a capital at the beginning; title: at the beginning of each word; upper: all capitals.", choices=CASES)  # fmt: skip
    only: list[str] = setting([], "Only these tags", "None for all; * and ? are wildcards.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.too_many, edits.too_long, edits.characters."""
        entries_of("only", self.only, needed=False)

    def title(self) -> Log:
        return Log(f"edits.title_case_{self.to}")

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        only = entries_of("only", self.only, needed=False)
        matches, front = TagMatcher(only) if only else None, set(bare_keys(context.front))

        def written(tag: str) -> str:
            if tag in KAOMOJI or bare_key(tag) in front or (matches and not matches(tag)):
                return tag
            return cased(tag, self.to)

        return Change(tags=respelt(written), prose=None if only else self._sentence)

    def _sentence(self, line: str) -> str:
        return cased(line, self.to)


def cased(text: str, to: str) -> str:
    if to == "lower":
        return text.lower()
    if to == "upper":
        return text.upper()
    if to == "first":
        return text[:1].upper() + text[1:]
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


@dataclass(frozen=True)
class WeightsEdit(Edit):
    """Weights in brackets, as prompts have them."""

    kind: ClassVar[str] = "weights"
    label: ClassVar[str] = "Weights"
    help: ClassVar[str] = "Writes weights in brackets, (hat:1.2), or takes them off. Training reads such brackets as text."  # fmt: skip

    tags: list[str] = setting([], "Tags", "None for all; * and ? are wildcards.")
    weight: float = setting(1.0, "Weight", "1 takes the brackets off.", minimum=0.05, maximum=2)

    def __post_init__(self) -> None:
        """Raises UserError: edits.too_many, edits.too_long, edits.characters."""
        entries_of("tags", self.tags, needed=False)

    def title(self) -> Log:
        tags = listed(entries_of("tags", self.tags, needed=False))
        if self.weight == 1:
            return Log("edits.title_weights_off", {"tags": tags})
        return Log("edits.title_weights", {"tags": tags, "weight": self.weight})

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        only = entries_of("tags", self.tags, needed=False)
        matches = TagMatcher(only) if only else None

        def heavy(tag: str) -> str:
            if tag in KAOMOJI or (matches and not matches(tag)):
                return tag
            return weighted(unweighted(tag)[0], self.weight)

        return Change(tags=respelt(heavy))
