"""From probabilities to captions: thresholds, several taggers, the user's lists, and captions that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import is_prose, tag_key
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.choosing import mcut
from lib_lora_train.prepare.guesses import Guesses, Vocabulary
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.prepare.tagging import TagChooser, choose_tags, merge_caption

ROWS = [
    ("general", 9), ("sensitive", 9), ("1girl", 0), ("long_hair", 0), ("smile", 0), ("=_=", 0), ("shirt_(white)", 0),
    ("hatsune_miku", 4), ("quillon_(story)", 4), ("the_story", 3),
]  # fmt: skip
NAMES = [name for name, _ in ROWS]


def seen(rows: Sequence[tuple[str, int]] = tuple(ROWS), **probabilities: float) -> Guesses:
    """Of one tagger; other names may be given by `seen(**{"=_=": 0.5})`."""
    vocabulary = Vocabulary.of("tagger", [name for name, _ in rows], [kind for _, kind in rows])
    dense = np.zeros(len(rows), np.float32)
    for name, value in probabilities.items():
        dense[vocabulary.names.index(name)] = value
    return Guesses.of(vocabulary, dense)


def chosen(guesses: Guesses | Sequence[Guesses], **settings: Any) -> list[str]:
    return choose_tags([guesses] if isinstance(guesses, Guesses) else guesses, TagSettings(**settings))


# ---------------------------------------------------------------------- thresholds


def test_general_and_character_thresholds_and_order() -> None:
    guesses = seen(
        **{
            "hatsune_miku": 0.99,
            "quillon_(story)": 0.8,
            "1girl": 0.9,
            "smile": 0.36,
            "long_hair": 0.95,
            "=_=": 0.34,
            "general": 0.99,
        }
    )
    assert chosen(guesses) == ["long hair", "1girl", "smile", "hatsune miku"]
    assert chosen(guesses, threshold=0.3, character_threshold=0.8) == [
        "long hair",
        "1girl",
        "smile",
        "=_=",
        "hatsune miku",
        "quillon (story)",
    ]
    assert chosen(guesses, character_threshold=1.0) == ["long hair", "1girl", "smile"]


def test_a_probability_at_the_threshold_is_taken() -> None:
    assert chosen(seen(smile=0.35)) == ["smile"]
    assert chosen(seen(smile=0.3499)) == []


def test_names_of_stories_are_names() -> None:
    assert chosen(seen(the_story=0.5, smile=0.5)) == ["smile"]


def test_the_likeliest_rating_comes_last_when_it_is_wanted() -> None:
    guesses = seen(general=0.2, sensitive=0.3, smile=0.9, hatsune_miku=0.9)
    assert chosen(guesses) == ["smile", "hatsune miku"]
    assert chosen(guesses, ratings=True) == ["smile", "hatsune miku", "sensitive"]


def test_spaces_but_in_faces_and_parentheses_stay_plain() -> None:
    guesses = seen(**{"=_=": 0.9, "shirt_(white)": 0.8, "long_hair": 0.7})
    assert chosen(guesses) == ["=_=", "shirt (white)", "long hair"]
    assert chosen(guesses, spaces=False) == ["=_=", "shirt_(white)", "long_hair"]


def test_mcut_lies_in_the_largest_gap() -> None:
    assert mcut([0.9, 0.8, 0.3, 0.2]) == pytest.approx(0.55)
    assert mcut([0.9]) == pytest.approx(0.455)
    assert mcut([]) == 1.0
    guesses = seen(**{"1girl": 0.3, "smile": 0.28, "long_hair": 0.1, "hatsune_miku": 0.05, "quillon_(story)": 0.04})
    assert chosen(guesses, mcut=True) == ["1girl", "smile"]  # the names lie below their floor
    assert chosen(seen(**{"hatsune_miku": 0.4, "quillon_(story)": 0.1}), mcut=True) == ["hatsune miku"]
    assert chosen(seen(**{"hatsune_miku": 0.4}), mcut=True, character_threshold=1.0) == []


# ---------------------------------------------------------------------- several taggers

OTHER = (("1girl", 0), ("long hair", 0), ("hat", 0))


@pytest.mark.parametrize(
    ("combine", "wanted"),
    [("union", ["1girl", "long hair", "hat", "smile"]), ("intersection", ["1girl"]), ("vote", ["1girl", "long hair"])],
)
def test_several_taggers(combine: str, wanted: list[str]) -> None:
    first = seen(**{"1girl": 0.9, "long_hair": 0.8, "smile": 0.4})
    second = seen(OTHER, **{"1girl": 0.9, "long hair": 0.7, "hat": 0.6})
    third = seen(OTHER, **{"1girl": 0.9, "long hair": 0.2, "hat": 0.3})
    assert chosen([first, second, third], combine=combine) == wanted


def test_the_mean_counts_those_that_know_the_tag_and_decides_the_order() -> None:
    first = seen(**{"1girl": 0.5, "smile": 0.6})
    second = seen(OTHER, **{"1girl": 0.6, "hat": 0.5})
    assert chosen([first, second]) == ["smile", "1girl", "hat"]  # 0.6, 0.55, 0.5


def test_no_tagger_no_tags() -> None:
    for combine in ("union", "intersection", "vote"):
        assert chosen([], combine=combine) == []


# ---------------------------------------------------------------------- the user's lists


def test_left_out_first_and_replaced() -> None:
    guesses = seen(**{"1girl": 0.9, "long_hair": 0.8, "smile": 0.7, "=_=": 0.6})
    assert chosen(guesses, exclude=["Long Hair", " smile "]) == ["1girl", "=_="]
    assert chosen(guesses, first=["smile", "hat", "LONG_HAIR"]) == ["smile", "long hair", "1girl", "=_="]
    assert chosen(guesses, replace=["long_hair=very long hair", "1girl=solo"]) == [
        "solo",
        "very long hair",
        "smile",
        "=_=",
    ]
    assert chosen(guesses, replace=["smile=1girl"]) == ["1girl", "long hair", "=_="]  # and not twice
    assert chosen(guesses, replace=["=_==closed eyes", "smile==_="]) == ["1girl", "long hair", "=_=", "closed eyes"]
    assert chosen(guesses, replace=["smile=grin"], exclude=["grin"]) == ["1girl", "long hair", "=_="]


@pytest.mark.parametrize("entry", ["smile", "=smile", "smile=", " = ", "smile=a, b"])
def test_bad_replacements_are_named(entry: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen([], replace=["a=b", entry])
    assert caught.value.where == "replace"
    assert "replace" in caught.value.sentence()


@pytest.mark.parametrize("field", ["exclude", "first"])
def test_entries_with_a_comma_are_named(field: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen([], **{field: ["a, b"]})
    assert (caught.value.code, caught.value.where) == ("tagging.comma", field)


def test_a_comma_in_a_taggers_list_ends_no_tag() -> None:
    rows = (("don't_starve,_together", 0),)
    assert chosen(seen(rows, **{"don't_starve,_together": 0.9})) == ["don't starve together"]


# ---------------------------------------------------------------------- captions


def merged(there: str, tags: Sequence[str] = (), sentence: str = "", trigger: str = "", **settings: Any) -> str:
    return merge_caption(there, tags, sentence, TagSettings(**settings), trigger)


def test_a_new_caption_has_trigger_sentence_tags() -> None:
    assert (
        merged("", ["1girl", "smile"], "a girl standing on a hill at dawn.", "quillon")
        == "quillon, a girl standing on a hill at dawn, 1girl, smile"
    )
    assert merged("  \n", ["1girl"], trigger="quillon", existing="append") == "quillon, 1girl"
    assert merged("", ["1girl", "shirt (white)"]) == "1girl, shirt (white)"
    assert merged("", ["Quillon", "1girl"], trigger="quillon") == "quillon, 1girl"
    assert merged("") == ""


def test_the_settings_trigger_goes_before_the_projects() -> None:
    assert merge_caption("", ["hat"], "", TagSettings(trigger="mine"), "project's") == "mine, hat"


def test_keep_append_prepend_replace() -> None:
    there = "hat, Long Hair"
    assert merged(there, ["long_hair", "smile"], trigger="q") == there
    assert merged(there, ["long_hair", "smile"], trigger="q", existing="append") == "q, hat, Long Hair, smile"
    assert merged(there, ["long_hair", "smile"], trigger="q", existing="prepend") == "q, smile, hat, Long Hair"
    assert merged(there, ["long_hair", "smile"], trigger="q", existing="replace") == "q, long_hair, smile"


def test_a_trigger_word_that_is_there_moves_to_the_front() -> None:
    assert merged("hat, Q, smile", ["1girl"], trigger="q", existing="append") == "q, hat, smile, 1girl"
    assert merged("q, hat", ["1girl"], trigger="q", existing="prepend") == "q, 1girl, hat"
    assert merged("q word, hat", ["1girl"], trigger="q, word", existing="prepend") == "q, word, 1girl, q word, hat"


@pytest.mark.parametrize(
    "prose",
    [
        "A dog, a cat, and a dog sit on the old wooden bench.",
        "A girl stands.  She smiles, and smiles, and smiles.",
        "quillon_is written like this, in a very long sentence without an end",
        "一个女孩站在雨中，微笑着，看向远方的山。",
    ],
)
def test_prose_stays_as_written(prose: str) -> None:
    assert is_prose(prose)
    assert merged(prose, ["1girl"], existing="append") == f"{prose}, 1girl"
    assert merged(prose, ["1girl"], existing="prepend", trigger="q") == f"q, 1girl, {prose}"


@pytest.mark.parametrize(
    "tags",
    ["1girl, solo, hair between eyes", "dr. stone, !, ?, k-on!", "love live! school idol project", "", "女孩, 长发"],
)
def test_tags_are_no_prose(tags: str) -> None:
    assert not is_prose(tags)


def test_prose_that_begins_with_the_trigger_word_gets_no_second_one() -> None:
    prose = "quillon stands in the rain and looks up"
    assert merged(prose, ["1girl"], trigger="quillon", existing="append") == f"{prose}, 1girl"


def test_lines_behind_the_first_are_kept() -> None:
    assert merged("\n hat\r\nsecond line, hat\n", ["smile"], existing="append") == "\n hat, smile\r\nsecond line, hat\n"


def test_a_sentence_of_tags_counts_as_tags() -> None:
    """As DeepDanbooru gives it: the user's lists hold for it, too."""
    found = merged("", ["1girl", "hat"], "hat, smile, bad_thing", exclude=["bad thing"], first=["1girl"])
    assert found == "1girl, hat, smile"


def test_a_sentence_is_added_once() -> None:
    sentence = "a girl, standing on a hill at dawn, looks back"
    once = merged("hat", ["1girl"], sentence, "q", existing="append")
    assert once == f"q, hat, {sentence}, 1girl"
    assert merged(once, ["1girl"], sentence, "q", existing="append") == once


# ---------------------------------------------------------------------- properties

words = st.text(alphabet="ab c_A.!?()，。\n\t雨", min_size=0, max_size=12)
tags_lists = st.lists(
    st.sampled_from(["1girl", "long hair", "long_hair", "smile", "=_=", "a b", "shirt (white)", "!"]), max_size=6
)
captions = st.one_of(
    st.lists(words, max_size=8).map(",".join),
    st.lists(
        st.sampled_from(["hat", "Hat", "smile", "long_hair", "q", "A girl stands in the rain at night.", "so it is."]),
        max_size=7,
    ).map(", ".join),
)
sentences = st.one_of(
    words, st.sampled_from(["a girl, standing in the rain at night, looks up.", "1girl, smile", "No, no, no! 雨。"])
)
triggers = st.sampled_from(["", "q", "Q", "hat", "q, hat", "long hair", "quillon style"])


def keys(text: str) -> list[str]:
    return [tag_key(part) for part in text.split(",") if tag_key(part)]


@given(captions, tags_lists, sentences, triggers, st.sampled_from(["keep", "append", "prepend", "replace"]))
def test_twice_is_once(existing: str, tags: list[str], sentence: str, trigger: str, mode: str) -> None:
    chooser = TagChooser(TagSettings(existing=mode))
    once = merge_caption(existing, tags, sentence, chooser, trigger)
    assert merge_caption(once, tags, sentence, chooser, trigger) == once


@given(captions, tags_lists, sentences, triggers, st.sampled_from(["append", "prepend"]))
def test_nothing_is_lost(existing: str, tags: list[str], sentence: str, trigger: str, mode: str) -> None:
    found = merge_caption(existing, tags, sentence, TagSettings(existing=mode), trigger)
    lines = [keys(line) for line in found.splitlines() if line.strip()]
    for line in existing.splitlines():
        assert set(keys(line)) <= {key for keys_of_line in lines for key in keys_of_line}
    assert {tag_key(tag) for tag in tags} <= set(lines[0] if lines else [])


@given(captions.filter(str.strip), tags_lists, sentences, triggers)
def test_keep_keeps(existing: str, tags: list[str], sentence: str, trigger: str) -> None:
    assert merge_caption(existing, tags, sentence, TagSettings(existing="keep"), trigger) == existing


@given(
    st.lists(st.sampled_from(["hat", "Hat", "smile", "long_hair", "q"]), max_size=7).map(", ".join),
    tags_lists,
    triggers,
    st.sampled_from(["append", "prepend", "replace"]),
)
def test_no_tag_is_there_twice_and_the_trigger_word_is_first(
    existing: str, tags: list[str], trigger: str, mode: str
) -> None:
    found = keys(merge_caption(existing, tags, "", TagSettings(existing=mode), trigger))
    assert len(found) == len(set(found))
    assert found[: len(keys(trigger))] == keys(trigger)


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1, width=32)), st.floats(0.01, 0.99), st.floats(0.01, 1))
def test_a_higher_threshold_takes_nothing_more(probabilities: dict[str, float], threshold: float, step: float) -> None:
    low = chosen(seen(**probabilities), threshold=threshold)
    high = chosen(seen(**probabilities), threshold=min(1.0, threshold + step))
    assert set(high) <= set(low)
    assert [tag for tag in low if tag in high] == high
