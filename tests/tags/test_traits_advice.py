"""The advice: what is bound for which kind of subject, why, what it makes of captions, and the sentence that sums up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES, catalogue, message
from lib_lora_train.project import SUBJECT_KINDS
from lib_lora_train.tags.edits import EditContext, edit_of
from lib_lora_train.tags.edits.matching import bare_key
from lib_lora_train.tags.item import Item
from lib_lora_train.tags.proposing import propose
from lib_lora_train.tags.traits import (
    DECISIONS,
    Advice,
    BindOptions,
    advise,
    binding_edits,
    binding_title,
    category_label,
    concerns,
    load_rules,
    summarize,
)
from lib_lora_train.tags.traits.table import THEMES

RULES = load_rules()


def item(number: int, tags: Sequence[str], regularization: bool = False, prose: bool = False) -> Item:
    text = ", ".join(tags)
    name = f"{number:03d}"
    return Item(
        name, f"{name}.txt", f"{name}.png", f"{name}.png", "", regularization, 64, 64, 9, "s", text, text, (f"{name}.txt",), tuple(tags), prose
    )  # fmt: skip


def items_of(counts: dict[str, int | Iterable[int]], total: int = 40) -> list[Item]:
    """Pictures: a tag is on the first so many of them, or on those that are named."""
    tags: list[list[str]] = [["quillon"] for _ in range(total)]
    for tag, where in counts.items():
        for number in range(where) if isinstance(where, int) else where:
            tags[number].append(tag)
    return [item(number, each) for number, each in enumerate(tags)]


def decisions(advice: Advice) -> dict[str, str]:
    return {row.tag: row.decision for row in advice.rows}


def advice_of(counts: dict[str, int | Iterable[int]], kind: str = "character", **more) -> Advice:
    return advise(items_of(counts), kind, RULES, "quillon", **more)


WHOLE = {
    "1girl": 40, "silver hair": 39, "long hair": 38, "blue eyes": 30, "scar": 36, "scarf": 40, "school uniform": 40,
    "smile": 25, "sitting": 40, "outdoors": 40, "from above": 10, "sunlight": 5, "sword": 40, "masterpiece": 40,
    "hu tao (genshin impact)": 40, "zzyzx": 40,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "outfit", "bound"),
    [
        ("character", False, {"silver hair", "long hair", "blue eyes", "scar", "scarf"}),
        ("character", True, {"silver hair", "long hair", "blue eyes", "scar", "scarf", "school uniform"}),
        ("person", False, {"silver hair", "long hair", "blue eyes", "scar"}),
        ("person", True, {"silver hair", "long hair", "blue eyes", "scar", "scarf", "school uniform"}),
        ("style", False, set()),
        ("style", True, set()),
        ("object", False, {"sword"}),
        ("concept", False, {"sitting", "scar"}),
    ],
)
def test_each_kind_of_subject_has_its_own_traits(kind: str, outfit: bool, bound: set[str]) -> None:
    advice = advice_of(WHOLE, kind, options=BindOptions(outfit=outfit))
    assert {row.tag for row in advice.decided("bind")} == bound
    assert advice.applies == (kind != "style") and advice.pictures == 40
    assert "quillon" not in decisions(advice)  # the trigger word is not for decision
    rest = {row.tag: row.decision for row in advice.rows if row.tag not in bound}
    free = {"zzyzx", "hu tao (genshin impact)"}
    expected = {tag: "unknown" if tag in free and kind != "style" else "keep" for tag in rest} | {"masterpiece": "fix"}
    assert rest == expected


def test_a_trait_of_few_pictures_stays_free() -> None:
    advice = advice_of({"red hair": 40, "hat": [0, 1, 2], "scar": [39]})
    assert decisions(advice) == {"red hair": "bind", "hat": "keep", "scar": "keep"}
    row = next(row for row in advice.rows if row.tag == "hat")
    assert row.disagree == ("000", "001", "002")
    assert message(row.reason.code, **row.reason.values).startswith("On few of the pictures (3 of 40)")


def test_a_rare_contradiction_is_named_and_not_bound() -> None:
    advice = advice_of({"blue eyes": range(36), "red eyes": range(36, 40)})
    blue, red = advice.rows
    assert (blue.tag, blue.decision, red.tag, red.decision) == ("blue eyes", "bind", "red eyes", "keep")
    assert blue.disagree == red.disagree == ("036", "037", "038", "039")
    assert "red eyes (4 without this tag)" in message(blue.reason.code, **blue.reason.values)
    assert message(red.reason.code, **red.reason.values).startswith("It contradicts blue eyes")


def test_pictures_of_two_looks_bind_neither() -> None:
    advice = advice_of({"blue eyes": range(24), "red eyes": range(24, 40)})
    assert decisions(advice) == {"blue eyes": "keep", "red eyes": "keep"}
    assert advice.rows[0].reason.values == {"rival": "red eyes"}


def test_two_colors_in_one_picture_are_no_contradiction() -> None:
    assert set(decisions(advice_of({"black hair": 40, "red hair": 38})).values()) == {"bind"}


def test_eyes_that_are_seldom_seen_are_bound_when_they_agree() -> None:
    assert decisions(advice_of({"blue eyes": 12})) == {"blue eyes": "bind"}
    assert decisions(advice_of({"blue eyes": 9})) == {"blue eyes": "keep"}
    assert decisions(advice_of({"blue eyes": 12}, options=BindOptions(least_share=0.5))) == {"blue eyes": "keep"}


def test_the_closer_word_goes_with_the_broader_one() -> None:
    advice = advice_of({"long hair": 40, "very long hair": 5})
    assert decisions(advice) == {"long hair": "bind", "very long hair": "bind"}


def test_spellings_of_one_tag_are_one_row() -> None:
    advice = advice_of({"blue_eyes": range(20), "Blue Eyes": range(20, 30), "(blue eyes:1.2)": range(30, 40)})
    (row,) = advice.rows
    assert (row.tag, row.count, row.share, row.decision) == ("blue_eyes", 40, 1.0, "bind")
    assert (
        captions(items_of({"blue_eyes": [0], "Blue Eyes": [1], "(blue eyes:1.2)": [2]}, 3), advice) == ["quillon"] * 3
    )


def test_mixed_spelling_of_a_free_tag_is_fixed() -> None:
    counts = {"open_mouth": range(5), "open mouth": range(5, 40), "long hair": 40, "^_^": 40}
    advice = advice_of(counts)
    assert decisions(advice) == {"open mouth": "fix", "long hair": "bind", "^_^": "keep"}
    assert set(captions(items_of(counts), advice)) == {"quillon, open mouth, ^_^"}


def test_underscores_that_are_used_throughout_are_nothing_to_fix() -> None:
    assert set(decisions(advice_of({"open_mouth": 40, "from_above": 30})).values()) == {"keep"}


KNOWN = frozenset(map(tag_key, ["blue eyes", "looking at viewer", "red tie", "red pie", "smile", "blue sky"]))


def test_a_misspelt_tag_is_replaced_by_the_known_one() -> None:
    advice = advice_of({"lookng at viewer": 3, "smile": 40, "smiel": 1}, known=KNOWN)
    assert {row.tag: row.replacement for row in advice.decided("fix")} == {
        "lookng at viewer": "looking at viewer",
        "smiel": "smile",
    }
    assert captions([item(0, ["quillon", "smiel", "lookng at viewer"])], advice) == [
        "quillon, smile, looking at viewer"
    ]


def test_a_misspelt_trait_is_bound_with_the_right_one() -> None:
    counts = {"blue eyes": range(8), "bleu eyes": range(8, 40)}
    advice = advice_of(counts, known=KNOWN)
    assert decisions(advice) == {"bleu eyes": "bind", "blue eyes": "bind"}
    assert set(captions(items_of(counts), advice)) == {"quillon"}
    alone = advice_of({"bleu eyes": 40}, known=KNOWN)
    assert decisions(alone) == {"bleu eyes": "bind"}  # what nobody wrote has no row
    kept = advice_of(counts, known=KNOWN, choices={"blue eyes": "keep"})
    assert decisions(kept)["blue eyes"] == "keep"
    assert set(captions(items_of(counts), kept)) == {"quillon, blue eyes"}


@pytest.mark.parametrize("tag", ["blue ties", "red nie pie", "smi", "zzyzx", "蓝眼睛", "blue eyess!"])
def test_what_is_only_somewhat_like_a_known_tag_is_left(tag: str) -> None:
    assert advice_of({tag: 40}, known=KNOWN).decided("fix") == []


def test_a_tag_of_known_words_is_no_mistake() -> None:
    """red sky: each word is known, so nobody meant red pie or blue sky."""
    assert advice_of({"blue pie": 4, "red sky": 4}, known=KNOWN).decided("fix") == []


def test_noise_is_deleted() -> None:
    advice = advice_of({"masterpiece": 40, "best quality": 40, "https://x.org/1": 1, "smile": 40})
    assert {row.tag for row in advice.decided("fix")} == {"masterpiece", "best quality", "https://x.org/1"}
    assert set(captions(items_of({"masterpiece": 2, "best quality": 1, "smile": 2}, 2), advice)) == {"quillon, smile"}


def test_everything_can_be_overruled() -> None:
    choices = {"Silver_Hair": "keep", "smile": "bind", "masterpiece": "keep", "zzyzx": "fix"}
    advice = advice_of(WHOLE, choices=choices)
    rows = {row.tag: (row.suggested, row.decision) for row in advice.rows}
    assert rows["silver hair"] == ("bind", "keep") and rows["smile"] == ("keep", "bind")
    assert rows["masterpiece"] == ("fix", "keep") and rows["zzyzx"] == ("unknown", "fix")
    (edit,) = binding_edits(advice)
    assert set(edit["tags"]) == {"long hair", "blue eyes", "scar", "scarf", "smile", "zzyzx"}


def test_decisions_and_kinds_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UserError) as error:
        advice_of(WHOLE, choices={"smile": "delete"})
    assert error.value.code == "traits.choice" and "bind, keep, fix, unknown" in error.value.text()
    with pytest.raises(UserError) as error:
        advise([], "animal", RULES)
    assert error.value.code == "traits.kind" and "concept" in error.value.text("zh-CN")


def test_only_captions_of_the_subject_in_tags_are_looked_at() -> None:
    others = [
        item(90, ["black hair"], regularization=True),
        item(91, ["A woman with black hair stands in the rain."], prose=True),
        item(92, []),
    ]
    advice = advise([*items_of({"red hair": 40}), *others], "character", RULES, "quillon")
    assert advice.pictures == 40 and decisions(advice) == {"red hair": "bind"}
    assert not any(map(concerns, others))
    empty = advise(others, "character", RULES)
    assert empty.rows == () and summarize(empty) == "There are no captions with tags yet, so there is nothing to sort."


def test_a_tag_twice_in_a_caption_counts_once() -> None:
    advice = advise([item(0, ["smile", "smile"]), item(1, ["frown"])], "character", RULES)
    assert [(row.tag, row.count, row.share) for row in advice.rows] == [("frown", 1, 0.5), ("smile", 1, 0.5)]


# ---------------------------------------------------------------------- applied


def captions(items: Sequence[Item], advice: Advice) -> list[str]:
    edits = [edit_of(values) for values in binding_edits(advice)]
    proposal = propose(items, edits, EditContext(trigger="quillon"))
    changed = {change.item.id: change.after for change in proposal.changes}
    return [changed.get(each.id, each.text) for each in items]


def test_applied_the_bound_tags_are_gone_and_all_others_are_there() -> None:
    items = items_of(WHOLE)
    advice = advise(items, "character", RULES, "quillon")
    bound = {row.tag for row in advice.rows if row.decision in ("bind", "fix")}
    for each, caption in zip(items, captions(items, advice), strict=True):
        assert caption == ", ".join(tag for tag in each.tags if tag not in bound)


def test_applied_twice_is_applied_once() -> None:
    items = items_of(WHOLE)
    once = [
        item(n, text.split(", "))
        for n, text in enumerate(captions(items, advise(items, "character", RULES, "quillon")))
    ]
    again = advise(once, "character", RULES, "quillon")
    assert binding_edits(again) == []
    assert binding_title(again).values == {"bound": 0, "fixed": 0}


TAG = st.text(
    st.characters(blacklist_characters=",\r\n\x00", blacklist_categories=("Cs", "Cc", "Zl", "Zp")),
    min_size=1,
    max_size=12,
)


@given(st.lists(TAG.map(str.strip).filter(bare_key), min_size=1, max_size=6, unique_by=bare_key), st.data())
def test_whatever_is_bound_is_deleted_and_nothing_else(tags: list[str], data: st.DataObject) -> None:
    """Also tags with * and ?, brackets and backslashes: none of them stands for another tag."""
    chosen = data.draw(st.sets(st.sampled_from(tags)))
    choices = {tag: "bind" if tag in chosen else "keep" for tag in tags}
    items = [item(0, tags)]
    advice = advise(items, "style", RULES, choices=choices)
    kept = [tag for tag in tags if tag not in chosen]
    assert captions(items, advice) == [", ".join(kept)]


def test_signs_of_a_tag_stand_for_nothing_else() -> None:
    tags = ["who?", "whom", "star*", "starfish", "a\\*b", "a*b", "hu tao \\(genshin\\)", "!?", "??"]
    for gone in tags:
        advice = advise([item(0, tags)], "style", RULES, choices=dict.fromkeys(tags, "keep") | {gone: "bind"})
        assert captions([item(0, tags)], advice) == [", ".join(tag for tag in tags if tag != gone)]


# ---------------------------------------------------------------------- said


def test_the_sentence() -> None:
    advice = advice_of({"silver hair": 40, "scar": 40, "school uniform": 30, "sitting": 9, "outdoors": 4, "smile": 1})
    assert summarize(advice) == (
        "With these tags the LoRA will always draw silver hair and a scar; "
        "clothes, pose, expression and background stay yours to prompt."
    )
    assert summarize(advice, "zh-CN") == (
        "使用这些标签，LoRA 将始终画出silver hair和scar；衣服、姿势、表情和背景仍由您用提示词决定。"
    )
    words = {"silver hair": "银发", "scar": "疤痕"}
    assert "始终画出银发和疤痕；" in summarize(advice, "zh-CN", lambda tag: words[tag])


def test_the_sentence_says_the_closer_word_only_and_counts_the_many() -> None:
    assert "draw very long hair;" in summarize(advice_of({"very long hair": 40, "long hair": 40, "smile": 1}))
    many = {
        f"{color} hair": 40
        for color in ("red", "blue", "green", "black", "white", "pink", "brown", "grey", "aqua", "gold")
    }
    assert "and more traits (2)" in summarize(advice_of(many))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sentence_of_what_binds_nothing(language: str) -> None:
    style, nothing = summarize(advice_of(WHOLE, "style"), language), summarize(advice_of({"smile": 9}), language)
    only = summarize(advice_of({"red hair": 40}), language)
    assert len({style, nothing, only}) == 3
    if language == "en":
        assert "keep all tags" in style and "No tag is bound" in nothing and "name nothing else" in only


def test_a_style_with_a_tag_that_was_overruled_says_so() -> None:
    assert "always draw silver hair" in summarize(advice_of(WHOLE, "style", choices={"silver hair": "bind"}))


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reason_is_a_sentence(kind: str, language: str) -> None:
    tags = [
        tag
        for name in RULES.categories
        for tag in RULES.categories[name].entry.tags
        if "{" not in tag and "*" not in tag
    ]
    for outfit in (False, True):
        for share in (1, 40):
            advice = advice_of(dict.fromkeys(tags, share), kind, options=BindOptions(outfit=outfit))
            for row in advice.rows:
                assert row.suggested in DECISIONS
                said = message(row.reason.code, language, **row.reason.values)
                assert said.endswith((".", "。")) and "{" not in said


def test_every_theme_and_category_has_its_words() -> None:
    codes = catalogue("en")
    for name, category in RULES.categories.items():
        assert category_label(name) == codes[f"traits.category_{name}"]
        assert category_label(name, "zh-CN") != category_label(name)
        assert category.entry.theme in THEMES
    assert category_label("my_own_marks", "zh-CN") == "my own marks" and category_label("") == ""
    used = {f"traits.category_{name}" for name in RULES.categories}
    assert {code for code in codes if code.startswith("traits.category_")} == used
    assert {code.rpartition("_")[2] for code in codes if code.startswith("traits.free_")} < set(THEMES)
