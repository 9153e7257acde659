"""Prompts of a grid: the user's, or captions, templates and one that must not show the subject."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.preview.prompts import CAPTION, LEAK, OWN, TEMPLATE, prompt_label, prompts_for
from lib_lora_train.preview.tables import GridSettings
from lib_lora_train.project import SUBJECT_KINDS

CAPTIONS = [
    "1girl, solo, zuna, smile, beach, white dress",
    "1girl, solo, zuna, smile, beach, white dress, hat",
    "1girl, solo, zuna, frown, forest, coat",
    "1girl, solo, zuna, smile, night sky, coat",
]


def texts(kind: str = "character", trigger: str = "zuna", captions=CAPTIONS, known=frozenset(), **values):
    return prompts_for(kind, trigger, captions, GridSettings(**values), known)


def test_the_users_lines_are_taken_and_nothing_else():
    found = texts(prompts=" zuna, red hat \n\n zuna, red hat\n1girl, red hat\n")
    assert [(prompt.text, prompt.kind) for prompt in found] == [("zuna, red hat", OWN), ("1girl, red hat", LEAK)]
    assert [prompt.asks for prompt in found] == [("red hat",), ("1girl", "red hat")]
    assert [prompt.kind for prompt in texts(trigger="", prompts="a\nb")] == [OWN, OWN], "without a word nothing leaks"


def test_a_trigger_of_several_tags_is_looked_for_as_a_whole():
    found = texts(trigger="zuna, blue cape", prompts="zuna, blue cape, smile\nzuna, smile")
    assert [prompt.kind for prompt in found] == [OWN, LEAK]
    assert found[0].asks == ("smile",)


def test_captions_templates_and_one_leak():
    found = texts(captions=CAPTIONS)
    assert [prompt.kind for prompt in found] == [CAPTION, *[TEMPLATE] * 5, LEAK]
    assert found[0].text in CAPTIONS and "smile" in found[0].asks
    assert not {"1girl", "solo", "zuna"} & set(found[0].asks), "what every caption has says nothing about one picture"
    for prompt in found[1:-1]:
        assert prompt.text.startswith("1girl, solo, zuna, ") and prompt.asks
        assert "zuna" not in prompt.asks
    assert found[-1].text == found[0].text.replace("zuna, ", "") and found[-1].asks == found[0].asks


def test_typical_captions_differ_from_each_other():
    two = prompts_for("character", "zuna", CAPTIONS, GridSettings(captions=2, templates=False))
    assert [prompt.kind for prompt in two] == [CAPTION, CAPTION]
    assert len({prompt.asks[0:2] for prompt in two}) == 2 and "coat" in two[1].asks


def test_the_second_caption_is_not_nearly_the_first():
    often = [f"zuna, smile, beach, thing {number}" for number in range(4)]
    seldom = [f"zuna, frown, forest, item {number}" for number in range(2)]
    first, second = prompts_for("character", "zuna", often + seldom, GridSettings(captions=2, templates=False))
    assert first.asks[:2] == ("smile", "beach") and second.asks[:2] == ("frown", "forest")


def test_templates_ask_for_what_the_pictures_do_not_show():
    shown = [f"1girl, zuna, {place}" for place in ("night sky", "beach", "forest", "city street")]
    place = next(prompt for prompt in texts(captions=shown) if prompt.label == "place")
    assert place.asks == ("sunset",)
    portrait = next(prompt for prompt in texts() if prompt.label == "portrait")
    assert "smile" not in portrait.asks


def test_a_framing_of_all_pictures_does_not_contradict_the_templates():
    shown = [f"1girl, close-up, zuna, thing {number}" for number in range(5)]
    for prompt in texts(captions=shown):
        if prompt.kind == TEMPLATE:
            assert prompt.text.startswith("1girl, zuna") and "close-up" not in prompt.text


def test_what_nobody_can_judge_is_left_out():
    known = frozenset({"close-up", "upper body", "open mouth", "forest", "night sky"})
    found = texts(known=known)
    assert [prompt.label for prompt in found if prompt.kind == TEMPLATE] == ["portrait", "whole", "place"]
    assert all(set(prompt.asks) <= known for prompt in found if prompt.kind == TEMPLATE)


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
@pytest.mark.parametrize("trigger", ["", "zuna"])
def test_each_kind_has_prompts_with_labels_in_both_languages(kind, trigger):
    found = texts(kind=kind, trigger=trigger, captions=[])
    assert len(found) >= 3 and len({prompt.text for prompt in found}) == len(found)
    assert (found[-1].kind == LEAK) == bool(trigger)
    for prompt in found:
        english, chinese = prompt_label(prompt, "en"), prompt_label(prompt, "zh-CN")
        assert english and chinese and english != chinese


def test_a_style_is_asked_for_other_subjects():
    found = [prompt for prompt in texts(kind="style") if prompt.kind == TEMPLATE]
    assert len(found) == 5 and not any("solo" in prompt.text for prompt in found)


def test_a_user_who_wants_nothing_gets_the_subject_alone():
    found = prompts_for("character", "zuna", CAPTIONS, GridSettings(captions=0, templates=False))
    assert [prompt.kind for prompt in found][:1] == [TEMPLATE], "a grid without a prompt is none"
    assert all(prompt.text for prompt in found)


@pytest.mark.parametrize(
    ("code", "values"),
    [("scores.too_many_prompts", {"prompts": "\n".join(map(str, range(65)))}), ("scores.long_prompt", {"prompts": "x" * 1001})],
)  # fmt: skip
def test_too_much_is_refused(code, values):
    with pytest.raises(UserError) as refused:
        texts(**values)
    assert refused.value.code == code and refused.value.where == "prompts"


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError) as refused:
        texts(kind="dragon")
    assert refused.value.code == "scores.kind"


@pytest.mark.parametrize("text", ["", " ", ", ", "\n", "，"])
def test_an_empty_caption_is_no_prompt(text):
    found = prompts_for("character", "", [text], GridSettings(captions=1, templates=False))
    assert [prompt.text for prompt in found] != [""]


caption = st.lists(st.sampled_from(["1girl", "zuna", "smile", "a, b", "海滩", "", "<lora:x:1>", '"'])).map(", ".join)


@given(
    st.sampled_from(SUBJECT_KINDS), st.sampled_from(["", "zuna", "海滩", ", "]), st.lists(caption), st.integers(0, 16)
)
def test_whatever_the_captions_are(kind, trigger, captions, count):
    found = prompts_for(kind, trigger, captions, GridSettings(captions=count))
    assert 0 < len(found) <= count + 6 and len({prompt.text for prompt in found}) == len(found)
    words = [part.strip() for part in trigger.split(",") if part.strip()]
    for prompt in found:
        assert prompt.text.strip() and "\n" not in prompt.text
        assert prompt.kind != LEAK or not set(words) & {part.strip() for part in prompt.text.split(",")}
    assert found == prompts_for(kind, trigger, captions, GridSettings(captions=count)), "the same every time"
