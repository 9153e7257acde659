"""The filter language: what each term finds, what is said about a filter that cannot be read, and filters by clicking."""

from __future__ import annotations

import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.messages import LANGUAGES
from lib_lora_train.tags.filters import exclude, include, parse_filter, select, without
from lib_lora_train.tags.filters.grammar import MAX_DEPTH, MAX_LENGTH, MAX_TERMS
from lib_lora_train.tags.sheet import Sheet
from tests.helpers.sheets import GIRL, item, sheet

SHEET = sheet(
    [
        item("quillon, 1girl, solo, blue_eyes, long hair", "IMG_1.png", tokens=12),
        item("Quillon, 2girls, Blue Eyes, artoria \\(fate\\)", "IMG_20.png", tokens=80, width=300),
        item("quillon stands in the rain. She is smiling.", "IMG_3.jpg", tokens=76),
        item("", "photo.png", width=0, height=0, problem=UserError("image.unreadable", "photo.png", reason="?")),
        item("saber (fate), ^_^, a*b, re:zero\nsecond line", "x.png", tokens=150, height=2000, width=1000),
        item("1girl, solo", "1.png", GIRL, tokens=4),
    ]
)


def found(text: str, of: Sheet = SHEET, trigger: str = "quillon") -> list[int]:
    return select(of, parse_filter(text), trigger)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("  ", [0, 1, 2, 3, 4, 5]),
        ("rain", [2]),
        ("BLUE", [0, 1]),
        ("blue_eyes", [0, 1]),
        ('"blue_eyes"', [0]),
        ('"in the rain"', [2]),
        ("_", [0, 4]),
        ("stand*rain", [2]),
        ("r?in", [2]),
        ("second", [4]),
        ("text:second", [4]),
        ("tag:second", []),
        ("tag:blue_eyes", [0, 1]),
        ('tag:"Blue  eyes"', [0, 1]),
        ("tag:blue", []),
        ("tag:blue*", [0, 1]),
        ("tag:*eyes", [0, 1]),
        ("tag:?girl?", [1]),
        ("tag:*girl*", [0, 1, 5]),
        ("tag:saber_(fate)", [4]),
        (r"tag:artoria_\(fate\)", [1]),
        ('tag:"a\\*b"', [4]),
        ("tag:a*b", [4]),
        ("tag:^_^", [4]),
        ("tag:re:zero", [4]),
        ('"re:zero"', [4]),
        ("name:IMG_2*", [1]),
        ("name:img", [0, 1, 2]),
        ("name:*.jpg", [2]),
        ("name:IMG_?", [0, 2]),
        ("concept:hero", [0, 1, 2, 3, 4]),
        ("concept:1_girl", [5]),
        ("concept:her", []),
        ("concept:h*", [0, 1, 2, 3, 4]),
        ("tokens:>75", [1, 2, 4]),
        ("tokens>75", [1, 2, 4]),
        ("tokens:<=76", [0, 2, 5]),
        ("tokens:80", [1]),
        ("tokens:=80", [1]),
        ("tokens:76..80", [1, 2]),
        ("tokens:..12", [0, 5]),
        ("tokens:100..", [4]),
        ("tokens:＞100", [4]),
        ("tags:>4", [0]),
        ("tags:0", [3]),
        ("chars:<12", [3, 5]),
        ("size:<480", [1]),
        ("size:480", [0, 2, 5]),
        ("width:>=1000", [4]),
        ("height:2000", [4]),
        ("size:>=0", [0, 1, 2, 4, 5]),
        ("has:caption", [0, 1, 2, 4, 5]),
        ("none:caption", [3]),
        ("missing:caption", [3]),
        ("has:trigger", [0, 1, 2]),
        ("missing:trigger", [3, 4]),
        ("has:solo", [0, 5]),
        ("missing:solo", [1, 2, 3, 4]),
        ('has:"caption"', []),
        ("is:sentences", [2]),
        ("is:tags", [0, 1, 4, 5]),
        ("is:regularization", [5]),
        ("is:broken", [3]),
        ("IS:Broken", [3]),
        ("1girl -quillon", [5]),
        ("1girl NOT quillon", [5]),
        ("NOT(1girl OR 2girls)", [2, 3, 4]),
        ("rain | 2girls solo", [2]),
        ("rain OR solo AND quillon", [0, 2]),
        ("(rain OR solo) AND quillon", [0, 2]),
        ("(rain OR solo) -quillon", [5]),
        ("--solo", [0, 5]),
        ("-(-solo -rain)", [0, 2, 5]),
        ("（rain｜solo）－quillon", [5]),
        ("tag：solo", [0, 5]),
        ("“in the rain”", [2]),
        ("tag:blue_eyes -tag:solo tokens:>75 (missing:trigger | size:<512) name:IMG_2*", [1]),
    ],
)
def test_what_a_filter_finds(text: str, places: list[int]) -> None:
    assert found(text) == places


def test_trigger_of_several_parts_and_of_letters_without_blanks() -> None:
    pictures = sheet(
        ["qui llon, 1girl, x y", "qui llon, x", "x y, qui_llon", "a quillons dog runs.", "画面中有小红站在雨里。"]
    )
    assert found("has:trigger", pictures, "qui llon, x y") == [0, 2]
    assert found("has:trigger", pictures, "quillon") == []  # not within another word
    assert found("has:trigger", pictures, "小红") == [4]
    assert found("has:trigger", pictures, "") == []
    assert found("missing:trigger", pictures, "") == [0, 1, 2, 3, 4]


def test_words_are_looked_for_in_translations_too() -> None:
    known = {"眼": ["blue eyes", "red eyes"], "独": ["solo"]}
    asked: list[str] = []

    def search(text: str) -> list[str]:
        asked.append(text)
        return known.get(text, [])

    for text, places in (("眼", [0, 1]), ("眼 -独", [1]), ("tag:眼", []), ("眼 | rain", [0, 1, 2])):
        assert select(SHEET, parse_filter(text), "", search) == places
    assert set(asked) == {"眼", "独", "rain"}


@pytest.mark.parametrize(
    ("text", "code", "position", "length"),
    [
        ('solo "abc', "filter.quote", 5, 4),
        ("(solo", "filter.open", 0, 1),
        ("solo (a (b)", "filter.open", 5, 1),
        ("solo)", "filter.close", 4, 1),
        (")", "filter.close", 0, 1),
        ("()", "filter.missing", 1, 1),
        ("solo OR", "filter.missing", 5, 2),
        ("solo | | x", "filter.missing", 7, 1),
        ("AND x", "filter.missing", 0, 3),
        ("x NOT", "filter.missing", 2, 3),
        ("x - y", "filter.lone_minus", 2, 1),
        ("x foo:bar", "filter.field", 2, 4),
        ("tag: x", "filter.value", 0, 4),
        ('tag:""', "filter.value", 0, 6),
        ("x tokens:many", "filter.number", 9, 4),
        ("tokens:>", "filter.number", 7, 1),
        ("tokens:..", "filter.number", 7, 2),
        ("tokens:-5", "filter.number", 7, 2),
        ("tokens:1234567890", "filter.number", 7, 10),
        ("size:9..1", "filter.range", 5, 4),
        ("is:happy", "filter.state", 3, 5),
        ("none:solo", "filter.none", 5, 4),
        ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "filter.deep", MAX_DEPTH, 1),
        ("-" * 1999 + "a", "filter.deep", MAX_DEPTH, 1),
        ("a" * (MAX_LENGTH + 1), "filter.long", MAX_LENGTH, 1),
        ("a " * (MAX_TERMS + 1), "filter.many", 2 * MAX_TERMS, 2),
    ],
)
def test_what_is_wrong_and_where(text: str, code: str, position: int, length: int) -> None:
    with pytest.raises(UserError) as error:
        parse_filter(text)
    raised = error.value
    assert (raised.code, raised.where) == (code, "filter")
    assert (raised.values["position"], raised.values["length"]) == (position, length)
    assert raised.values["expected"]
    for language in LANGUAGES:
        assert "{" not in raised.text(language)


def test_as_deep_and_as_long_as_is_allowed() -> None:
    deep = "(" * MAX_DEPTH + "solo" + ")" * MAX_DEPTH
    assert found(deep) == [0, 5]
    assert found("solo " * MAX_TERMS) == [0, 5]
    assert found("a" * MAX_LENGTH) == []


def test_wildcards_on_a_long_text_take_no_time() -> None:
    """A pattern that is tried at every place, and at every place of every * before it, would not end."""
    pictures = sheet(["a" * 200_000])
    assert found("*a" * 60 + "*b", pictures) == []
    assert found("tag:" + "a*" * 60 + "b", pictures) == []
    assert found("tag:" + "a*" * 60, pictures) == [0]
    assert found("name:" + "*1" * 60, pictures) == []


# ------------------------------------------------------------------ by clicking


@pytest.mark.parametrize(
    ("text", "tag", "included", "excluded", "freed"),
    [
        ("", "solo", "tag:solo", "-tag:solo", ""),
        ("rain", "Long Hair", "rain tag:Long_Hair", "rain -tag:Long_Hair", "rain"),
        ("a | b", "solo", "(a | b) tag:solo", "(a | b) -tag:solo", "a | b"),
        ("(a | b)", "solo", "(a | b) tag:solo", "(a | b) -tag:solo", "(a | b)"),
        ("a tag:solo", "solo", "a tag:solo", "a -tag:solo", "a"),
        ("a AND -tag:SOLO b", "solo", "a b tag:solo", "a AND -tag:SOLO b", "a b"),
        ("has:solo missing:solo", "solo", "has:solo", "missing:solo", ""),
        ("a (tag:solo | b)", "solo", "a (tag:solo | b) tag:solo", "a (tag:solo | b) -tag:solo", "a (tag:solo | b)"),
        ("tag:so*", "solo", "tag:so* tag:solo", "tag:so* -tag:solo", "tag:so*"),
        ("tag:a*b", "a*b", 'tag:a*b tag:"a\\*b"', 'tag:a*b -tag:"a\\*b"', "tag:a*b"),
        ("a", 'x "y" \\z*', 'a tag:"x \\"y\\" \\\\z\\*"', 'a -tag:"x \\"y\\" \\\\z\\*"', "a"),
        ("a", "^_^", "a tag:^_^", "a -tag:^_^", "a"),
        ("a", "saber (fate)", 'a tag:"saber (fate)"', 'a -tag:"saber (fate)"', "a"),
        ("a", "-x", "a tag:-x", "a -tag:-x", "a"),
    ],
)
def test_clicking(text: str, tag: str, included: str, excluded: str, freed: str) -> None:
    assert include(text, tag) == included
    assert exclude(text, tag) == excluded
    assert without(text, tag) == freed


def test_clicking_on_a_filter_that_cannot_be_read() -> None:
    for change in (include, exclude, without):
        with pytest.raises(UserError, match="no partner"):
            change("(a", "solo")
    with pytest.raises(UserError) as error:
        include("a " * MAX_TERMS, "solo")
    assert error.value.code == "filter.many"
