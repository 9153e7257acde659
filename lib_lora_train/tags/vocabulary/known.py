"""Known tags with their counts, and completion of what somebody types."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.errors import UserError
from lib_lora_train.tags.translations import Translations
from lib_lora_train.tags.vocabulary.reading import KnownTag

MAX_SUGGESTIONS = 100
ENOUGH_FOR_SPELLING = 5_000  # tags; the taggers' lists have about ten thousand
_MAX_TYPED = 100  # characters
_WORDS = str.maketrans(dict.fromkeys(" -(/:", "\t"))  # what stands before a word inside a tag, made alike
_TIERS, _WORD_TIER = 4, 2  # the tag itself, its beginning, the beginning of a word of it, inside it


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A tag that may be meant. `count` is the vocabulary's (0: unknown), `own` how many captions here have it; `alias`
    is the other name that was typed, "" when it was the tag; `translation` is "" where there is none."""

    tag: str
    count: int = 0
    category: str = ""
    alias: str = ""
    translation: str = ""
    own: int = 0


class Vocabulary:
    """Tags by frequency. `sources` names the files they come from (none: the list that ships); `problems` says which
    files could not be used. Immutable, so threads may share it."""

    def __init__(
        self, tags: Iterable[KnownTag] = (), sources: Sequence[str] = (), problems: Sequence[UserError] = ()
    ) -> None:
        """Of a tag that is given twice the first counts, with the aliases of both."""
        merged: dict[str, KnownTag] = {}
        for tag in tags:
            key = tag_key(tag.tag)
            if not key:
                continue
            first = merged.setdefault(key, tag)
            if first is not tag:
                aliases = tuple(dict.fromkeys(first.aliases + tag.aliases))
                merged[key] = KnownTag(first.tag, first.count or tag.count, first.category or tag.category, aliases)
        order = sorted(merged.items(), key=lambda pair: -pair[1].count)
        self.sources = tuple(sources)
        self.problems = tuple(problems)
        self._tags = [tag for _, tag in order]
        self._at = {key: index for index, (key, _) in enumerate(order)}
        self._text = _Lines(self._at)
        aliases = [(tag_key(alias), alias, index) for index, tag in enumerate(self._tags) for alias in tag.aliases]
        self._aliases = [(alias, index) for _, alias, index in aliases]
        self._alias_text = _Lines(key for key, _, _ in aliases)
        self._alias_at: dict[str, int] = {}
        for key, _, index in aliases:
            self._alias_at.setdefault(key, index)

    def __len__(self) -> int:
        return len(self._tags)

    @property
    def names(self) -> Set[str]:
        """All tags, as `tag_key` writes them."""
        return self._at.keys()

    @property
    def spelling(self) -> Set[str]:
        """`names`, where there are so many that a tag which is not among them may be a mistake; else none. By a short
        list, brain would be taken for a misspelt braid."""
        return self.names if len(self._tags) >= ENOUGH_FOR_SPELLING else frozenset()

    def known(self, tag: str) -> int | None:
        """How many pictures of the source bear the tag (0: unknown); None for a tag that is not known."""
        index = self._at.get(tag_key(tag))
        return None if index is None else self._tags[index].count

    def alias_of(self, name: str) -> str:
        """The tag that `name` is another name of; "" when it is none."""
        index = self._alias_at.get(tag_key(name))
        return "" if index is None or tag_key(name) in self._at else self._tags[index].tag

    def category(self, tag: str) -> str:
        """general, artist, copyright, character, meta, species or lore; "" when unknown."""
        index = self._at.get(tag_key(tag))
        return "" if index is None else self._tags[index].category

    def complete(
        self,
        text: str,
        limit: int = 20,
        translations: Translations | None = None,
        own: Mapping[str, int] | None = None,
    ) -> list[Suggestion]:
        """At most `limit` (100) tags for what was typed.

        The tag itself first, then tags that begin so, then those with a word that does, then those that hold it; within
        each the tags in use here (`own`: tag as written -> captions) come first, then by frequency, then other names of
        tags. Text in the language of the translations finds those first. Nothing for blank text.
        """
        typed = tag_key(text[:_MAX_TYPED])
        limit = min(limit, MAX_SUGGESTIONS)
        found: dict[str, Suggestion] = {}
        if not typed or limit < 1:
            return []
        counts = own or {}
        ways = [self._by_name(typed, counts), self._by_translation(text, translations, counts)]
        for tag, alias in chain.from_iterable(ways if typed.isascii() else reversed(ways)):
            key = tag_key(tag)
            if key not in found:
                found[key] = self._suggestion(tag, key, alias, translations, counts)
            if len(found) >= limit:
                break
        return list(found.values())

    def _suggestion(
        self, tag: str, key: str, alias: str, translations: Translations | None, own: Mapping[str, int]
    ) -> Suggestion:
        known = self._tags[self._at[key]] if key in self._at else KnownTag(tag)
        translation = translations.of(tag) if translations is not None else ""
        return Suggestion(tag, known.count, known.category, alias, translation, own.get(tag, 0))

    def _by_name(self, typed: str, own: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Tags and the alias that was typed, best first, some of them several times."""
        here = _own_tiers(typed, own)
        for tier in range(_TIERS):
            yield from ((tag, "") for tag in here[tier])
            yield from ((self._tags[index].tag, "") for index in self._text.find(typed, tier))
            for line in self._alias_text.find(typed, tier):
                alias, index = self._aliases[line]
                yield self._tags[index].tag, alias

    def _by_translation(
        self, text: str, translations: Translations | None, own: Mapping[str, int]
    ) -> Iterator[tuple[str, str]]:
        matches = translations.matches(text) if translations is not None else []
        if translations is None or not matches:
            return
        here = {tag_key(tag): (tag, count) for tag, count in own.items()}

        def rank(match: tuple[int, str]) -> tuple[int, int, int]:
            closeness, key = match
            return closeness, -here.get(key, ("", 0))[1], self._at.get(key, len(self._at))

        for _, key in sorted(matches, key=rank):
            written = here[key][0] if key in here else translations.tag(key)
            yield (self._tags[self._at[key]].tag if key in self._at and key not in here else written), ""


def _own_tiers(typed: str, own: Mapping[str, int]) -> list[list[str]]:
    """The tags in use that hold `typed`, by how well they fit, the most used first."""
    tiers: list[list[str]] = [[] for _ in range(_TIERS)]
    for tag in own:
        key = tag.casefold().replace("_", " ")
        at = key.find(typed)
        if at < 0:
            continue
        if at == 0:
            tier = 0 if len(key) == len(typed) else 1
        else:
            tier = _WORD_TIER if _word(typed) in key.translate(_WORDS) else 3
        tiers[tier].append(tag)
    for tier in tiers:
        tier.sort(key=lambda tag: -own[tag])
    return tiers


def _word(typed: str) -> str:
    return "\t" + typed.translate(_WORDS)


class _Lines:
    """Strings in one text, a line each: looking for a piece of one in all of them takes about a millisecond for 150,000
    of them, and the first found are the first in order."""

    def __init__(self, lines: Iterable[str]) -> None:
        kept = list(lines)
        self._text = "\n" + "\n".join(kept) + "\n" if kept else ""
        self._words = self._text.translate(_WORDS)
        self._starts = array("Q")
        at = 1
        for line in kept:
            self._starts.append(at)
            at += len(line) + 1

    def find(self, typed: str, tier: int) -> Iterator[int]:
        """Numbers of the lines that are, begin with, have a word that begins with, or hold `typed`, in order."""
        piece = (f"\n{typed}\n", f"\n{typed}", _word(typed), typed)[tier]
        text = self._words if tier == _WORD_TIER else self._text
        at = text.find(piece)
        while at >= 0:
            if tier == _WORD_TIER and not self._text.startswith(typed, at + 1):  # "a-b" is not "a b"
                at = text.find(piece, at + 1)
                continue
            index = bisect_right(self._starts, at + 1) - 1
            yield index
            end = self._starts[index + 1] - 1 if index + 1 < len(self._starts) else len(text)
            at = text.find(piece, end)
