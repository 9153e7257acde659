"""What to bind: which tags a caption should lose so that the trigger word stands for what they name.

Training learns for each word of a caption what the other pictures with that word have in common. So what is never
named hangs on the one word that all captions share, the trigger word: traits of the subject belong there. What is named
can be asked for, or left out: poses, expressions, backgrounds, and whatever else changes from picture to picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from lib_lora_train.errors import UserError
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.signals import Log
from lib_lora_train.tags.edits.matching import bare_key, unweighted
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.traits.reasons import bind_reason, keep_reason
from lib_lora_train.tags.traits.rules import Category, Rules
from lib_lora_train.tags.traits.spelling import Speller

DECISIONS = ("bind", "keep", "fix", "unknown")
#: A subject has one hair colour. When this share of the pictures that show any agrees, the rest is taken for mistakes.
CLEAR = 0.7
_NEARLY_ALL = 0.8  # of a trait on so many pictures, those without it are worth a look


@dataclass(frozen=True)
class BindOptions:
    """`outfit`: the clothes belong to the subject too. `least_share`: of the pictures, 0 to 1, that a tag must be on
    before it can count as a trait, where its category does not ask for more."""

    outfit: bool = False
    least_share: float = 0.0


@dataclass(frozen=True)
class Row:
    """One tag and what to do with it.

    `tag` as it is mostly written, without a weight; `count` pictures have it, `share` (0 to 1) of those looked at.
    `decision`: bind (delete it), keep, fix (write `replacement` for it, or delete it when that is empty), unknown (it
    stays). `suggested` is the advice before anyone overruled it. `disagree`: ids of pictures that speak against it.
    """

    tag: str
    count: int
    share: float
    decision: str
    suggested: str
    category: Category
    reason: Log
    replacement: str = ""
    disagree: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """`rows`, most frequent first; `pictures` were looked at. `applies` is False for a kind of subject that keeps all
    its tags, as a style does. `applying.summarize` says it in a sentence."""

    kind: str
    rows: tuple[Row, ...]
    pictures: int
    applies: bool
    options: BindOptions = field(default_factory=BindOptions)

    def decided(self, decision: str) -> list[Row]:
        return [row for row in self.rows if row.decision == decision]


@dataclass(frozen=True)
class _Tag:
    """`pictures` that show it, by place in the list, those that say it misspelt too; `count` of them say it rightly.
    `spellings` are without weights."""

    key: str
    pictures: frozenset[int]
    count: int
    spellings: Counter[str]
    category: Category
    meant: str = ""  # the key of the known tag that this one is taken for

    @property
    def name(self) -> str:
        return self.spellings.most_common(1)[0][0]


def advise(
    items: Sequence[Item],
    kind: str,
    rules: Rules,
    trigger: str = "",
    choices: Mapping[str, str] | None = None,
    options: BindOptions | None = None,
    known: Set[str] = frozenset(),
) -> Advice:
    """Sorts the tags of the subject's pictures; regularization, sentences and pictures without caption are not looked at.

    `trigger`: its tags are left out of the rows. `choices`: decisions by tag that overrule the advice. `known`: all
    tags of a vocabulary as `tag_key` writes them; without any no misspelling is found.
    Raises UserError: traits.kind, traits.choice.
    """
    if kind not in SUBJECT_KINDS:
        raise UserError("traits.kind", "kind", value=kind[:60], known=", ".join(SUBJECT_KINDS))
    options = options or BindOptions()
    looked_at = [item for item in items if concerns(item)]
    found, spellings = _collect(looked_at, {bare_key(part) for part in trigger.split(",")})
    speller = Speller(spellings, known, rules)
    tags = _tags(found, spellings, speller, rules)
    judge = _Judge(looked_at, tags, kind, rules, options, speller, _chosen(choices or {}))
    rows = [judge.row(tag) for tag in tags if tag.count]
    rows.sort(key=lambda row: (-row.count, row.category.order, row.tag))
    return Advice(kind, tuple(rows), len(looked_at), kind != "style", options)


def concerns(item: Item) -> bool:
    """Whether a picture is looked at, and is to be changed when the advice is applied: the subject's, with tags."""
    return bool(item.tags) and not item.prose and not item.regularization


def _collect(items: Sequence[Item], trigger: Set[str]) -> tuple[dict[str, set[int]], dict[str, Counter[str]]]:
    """By key of a tag: the pictures that have it, and how it is written."""
    pictures: dict[str, set[int]] = defaultdict(set)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for place, item in enumerate(items):
        for written in item.tags:
            key = bare_key(written)
            if key and key not in trigger:
                pictures[key].add(place)
                spellings[key][unweighted(written)[0]] += 1
    return pictures, spellings


def _tags(
    found: Mapping[str, Set[int]], spellings: Mapping[str, Counter[str]], speller: Speller, rules: Rules
) -> list[_Tag]:
    """All tags, and the known ones that misspelt tags are taken for, so that both are decided alike."""
    meant = {key: right for key in found if (right := speller.misspelt(key))}
    shown = {key: set(pictures) for key, pictures in found.items()}
    for key, right in meant.items():
        shown.setdefault(right, set()).update(found[key])
    return [
        _Tag(
            key,
            frozenset(pictures),
            len(found.get(key, ())),
            spellings.get(key, Counter({key: 1})),
            rules.category(key),
            meant.get(key, ""),
        )
        for key, pictures in shown.items()
    ]


def _chosen(choices: Mapping[str, str]) -> dict[str, str]:
    for tag, decision in choices.items():
        if decision not in DECISIONS:
            raise UserError("traits.choice", str(tag)[:60], value=str(decision)[:60], known=", ".join(DECISIONS))
    return {bare_key(tag): decision for tag, decision in choices.items()}


class _Judge:
    """Decides tag by tag, knowing all of them."""

    def __init__(
        self,
        items: Sequence[Item],
        tags: Sequence[_Tag],
        kind: str,
        rules: Rules,
        options: BindOptions,
        speller: Speller,
        chosen: Mapping[str, str],
    ) -> None:
        self.items, self.kind, self.rules, self.options = items, kind, rules, options
        self.speller, self.chosen = speller, chosen
        self.tags = {tag.key: tag for tag in tags}
        self.of_category: dict[str, list[_Tag]] = defaultdict(list)
        for tag in tags:
            if tag.category.entry.one and not tag.meant:
                self.of_category[tag.category.name].append(tag)
        # Of categories of which a subject has one: the tags that are bound for their own share.
        self.leading = {
            name: {tag.key: tag for tag in same if self._leads(tag)} for name, same in self.of_category.items()
        }

    def row(self, tag: _Tag) -> Row:
        decision, reason, disagree, replacement = self._decide(tag)
        share = tag.count / len(self.items)
        ids = tuple(self.items[place].id for place in sorted(disagree))
        chosen = self.chosen.get(tag.key, decision)
        return Row(tag.name, tag.count, share, chosen, decision, tag.category, reason, replacement, ids)

    def _decide(self, tag: _Tag) -> tuple[str, Log, Set[int], str]:
        nobody: Set[int] = frozenset()
        if tag.category.entry.fix:
            return "fix", Log("traits.fix_noise"), nobody, ""
        if tag.meant:
            right = self.tags[tag.meant]
            if self.chosen.get(right.key, self._bind_or_keep(right)[0]) == "bind":
                return "bind", Log("traits.bind_misspelt", {"tag": right.name}), nobody, right.name
            return "fix", Log("traits.fix_spelling", {"tag": right.name}), nobody, right.name
        decision, reason, disagree = self._bind_or_keep(tag)
        if decision != "bind" and (right_name := self.speller.uneven(tag.key)):
            return "fix", Log("traits.fix_uneven", {"tag": right_name}), nobody, right_name
        return decision, reason, disagree, ""

    def _bind_or_keep(self, tag: _Tag) -> tuple[str, Log, Set[int]]:
        entry = tag.category.entry
        if self.kind == "style":
            return "keep", Log("traits.keep_all"), frozenset()
        if not tag.category.known:
            return "unknown", Log("traits.unknown_tag"), frozenset()
        if entry.unclear:
            return "unknown", Log("traits.unclear"), frozenset()
        if not self._may_bind(tag):
            return "keep", keep_reason(entry, self.kind), frozenset()
        if entry.one:
            return self._one_of(tag)
        if self._share(tag) < self._needed(tag):
            return "keep", self._minority(tag), tag.pictures
        without = frozenset(range(len(self.items))) - tag.pictures
        return "bind", bind_reason(entry), without if self._share(tag) >= _NEARLY_ALL else frozenset()

    def _one_of(self, tag: _Tag) -> tuple[str, Log, Set[int]]:
        """Of hair colours, eye colours, lengths: the one that most pictures agree on."""
        leading = self.leading[tag.category.name]
        if tag.key in leading:
            rivals = self._rivals(tag)
            if not rivals:
                return "bind", bind_reason(tag.category.entry), frozenset()
            against = frozenset().union(*(missing for _, missing in rivals))
            return "bind", Log("traits.bind_rival", {"rival": rivals[0][0].name, "count": len(against)}), against
        if broader := next((other for other in leading.values() if _related(tag.key, other.key)), None):
            return "bind", Log("traits.bind_alike", {"tag": broader.name}), frozenset()
        if leading:
            return (
                "keep",
                Log("traits.keep_contradicts", {"tag": next(iter(leading.values())).name}, "warning"),
                tag.pictures,
            )
        rivals = self._rivals(tag)
        if self._share(tag) >= self._needed(tag) and rivals:
            return "keep", Log("traits.keep_divided", {"rival": rivals[0][0].name}, "warning"), tag.pictures
        return "keep", self._minority(tag), tag.pictures

    def _leads(self, tag: _Tag) -> bool:
        if not self._may_bind(tag) or self._share(tag) < self._needed(tag):
            return False
        against = frozenset().union(*(missing for _, missing in self._rivals(tag)))
        return len(tag.pictures) >= CLEAR * (len(tag.pictures) + len(against))

    def _rivals(self, tag: _Tag) -> list[tuple[_Tag, frozenset[int]]]:
        """Other tags of its category with the pictures that have them and not this one; those with most first."""
        others = [other for other in self.of_category[tag.category.name] if not _related(tag.key, other.key)]
        missing = [(other, other.pictures - tag.pictures) for other in others]
        return sorted((pair for pair in missing if pair[1]), key=lambda pair: (-len(pair[1]), pair[0].key))

    def _may_bind(self, tag: _Tag) -> bool:
        entry = tag.category.entry
        return self.kind in entry.bind or (self.options.outfit and self.kind in entry.outfit)

    def _needed(self, tag: _Tag) -> float:
        return max(tag.category.entry.share, self.options.least_share, self.rules.least.get(self.kind, 0.0))

    def _share(self, tag: _Tag) -> float:
        return len(tag.pictures) / len(self.items)

    def _minority(self, tag: _Tag) -> Log:
        return Log("traits.keep_minority", {"count": tag.count, "total": len(self.items)})


def _related(first: str, second: str) -> bool:
    """Whether one says what the other says, more narrowly or not: very long hair, long hair."""
    return first == second or first.endswith(f" {second}") or second.endswith(f" {first}")
