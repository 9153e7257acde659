"""The table of rules: to which category a tag belongs, and where it stands in a sorted caption."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from lib_lora_train.tags.traits.patterns import expression, first_words, is_exact, last_words, plain, weight
from lib_lora_train.tags.traits.table import CategoryEntry, RuleTable, read_table

#: The order of the tutorials: who, what they do, what they look like, how it is seen, in which light, the rest.
GROUPS = ("subject", "action", "feature", "view", "light", "other")
_REMEMBERED = 50_000  # tags
_SHIPPED = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True)
class Category:
    """What a tag is about. `name` as in the table, "" for a tag that no rule knows; `group` one of GROUPS.

    `order` counts the table's categories, group by group: tags sorted by it stand with their like.
    """

    name: str
    group: str
    order: int
    entry: CategoryEntry = field(repr=False, compare=False)

    @property
    def known(self) -> bool:
        return self.name != ""


@dataclass(frozen=True)
class _Rule:
    """A pattern with stars or lists. `rank`: of two rules that fit, the greater one decides."""

    rank: tuple[bool, int, int]
    regex: re.Pattern[str]
    category: Category


class Rules:
    """The rules in force. Tags are recognised with underscores, capitals, weights and backslashes too."""

    def __init__(self, *tables: RuleTable) -> None:
        """Later tables (the user's) override earlier ones."""
        merged = RuleTable.merged(tables)
        self.least = merged.least
        entries = sorted(merged.categories.items(), key=lambda pair: GROUPS.index(pair[1].group))
        self.categories = {
            name: Category(name, entry.group, order, entry) for order, (name, entry) in enumerate(entries)
        }
        self._none = Category("", "other", len(entries), CategoryEntry())
        self._exact: dict[str, tuple[bool, Category]] = {}
        self._ending: dict[str, list[_Rule]] = defaultdict(list)  # by the last word of the tags they fit
        self._beginning: dict[str, list[_Rule]] = defaultdict(list)  # by the first word
        self._other: list[_Rule] = []
        number = 0
        for users, table in enumerate(tables):
            for name, entry in table.categories.items():
                for pattern in entry.tags:
                    number += 1
                    if is_exact(pattern):
                        self._exact[plain(pattern)] = (users > 0, self.categories[name])
                    else:
                        rank = (users > 0, weight(pattern), -number)
                        regex = expression(pattern, merged.lists)
                        self._file(pattern, merged.lists, _Rule(rank, regex, self.categories[name]))
        #: All words that rules are made of.
        self.words = frozenset(
            word
            for text in chain(self._exact, self._ending, self._beginning, *merged.lists.values())
            for word in text.split(" ")
        )
        self._seen: dict[str, Category] = {}  # filled as tags are asked for; the same answer whoever comes first

    def _file(self, pattern: str, lists: Mapping[str, Sequence[str]], rule: _Rule) -> None:
        """Where it is found again: a tag is held against the few patterns that have its last or its first word."""
        for index, words in (
            (self._ending, last_words(pattern, lists)),
            (self._beginning, first_words(pattern, lists)),
        ):
            if words:
                for word in words:
                    index[word].append(rule)
                return
        self._other.append(rule)

    def category(self, tag: str) -> Category:
        """The category of a tag; one without a name for a tag that no rule knows."""
        found = self._seen.get(tag)
        if found is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen = {}
            found = self._seen[tag] = self._find(plain(tag))
        return found

    def _find(self, tag: str) -> Category:
        by_user, exact = self._exact.get(tag, (False, None))
        words = tag.split(" ")
        rules = [*self._ending.get(words[-1], ()), *self._beginning.get(words[0], ()), *self._other]
        if exact is not None:  # a pattern of the user's goes before a whole tag of ours
            rules = [] if by_user else [rule for rule in rules if rule.rank[0]]
        for rule in sorted(rules, key=lambda rule: rule.rank, reverse=True):
            if rule.regex.fullmatch(f" {tag}"):
                return rule.category
        return exact or self._none

    def knows(self, tag: str) -> bool:
        """Whether the very tag stands in the table, not only a pattern that fits it."""
        return plain(tag) in self._exact

    def rank(self, tag: str) -> int:
        """Where a tag stands in a sorted caption: 0 subject, 1 action, 2 feature, 3 view, 4 light, 5 other."""
        return GROUPS.index(self.category(tag).group)


def load_rules(extra: Path | None = None) -> Rules:
    """The shipped rules, and those of `extra` (the user's binding.toml) on top of them where that file exists.

    Raises UserError, naming line or field: traits.unreadable, traits.heavy, traits.unknown, traits.value,
    traits.no_group, traits.pattern, traits.list.
    """
    tables = [read_table(_SHIPPED)]
    if extra is not None and extra.is_file():
        tables.append(read_table(extra, tables[0]))
    return Rules(*tables)
