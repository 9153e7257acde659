"""The same tags, but each once, in another order, or not so many of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lib_lora_train.errors import UserError
from lib_lora_train.settings.fields import setting
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.base import Change, Draft, Edit, EditContext, Looked, Tags, entries_of, tags_in
from lib_lora_train.tags.edits.implied import implied_by, shorter
from lib_lora_train.tags.edits.matching import TagMatcher, bare_key, bare_keys

_TRAILING = " ,，、;:"  # not left at the end of a sentence that is cut
Counting = Callable[[str], int]


@dataclass(frozen=True)
class DedupeEdit(Edit):
    """What a caption says twice is said once."""

    kind: ClassVar[str] = "dedupe"
    label: ClassVar[str] = "Remove duplicates"
    help: ClassVar[str] = "Of a tag that stands in a caption more than once the first is kept."

    implied: bool = setting(False, "Also implied ones", "Tags that another one says as well: hair, where there is long hair. Each such pair is shown before it goes.")  # fmt: skip
    keep: list[str] = setting([], "But keep", "Implied tags that stay; * and ? are wildcards.")

    def __post_init__(self) -> None:
        """Raises UserError: edits.too_many, edits.too_long, edits.characters."""
        entries_of("keep", self.keep, needed=False)

    def title(self) -> Log:
        return Log("edits.title_dedupe_implied" if self.implied else "edits.title_dedupe")

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        kept = TagMatcher(entries_of("keep", self.keep, needed=False))
        spared = set(bare_keys(context.front))
        asked: Counter[tuple[str, str]] = Counter()
        less_of = Looked(shorter)

        def once(tags: Tags) -> Sequence[str]:
            keys = bare_keys(tags)
            there = dict(zip(reversed(keys), reversed(tags), strict=True))  # by key, the first one's wording
            needless = set()
            for less, more in implied_by(there, less_of).items() if self.implied else ():
                if less not in spared:
                    asked[less, more] += 1
                    if not kept(less):
                        needless.add(less)
            if len(there) == len(tags) and not needless:
                return tags
            return [there[key] for key in dict.fromkeys(keys) if key not in needless]

        def shown() -> list[dict[str, object]]:
            pairs = sorted(asked.items(), key=lambda pair: (-pair[1], pair[0]))
            return [{"drop": less, "because": more, "count": count} for (less, more), count in pairs]

        return Change(tags=once, asked=shown)


@dataclass(frozen=True)
class SortEdit(Edit):
    """Tags in another order; the trigger word stays where it is at the front."""

    kind: ClassVar[str] = "sort"
    label: ClassVar[str] = "Sort"
    help: ClassVar[str] = "Puts the tags of each caption in order. A trigger word at the front stays there."

    by: str = setting("order", "By", "order: subject, action, feature, view, light, other; frequency: the most frequent first; alphabet.", choices=("order", "frequency", "alphabet"))  # fmt: skip
    reverse: bool = setting(False, "Backwards", "The last first.")
    fixed: int = setting(0, "First tags that stay", "So many tags at the front stay where they are, the trigger word not counted.", minimum=0, maximum=1000)  # fmt: skip

    def title(self) -> Log:
        return Log(f"edits.title_sort_{self.by}")

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        tags = tags_in(drafts)
        if self.by == "alphabet":
            rank: dict[str, object] = {tag: (bare_key(tag), tag) for tag in tags}
        elif self.by == "frequency":
            rank = {tag: (-context.counts.get(tag, 0), bare_key(tag), tag) for tag in tags}
        else:
            rank = {tag: context.rank(tag) for tag in tags}  # of one rank, the order that is there
        places = {tag: place for place, tag in enumerate(sorted(tags, key=lambda tag: rank[tag]))}  # type: ignore[arg-type,return-value]
        key = places.__getitem__ if self.by != "order" else rank.__getitem__
        front = bare_keys(context.front)

        def ordered(tags: Tags) -> Sequence[str]:
            start = self.fixed + (len(front) if front and bare_keys(tags[: len(front)]) == front else 0)
            return [*tags[:start], *sorted(tags[start:], key=key, reverse=self.reverse)]  # type: ignore[arg-type]

        return Change(tags=ordered)


@dataclass(frozen=True)
class TruncateEdit(Edit):
    """Captions that are too long lose what stands last."""

    kind: ClassVar[str] = "truncate"
    label: ClassVar[str] = "Shorten"
    help: ClassVar[str] = "Cuts captions after so many tags or tokens; what does not fit goes, from the end."

    by: str = setting("tokens", "Count", "tokens: as the model counts them; tags.", choices=("tokens", "tags"))
    limit: int = setting(75, "At most", "The model reads 75 tokens at a time, or 150 or 225 where training is set so.", minimum=1, maximum=2000)  # fmt: skip

    def title(self) -> Log:
        return Log(f"edits.title_truncate_{self.by}", {"limit": self.limit})

    def change(self, drafts: Sequence[Draft], context: EditContext) -> Change:
        """Raises UserError("edits.no_tokens") when tokens cannot be counted."""
        if self.by == "tags":
            return Change(tags=lambda tags: tags[: self.limit])
        if context.count_tokens is None:
            raise UserError("edits.no_tokens", "by")
        count = _Words(context.count_tokens)
        needs = Looked(lambda tag: (count(tag), count(f"{tag},")))  # the last one has no comma behind it
        short = {draft.line for draft in drafts if 0 <= draft.tokens <= self.limit}

        def cut_tags(tags: Tags) -> Sequence[str]:
            if ", ".join(tags) in short:
                return tags
            left = self.limit
            for place, tag in enumerate(tags):
                alone, followed = needs[tag]
                if alone > left:
                    return tags[: max(place, 1)]  # a caption is never emptied by this
                left -= followed
            return tags

        def cut_sentence(line: str) -> str:
            return line if line in short else count.cut(line, self.limit)

        return Change(tags=cut_tags, prose=cut_sentence)


class _Words:
    """Counts tokens of texts by their words. A tokenizer of CLIP joins nothing across a blank, so the sum is exact."""

    def __init__(self, count: Counting) -> None:
        self._count = count
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return sum(map(self._word, text.split()))

    def _word(self, word: str) -> int:
        if word not in self._known:
            self._known[word] = self._count(word)
        return self._known[word]

    def cut(self, line: str, limit: int) -> str:
        """As many words of a sentence as fit; of a word that fills all of it, as many characters."""
        left, end = limit, 0
        for word in line.split():
            start = line.index(word, end)
            needed = self._word(word)
            if needed > left:
                bare = word.rstrip(_TRAILING)
                if bare != word and bare and self._word(bare) <= left:
                    return line[: start + len(bare)]
                rest = self._characters(word, left) if end == 0 or not word.isascii() else ""
                return (line[:start] + rest if rest else line[:end]).rstrip(_TRAILING)
            left -= needed
            end = start + len(word)
        return line

    def _characters(self, word: str, limit: int) -> str:
        ends = range(1, len(word) + 1)
        fitting = bisect_right(ends, limit, key=lambda end: self._count(word[:end]))
        return word[:fitting]
