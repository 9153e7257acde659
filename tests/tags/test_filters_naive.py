"""Filters against an evaluator that knows no sets, no indexes and no parser: expressions are made together with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.tags.filters import exclude, include, parse_filter, select, without
from lib_lora_train.tags.item import Item
from tests.helpers.sheets import GIRL, HERO, item, sheet

TRIGGER = "quillon"
TAGS = ("1girl", "solo", "blue eyes", "Blue_Eyes", "long hair", "very long hair", "saber (fate)", "quillon", "a*b", "^_^", '"x"', "c\\d", "眼")  # fmt: skip
SENTENCES = ("quillon stands in the rain.", "A girl with long hair looks at the viewer.", "她站在雨里。")


class Said(NamedTuple):
    """An expression and what it means."""

    text: str
    holds: Callable[[Item], bool]


def key(tag: str) -> str:
    return " ".join(tag.replace("_", " ").lower().split())


def parts(one: Item) -> list[str]:
    line = next((line for line in one.text.split("\n") if line.strip()), "")
    return [key(tag) for tag in line.split(",") if tag.strip()]


def quoted(text: str) -> str:
    return '"' + "".join("\\" + sign if sign in '*?"\\' else sign for sign in text) + '"'


@st.composite
def items(draw: st.DrawFn) -> Item:
    name = draw(st.sampled_from(("IMG_1.png", "IMG_2.jpg", "img_20.webp", "x.png")))
    kind = draw(st.integers(0, 4))
    text = ""
    if kind == 1:
        text = draw(st.sampled_from(SENTENCES))
    elif kind > 1:
        text = draw(st.sampled_from((", ", ","))).join(draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=6)))
    if kind == 4:
        text += "\nsecond line, solo"
    return item(
        text,
        name,
        draw(st.sampled_from((HERO, GIRL))),
        draw(st.sampled_from((-1, 0, 74, 75, 76, 200))),
        width=draw(st.sampled_from((0, 500, 512, 1024))),
        height=draw(st.sampled_from((0, 512, 700))),
        problem=draw(st.sampled_from((None, UserError("image.missing", name)))),
    )


def word(text: str) -> Said:
    return Said(text, lambda one: key(text) in re.sub(r"[_\s]+", " ", one.text.lower()))


def exact(text: str) -> Said:
    return Said(quoted(text), lambda one: text.lower() in one.text.lower())


def tag(text: str) -> Said:
    return Said(f"tag:{quoted(text)}", lambda one: key(text) in parts(one))


def missing(text: str) -> Said:
    return Said(f"missing:{quoted(text)}", lambda one: key(text) not in parts(one))


def triggered(one: Item) -> bool:
    return TRIGGER in parts(one) or (one.prose and TRIGGER in one.text.lower().split())


FIXED = [
    Said("tag:*hair", lambda one: any(part.endswith("hair") for part in parts(one))),
    Said("tag:?girl", lambda one: any(len(part) == 5 and part.endswith("girl") for part in parts(one))),
    Said("l*g_h*r", lambda one: re.search("l.*g[ _]+h.*r", one.text.lower(), re.DOTALL) is not None),
    Said("name:img_2*", lambda one: one.name.lower().startswith("img_2")),
    Said("name:mg", lambda one: "mg" in one.name.lower()),
    Said("concept:girl", lambda one: one.concept == GIRL.id),
    Said("has:caption", lambda one: bool(parts(one))),
    Said("none:caption", lambda one: not parts(one)),
    Said("has:trigger", triggered),
    Said("missing:trigger", lambda one: not triggered(one) and not one.regularization),
    Said("is:sentences", lambda one: bool(one.text) and one.prose),
    Said("is:tags", lambda one: bool(parts(one)) and not one.prose),
    Said("is:regularization", lambda one: one.regularization),
    Said("is:broken", lambda one: one.problem is not None),
    *(word(text) for text in ("solo", "blue_eyes", "hair", "second", "眼", "line")),
    *(exact(text) for text in ("Blue_Eyes", "long hair, ", "in the rain", "a*b", '"x"', "c\\d")),
    *(tag(text) for text in TAGS),
    *(missing(text) for text in TAGS),
]
NUMBERS: dict[str, Callable[[Item], int]] = {
    "tokens": lambda one: one.tokens,
    "tags": lambda one: len(parts(one)),
    "chars": lambda one: len(one.text),
    "size": lambda one: min(one.width, one.height) or -1,
    "width": lambda one: one.width or -1,
    "height": lambda one: one.height or -1,
}
SIGNS: dict[str, Callable[[int, int], bool]] = {
    ">": lambda number, bound: number > bound,
    ">=": lambda number, bound: number >= bound,
    "<": lambda number, bound: 0 <= number < bound,
    "<=": lambda number, bound: 0 <= number <= bound,
    "=": lambda number, bound: number == bound,
    "": lambda number, bound: number == bound,
}


@st.composite
def numeric(draw: st.DrawFn) -> Said:
    name = draw(st.sampled_from(sorted(NUMBERS)))
    bound, other = sorted(draw(st.tuples(st.integers(0, 10) | st.just(75) | st.just(512), st.integers(0, 1100))))
    of = NUMBERS[name]
    if draw(st.booleans()):
        return Said(f"{name}:{bound}..{other}", lambda one: bound <= of(one) <= other)
    sign = draw(st.sampled_from(sorted(SIGNS)))
    return Said(f"{name}:{sign}{bound}", lambda one: SIGNS[sign](of(one), bound))


def joined(pair: tuple[Said, Said, str]) -> Said:
    left, right, how = pair
    if how in (" OR ", "|", " | "):
        return Said(f"({left.text}{how}{right.text})", lambda one: left.holds(one) or right.holds(one))
    return Said(f"({left.text}{how}{right.text})", lambda one: left.holds(one) and right.holds(one))


def negated(pair: tuple[Said, str]) -> Said:
    inner, how = pair
    return Said(f"{how}{inner.text}", lambda one: not inner.holds(one))


def loose(parts: tuple[list[list[Said]], str]) -> Said:
    """a b | c d, without brackets."""
    rows, either = parts
    text = either.join(" ".join(said.text for said in row) for row in rows)
    return Said(text, lambda one: any(all(said.holds(one) for said in row) for row in rows))


EXPRESSIONS = st.recursive(
    st.sampled_from(FIXED) | numeric(),
    lambda inner: (
        st.tuples(inner, inner, st.sampled_from((" ", " AND ", " OR ", "|", " | "))).map(joined)
        | st.tuples(inner, st.sampled_from(("-", "NOT ", "NOT NOT -"))).map(negated)
    ),
    max_leaves=12,
)
WHOLE = EXPRESSIONS | st.tuples(
    st.lists(st.lists(EXPRESSIONS, min_size=1, max_size=3), min_size=1, max_size=3), st.sampled_from((" OR ", " | "))
).map(loose)
PICTURES = st.lists(items(), max_size=8)


@given(PICTURES, WHOLE)
def test_filters_agree_with_a_naive_evaluator(pictures: list[Item], said: Said) -> None:
    whole = sheet(pictures)
    expected = [index for index, one in enumerate(whole.items) if said.holds(one)]
    assert select(whole, parse_filter(said.text), TRIGGER) == expected


@given(PICTURES, WHOLE, st.sampled_from(TAGS), st.data())
def test_clicking_agrees_with_a_naive_evaluator(
    pictures: list[Item], said: Said, clicked: str, data: st.DataObject
) -> None:
    """Including a tag shows of the pictures those that hold it, excluding the others; both undo each other."""
    whole = sheet(pictures)

    def shown(text: str) -> list[int]:
        return select(whole, parse_filter(text), TRIGGER)

    freed = without(said.text, clicked)
    holding = {index for index, one in enumerate(whole.items) if key(clicked) in parts(one)}
    assert shown(include(freed, clicked)) == [index for index in shown(freed) if index in holding]
    assert shown(exclude(freed, clicked)) == [index for index in shown(freed) if index not in holding]
    for first, second in ((include, exclude), (exclude, include)):
        assert shown(second(first(freed, clicked), clicked)) == shown(second(freed, clicked))
        once = first(said.text, clicked)
        assert first(once, clicked) == once
        assert shown(without(once, clicked)) == shown(freed)


@given(st.text(alphabet='()|-"\\ :*?<>=.,ab1_“”（）｜：', max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused_where_it_is_wrong(text: str) -> None:
    try:
        select(sheet(["a, b"]), parse_filter(text), TRIGGER)
    except UserError as error:
        start, length = error.values["position"], error.values["length"]
        assert error.code.startswith("filter.")
        assert 0 <= start < start + length <= len(text)


@given(st.text(alphabet='ab _*?"\\()|-:^.', min_size=1, max_size=12).filter(lambda text: text.strip(" _")))
def test_every_tag_can_be_clicked(clicked: str) -> None:
    whole = sheet([item(clicked, "1.png"), item("something else", "2.png")])
    assert select(whole, parse_filter(include("", clicked)), "") == [0]
    assert select(whole, parse_filter(exclude("", clicked)), "") == [1]
