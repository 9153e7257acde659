"""The trigger word: what is said against a word, and that it stands first everywhere afterwards."""

from __future__ import annotations

from collections import Counter

import pytest

from lib_lora_train.dataset.tag_text import split_tags, tag_key, tags_of
from lib_lora_train.messages import message
from lib_lora_train.tags.edits import EditContext, edit_of
from lib_lora_train.tags.edits.base import Draft
from lib_lora_train.tags.trigger import check_trigger, trigger_edit
from lib_lora_train.tags.vocabulary import KnownTag, Vocabulary

VOCABULARY = Vocabulary(
    [KnownTag("red hair", 520146), KnownTag("odd", 0), KnownTag("thighhighs", 9, "general", ("stockings",))]
)


def said(word: str, counts: dict[str, int] | None = None, total: int = 10, current: str = "", **more) -> dict[str, str]:
    notes = check_trigger(word, VOCABULARY, Counter(counts or {}), more.get("count"), total, current)
    for note in notes:
        assert message(note.code, "zh-CN", **note.values) and message(note.code, **note.values)
    return {note.code.removeprefix("words_tags.trigger_"): note.level for note in notes}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("zuna", {}),
        ("", {"none": "info"}),
        (" , ", {"none": "info"}),
        ("odd", {"known_uncounted": "warning"}),
        ("Red_Hair", {"known": "warning", "capitals": "info"}),
        ("stockings", {"alias": "warning"}),
        ("zuna blue", {"blanks": "warning"}),
        ("zuna (x)", {"signs": "warning", "blanks": "warning"}),
        ("狐", {"script": "warning"}),
        ("zuna, mira", {"parts": "info"}),
        ("ZUNA", {"capitals": "info"}),
    ],
)
def test_what_speaks_against_a_word(word: str, expected: dict[str, str]) -> None:
    assert said(word) == expected


def test_a_word_that_captions_hold_otherwise() -> None:
    assert said("zuna", {"zuna": 3, "Zuna": 1}) == {"used": "warning"}
    assert said("zuna", {"zuna": 10}) == {} == said("zuna", {"zuna": 3}, current="Zuna, x")
    note = check_trigger("zuna", VOCABULARY, {"zuna": 3, "Zuna": 1}, None, 10)[0]
    assert (note.values["count"], note.values["total"]) == (4, 10)


@pytest.mark.parametrize(
    ("tokens", "word", "expected"),
    [(1, "zuna", "whole"), (2, "zuna", "tokens"), (4, "zuna", "tokens"), (5, "zuna", "long"), (9, "a, b", "tokens"), (10, "a, b", "long")],
)  # fmt: skip
def test_tokens_are_counted_with_the_commas_between(tokens: int, word: str, expected: str) -> None:
    counted = []
    assert expected in said(word, count=lambda text: counted.append(text) or tokens)
    assert counted == [", ".join(split_tags(word))]


def test_the_gravest_comes_first() -> None:
    notes = check_trigger("RED HAIR, b", VOCABULARY, {}, lambda text: 2, 1)
    levels = [note.level for note in notes]
    assert levels == sorted(levels, key=lambda level: level != "warning") and levels[0] == "warning"


def applied(old: str, new: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    for values in trigger_edit(old, new):
        change = edit_of(values).change([Draft(", ".join(tags), ", ".join(tags), tags, False)], EditContext())
        tags = tuple(change.tags(tags))
    return tags


@pytest.mark.parametrize(
    ("old", "new", "tags", "after"),
    [
        ("", "zuna", ("smile", "hat"), ("zuna", "smile", "hat")),
        ("", "zuna", ("smile", "Zuna", "hat"), ("zuna", "smile", "hat")),
        ("", "zuna", (), ("zuna",)),
        ("zuna", "mira", ("zuna", "smile"), ("mira", "smile")),
        ("zuna", "mira", ("smile", "mira", "zuna"), ("mira", "smile")),
        ("zuna, 1girl", "zuna", ("zuna", "1girl", "smile"), ("zuna", "smile")),
        ("zuna", "zuna, 1girl", ("zuna", "smile", "1girl"), ("zuna", "1girl", "smile")),
        ("zuna", "", ("zuna", "smile"), ("smile",)),
        ("zuna*", "mira", ("zuna*", "zunax"), ("mira", "zunax")),
        ("a, b", "c, d", ("b", "a", "x"), ("c", "d", "x")),
        ("", "", ("x",), ("x",)),
    ],
)
def test_it_stands_first_and_the_old_one_is_gone(old: str, new: str, tags: tuple[str, ...], after: tuple) -> None:
    assert applied(old, new, tags) == after
    assert applied(new, new, after) == after  # once more changes nothing


def test_in_sentences_the_new_word_takes_the_old_ones_place() -> None:
    line = "A photo of zuna in a garden."
    for values in trigger_edit("zuna", "mira"):
        draft = Draft(line, line, tags_of(line), True)
        change = edit_of(values).change([draft], EditContext(form="sentences"))
        line = change.prose(line)
    assert line == "A photo of mira in a garden."
    assert tag_key("MIRA") in line
