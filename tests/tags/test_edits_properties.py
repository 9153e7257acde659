"""For any captions and any edit: what is shown is what is changed, nothing else is, and it can be taken back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import first_line, is_prose, tag_key, tags_of
from lib_lora_train.tags.edits import EditContext, edit_of
from lib_lora_train.tags.edits.implied import implied_by, shorter
from lib_lora_train.tags.edits.matching import TagMatcher, bare_key, unweighted, weighted
from lib_lora_train.tags.edits.phrases import Phrases, cut, swapped
from lib_lora_train.tags.edits.placing import PLACES
from lib_lora_train.tags.proposing import propose, propose_texts
from tests.helpers.sheets import item

TAGS = ["1girl", "hat", "Hat", "red hat", "long_hair", "long hair", "hair", "(hat:1.2)", ">_<", "q", "雨", "<b>", "!?", "a*b"]  # fmt: skip
SENTENCES = ["A girl with a red hat sits on the bench.", "q, she has long_hair and smiles at dusk.", "一个女孩站在雨中，微笑着，看向远方的山。"]  # fmt: skip

lines = st.one_of(
    st.lists(st.sampled_from(TAGS), max_size=6).map(", ".join),
    st.lists(st.sampled_from(TAGS), max_size=4).map(" ,".join),
    st.sampled_from(SENTENCES),
    st.text(alphabet="ab ,_.*()雨\u200b", max_size=15),
)
captions = st.one_of(lines, st.tuples(lines, st.sampled_from(["\n", "\r\n", "\n\n"]), lines).map("".join))
some_tags = st.lists(st.sampled_from([*TAGS, "h*", "*hair", "?at", "new tag"]), min_size=1, max_size=3)
texts = st.sampled_from(["hat", "h", "long", "a", "girl", " ", "new", "red hat, cap", ""])


def of(kind: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **values})


anchor = st.just("bench")
edits = st.one_of(
    of("add", tags=some_tags, where=st.sampled_from(PLACES), tag=anchor, move=st.booleans(), empty=st.booleans()),
    of("remove", tags=some_tags),
    of("remove", tags=some_tags, how=st.just("text"), ignore_case=st.booleans()),
    of("replace", find=st.sampled_from(TAGS), replace=texts),
    of(
        "replace", find=texts.filter(bool), replace=texts, how=st.just("text"), within=st.sampled_from(["tags", "line"])
    ),
    of("merge", tags=some_tags, into=texts.filter(str.strip)),
    of("dedupe", implied=st.booleans(), keep=st.lists(st.sampled_from(TAGS), max_size=2)),
    of("sort", by=st.sampled_from(["order", "frequency", "alphabet"]), reverse=st.booleans(), fixed=st.integers(0, 2)),
    of("move", tags=some_tags, where=st.sampled_from([*PLACES, "position"]), tag=anchor, position=st.integers(1, 4)),
    of("truncate", by=st.sampled_from(["tags", "tokens"]), limit=st.integers(1, 6)),
    of("spelling", write=st.sampled_from(["spaces", "underscores", "keep"]), escapes=st.booleans()),
    of("case", to=st.sampled_from(["lower", "first", "title", "upper"])),
    of("weights", weight=st.sampled_from([1.0, 1.2, 0.5])),
    of("affix", prefix=st.just("big "), suffix=st.just(" z"), to=st.sampled_from(["caption", "tags"])),
    of("write", text=captions),
)


def context(given_captions: list[str], **values: Any) -> EditContext:
    counts = Counter(tag for text in given_captions for tag in tags_of(text))
    return EditContext(counts, len, lambda text: len(text.replace(",", " ,").split()), "q", **values)


@settings(max_examples=400)
@given(st.lists(captions, max_size=5), edits, st.sampled_from(["tags", "sentences"]))
def test_it_changes_what_it_shows_and_nothing_else(
    given_captions: list[str], values: dict[str, Any], form: str
) -> None:
    items = [item(text, f"{number}.png") for number, text in enumerate(given_captions)]
    edit, place = edit_of(values), context(given_captions, form=form)
    proposal = propose(items, edit, place)
    after = {change.item.id: change.after for change in proposal.changes}
    assert len(after) == len(proposal.changes)
    assert all(after[one.id] != one.text for one in items if one.id in after)
    # Said again, or of those pictures alone, it is the same.
    assert propose(items, edit, place).digest == proposal.digest
    assert propose([change.item for change in proposal.changes], edit, place).digest == proposal.digest
    # Taken back, everything is as it was.
    changed = [item(after.get(one.id, one.text), one.name) for one in items]
    back = propose_texts(changed, {one.id: one.text for one in items})
    assert {change.item.id: change.after for change in back.changes} == {
        one.id: one.text if one.text.strip() else "" for one in items if one.id in after
    }
    for change in proposal.changes:
        before, text = change.item, change.after
        if values["kind"] != "write":
            assert_lines_stay(before.text, text)
        assert "\x00" not in text
    _counts_are_right(proposal, form)


def assert_lines_stay(before: str, after: str) -> None:
    start, line, end = first_line(before)
    if line and after:
        assert after.startswith(start) and after.endswith(end)


def _counts_are_right(proposal: Any, form: str) -> None:
    removed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    if form == "sentences" or any(is_prose(first_line(change.after)[1]) for change in proposal.changes):
        return
    for change in proposal.changes:
        before, after = Counter(change.item.tags), Counter(tags_of(change.after))
        if not change.item.prose:
            removed += before - after
            added += after - before
    assert (proposal.removed, proposal.added) == (removed, added)


@given(st.lists(st.sampled_from(TAGS), max_size=8).map(", ".join), edits)
def test_twice_is_once(there: str, values: dict[str, Any]) -> None:
    """For edits that say what a caption should be like, and not what to do to it."""
    if values["kind"] in ("replace", "write", "merge", "affix", "move"):
        return
    place = context([there])
    once = [change.after for change in propose([item(there)], edit_of(values), place).changes]
    assert propose([item(text) for text in once], edit_of(values), place).changes == []


@given(st.lists(st.sampled_from(TAGS), max_size=8), edits)
def test_sorting_and_moving_lose_nothing(tags: list[str], values: dict[str, Any]) -> None:
    if values["kind"] not in ("sort", "move"):
        return
    there = ", ".join(tags)
    changes = propose([item(there)], edit_of(values), context([there])).changes
    assert Counter(tags_of(changes[0].after if changes else there)) == Counter(tags)


# ---------------------------------------------------------------------- the parts

patterns = st.text(alphabet="ab*?_ \\", min_size=1, max_size=8)


def naive_glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "\\" and pattern[1:2] in ("*", "?", "\\") and len(pattern) > 1:
        return text[:1] == pattern[1] and naive_glob(pattern[2:], text[1:])
    if pattern[0] == "*":
        return any(naive_glob(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and naive_glob(pattern[1:], text[1:])


@settings(max_examples=400)
@given(patterns.filter(lambda text: "a" in text or "b" in text), st.text(alphabet="ab* \\_", max_size=8))
def test_wildcards_agree_with_a_naive_matcher(pattern: str, tag: str) -> None:
    assert TagMatcher([pattern])(tag) == naive_glob(tag_key(pattern), tag_key(tag))


def test_wildcards_never_hang() -> None:
    assert not TagMatcher(["*a" * 60 + "*b"])("a" * 5000)
    assert TagMatcher(["*a" * 60 + "*b"])("a" * 5000 + "b")


@given(st.sampled_from([*TAGS, "shirt (white)", "a (b) c", "(o)_(o)"]), st.sampled_from([0.5, 0.9, 1.1, 1.25, 2.0]))
def test_weights_are_written_and_read(tag: str, weight: float) -> None:
    bare = unweighted(tag)[0]
    assert unweighted(weighted(bare, weight)) == (bare, weight)
    assert weighted(bare, 1) == bare
    assert bare_key(weighted(bare, weight)) == bare_key(tag)


@pytest.mark.parametrize(
    "tag", ["(", "()", "( )", "(:1.2)", "((((((((((((a))))))))))))", ":)", "(a", "[b", r"(a\)", "(a)(b)"]
)
def test_odd_brackets_are_harmless(tag: str) -> None:
    bare, weight = unweighted(tag)
    assert bare.strip() and weight > 0


@given(st.lists(st.sampled_from(["hair", "long hair", "very long hair", "no hat", "hat", "red hat"]), unique=True))
def test_of_implied_tags_the_longest_stays(keys: list[str]) -> None:
    found = implied_by(keys, {key: shorter(key) for key in keys})
    assert all(more in keys and less in shorter(more) for less, more in found.items())
    assert ("hat" in found) == ("hat" in keys and "red hat" in keys)
    assert set(keys) - set(found) or not keys


words = st.lists(st.sampled_from(["a", "red", "hat", "girl,", "sits", "down.", "雨中", "red,"]), max_size=8).map(
    " ".join
)


@given(words, st.lists(st.sampled_from(["red", "hat", "red hat", "雨", "a"]), min_size=1, max_size=3))
def test_cutting_words_out_leaves_the_others(text: str, entries: list[str]) -> None:
    phrases = Phrases(entries)
    spans = phrases.spans(text)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    rest = "".join(text[end:start] for end, start in zip([0, *[e for _, e in spans]], [*[s for s, _ in spans], len(text)], strict=True))  # fmt: skip
    left = cut(text, spans)
    assert left.replace(",", " ").split() == rest.replace(",", " ").split() or "雨" in text
    assert ("  " not in left and not left.startswith((" ", ","))) or not spans
    assert swapped(text, spans, " ") == left
