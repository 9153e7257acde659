"""Taking something out of captions, or putting something else in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
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
    sentences_in,
    shortened,
    tags_in,
)
from lib_lora_train.tags.edits.matching import TagMatcher, bare_key, is_wild, plain, unweighted, weighted
from lib_lora_train.tags.edits.phrases import Phrases, Spans, apart, cut, phrase_pattern, swapped
from lib_lora_train.tags.edits.regexes import MOST_PATTERNS, check_pattern, found_spans, substituted

HOW = ("tag", "text", "regex")
Find = Callable[[str], Spans]


@dataclass(frozen=True)
class RemoveEdit(Edit):
    """Tags are taken out of captions."""

    kind: ClassVar[str] = "remove"
    label: ClassVar[str] = "Remove"
    help: ClassVar[str] = "Takes tags out of captions; of sentences, the words themselves."

    tags: list[str] = setting([], "Tags", "What to remove.")
    how: str = setting("tag", "They are", "tag: whole tags, * and ? are wildcards; text: a part of the tags to remove; regex: regular expressions that are found in them.", choices=HOW)  # fmt: skip
    ignore_case: bool = setting(True, "Capitals are alike", "For text and regex; for whole tags they always are.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.too_many, edits.too_long, edits.characters."""
        if self.how == "regex":
            for pattern in self._patterns():
                check_pattern("tags", pattern)
        else:
            entries_of("tags", self.tags)

    def _patterns(self) -> list[str]:
        """Commas belong to a pattern."""
        patterns = [entry for entry in self.tags if entry.strip()]
        if not patterns:
            raise UserError("edits.nothing", "tags")
        if len(patterns) > MOST_PATTERNS:
            raise UserError("edits.too_many", "tags", most=MOST_PATTERNS)
        return patterns

    def title(self) -> Log:
        tags = self._patterns() if self.how == "regex" else entries_of("tags", self.tags)
        return Log(f"edits.title_remove_{self.how}", {"tags": listed(tags)})

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        tags = tags_in(drafts)
        if self.how == "tag":
            entries = entries_of("tags", self.tags)
            wanted = TagMatcher(entries).among(tags)
            said = words_in("tags", entries, drafts)
        elif self.how == "text":
            said = _parts_in(entries_of("tags", self.tags), self.ignore_case)
            wanted = frozenset(tag for tag in tags if said(tag))
        else:
            texts = list(dict.fromkeys([*tags, *sentences_in(drafts)]))
            found = found_spans("tags", self._patterns(), texts, self.ignore_case)
            wanted, said = frozenset(found), _looked_up(found)

        def without(tags: Tags) -> Sequence[str]:
            return tags if wanted.isdisjoint(tags) else [tag for tag in tags if tag not in wanted]

        return Change(tags=without, prose=lambda line: cut(line, said(line)))


@dataclass(frozen=True)
class ReplaceEdit(Edit):
    """Tags, or parts of captions, get another wording."""

    kind: ClassVar[str] = "replace"
    label: ClassVar[str] = "Replace"
    help: ClassVar[str] = "Writes something else for a tag or for a part of the text. A tag that comes out twice is kept once."  # fmt: skip

    find: str = setting("", "Find", "What is there now.")
    replace: str = setting("", "Replace with", "What to write for it; nothing removes it. Commas make several tags.")
    how: str = setting("tag", "Find is", "tag: a whole tag, * and ? are wildcards; text: any part of the text; regex: a regular expression, whose groups the new text may name.", choices=HOW)  # fmt: skip
    within: str = setting("tags", "Look in", "For text and regex: tags: in each tag for itself; line: in the whole caption.", choices=("tags", "line"))  # fmt: skip
    ignore_case: bool = setting(True, "Capitals are alike", "For text and regex; for whole tags they always are.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.comma, edits.too_long, edits.characters."""
        check_text("replace", self.replace)
        if self.how == "regex":
            check_pattern("find", self.find)
        elif self.how == "tag":
            if len(entries_of("find", [self.find])) > 1:
                raise UserError("edits.comma", "find", entry=shortened(self.find))
        elif not check_text("find", self.find):
            raise UserError("edits.nothing", "find")

    def title(self) -> Log:
        if not self.replace.strip():
            if self.how == "tag":
                return Log("edits.title_remove_tag", {"tags": shortened(self.find.strip())})
            return Log("edits.title_cut", {"find": shortened(self.find)})
        values = {"find": shortened(self.find), "replace": shortened(self.replace)}
        return Log(f"edits.title_replace_{self.how}", values)

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        if self.how == "tag":
            return _merging("find", [self.find.strip()], split_tags(self.replace), drafts)
        by_line = self.within == "line"
        lines = dict.fromkeys(draft.line for draft in drafts) if by_line else sentences_in(drafts)
        texts = list(lines if by_line else dict.fromkeys([*tags_in(drafts), *lines]))
        if self.how == "regex":
            made = substituted("find", self.find, self.replace, texts, self.ignore_case)
        else:
            pattern = re.compile(re.escape(self.find), re.IGNORECASE if self.ignore_case else 0)
            made = {text: new for text in texts if (new := pattern.sub(lambda found: self.replace, text)) != text}

        def new_line(text: str) -> str:
            return made.get(text, text)

        return Change(line=new_line, prose=new_line) if by_line else Change(tags=respelt(new_line), prose=new_line)


@dataclass(frozen=True)
class MergeEdit(Edit):
    """Several words for one thing become one."""

    kind: ClassVar[str] = "merge"
    label: ClassVar[str] = "Merge"
    help: ClassVar[str] = "Writes one tag for several that mean the same; a caption that has more than one of them keeps the first place."  # fmt: skip

    tags: list[str] = setting([], "Tags", "Words for the same thing; * and ? are wildcards.")
    into: str = setting("", "Into", "What to write for each of them.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.nothing, edits.too_many, edits.too_long, edits.characters."""
        entries_of("tags", self.tags)
        entries_of("into", [self.into])

    def title(self) -> Log:
        values = {"tags": listed(entries_of("tags", self.tags)), "into": shortened(self.into.strip())}
        return Log("edits.title_merge", values)

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        return _merging("tags", entries_of("tags", self.tags), entries_of("into", [self.into]), drafts)


def _merging(field: str, entries: Sequence[str], new: Tags, drafts: Sequence[Draft]) -> Change:
    tags_there, said, words = tags_in(drafts), words_in(field, entries, drafts), ", ".join(new)
    wanted = TagMatcher(entries).among(tags_there)
    if len(new) == 1 and unweighted(new[0])[1] == 1:
        key = bare_key(new[0])
        same = wanted.union(tag for tag in tags_there if bare_key(tag) == key)
        written = Looked(lambda tag: weighted(new[0], unweighted(tag)[1]))  # the weight of what it stands for

        def with_new(tags: Tags) -> Sequence[str]:
            if wanted.isdisjoint(tags):
                return tags
            first = next(tag for tag in tags if tag in same)
            rest = [tag for tag in tags if tag not in same]
            rest.insert(tags.index(first), written[first] if first in wanted else first)
            return rest
    else:

        def with_new(tags: Tags) -> Sequence[str]:
            if wanted.isdisjoint(tags):
                return tags
            return merged((part, tag in wanted) for tag in tags for part in (new if tag in wanted else (tag,)))

    return Change(tags=with_new, prose=lambda line: swapped(line, said(line), words))


def respelt(respell: Callable[[str], str]) -> Callable[[Tags], Sequence[str]]:
    """Each tag as `respell` writes it, which may be several with commas, or nothing; what comes out twice by that is
    kept once. `respell` is asked once for each tag."""
    known = Looked(lambda tag: respell(tag).strip())

    def every(tags: Tags) -> Sequence[str]:
        new = [known[tag] for tag in tags]
        keys = set(map(bare_key, new))
        if len(keys) == len(new) and "" not in keys and not known.parted:
            return new
        return merged((part, known[tag] != tag) for tag in tags for part in split_tags(known[tag]))

    return every


def merged(pairs: Iterable[tuple[str, bool]]) -> list[str]:
    """Tags, each with whether it is new: of what is the same as a new one the first is kept."""
    listed_pairs = list(pairs)
    new = {bare_key(tag) for tag, is_new in listed_pairs if is_new}
    kept, seen = [], set()
    for tag, _ in listed_pairs:
        key = bare_key(tag)
        if key in new:
            if key in seen:
                continue
            seen.add(key)
        kept.append(tag)
    return kept


def words_in(field: str, entries: Sequence[str], drafts: Sequence[Draft]) -> Find:
    """Where entries are said in the sentences among the drafts."""
    lines = sentences_in(drafts)
    phrases = Phrases(plain(entry) for entry in entries if not is_wild(entry))
    wild = [entry for entry in entries if is_wild(entry)]
    if not wild or not lines:
        return phrases.spans
    found = found_spans(field, [phrase_pattern(entry, wild=True) for entry in wild], lines, ignore_case=True)
    return lambda line: apart([*phrases.spans(line), *found.get(line, [])])


def _parts_in(parts: Sequence[str], ignore_case: bool) -> Find:
    patterns = [re.compile(re.escape(part), re.IGNORECASE if ignore_case else 0) for part in parts]
    return lambda text: apart(found.span() for pattern in patterns for found in pattern.finditer(text))


def _looked_up(found: dict[str, list[tuple[int, int]]]) -> Find:
    return lambda text: apart(found.get(text, []))
