"""What a change does to a caption, worked out in the page: nothing is lost or made up, and what it shows is text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.javascript.tag_panels import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

TAGS = st.lists(st.sampled_from(["1girl", "hat", "long hair", "a", "b", "<b>", "银发"]), max_size=9)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pieces(page: Page, before: list[str], after: list[str], moves: bool = False) -> list[tuple[str, str]]:
    found = page.evaluate(
        "([before, after, moves]) => loraTrain.diffLists(before, after, moves)", [before, after, moves]
    )
    return [(piece["kind"], piece["text"]) for piece in found]


def groups(page: Page, before: str, after: str) -> list[list[tuple[str, str]]]:
    found = page.evaluate("([before, after]) => loraTrain.diffCaptions(before, after)", [before, after])
    return [[(piece["kind"], piece["text"]) for piece in group] for group in found]


@MANY
@given(TAGS, TAGS)
def test_both_lists_can_be_read_from_it(page: Page, before: list[str], after: list[str]) -> None:
    found = pieces(page, before, after)
    assert [text for kind, text in found if kind != "added"] == before
    assert [text for kind, text in found if kind != "removed"] == after


@MANY
@given(TAGS, TAGS)
def test_removed_and_added_are_those_that_are_so(page: Page, before: list[str], after: list[str]) -> None:
    found = pieces(page, before, after, moves=True)
    assert [text for kind, text in found if kind != "removed"] == after
    of = lambda wanted: Counter(text for kind, text in found if kind == wanted)  # noqa: E731
    assert of("removed") == Counter(before) - Counter(after)
    assert of("added") == Counter(after) - Counter(before)


def test_of_a_long_list_only_what_changes(page: Page) -> None:
    tags = [f"tag {number}" for number in range(900)]
    found = pieces(page, tags, [*tags[:400], "new", *tags[401:]])
    assert [piece for piece in found if piece[0] != "same"] == [("removed", "tag 400"), ("added", "new")]
    unlike = pieces(page, [f"a{number}" for number in range(900)], [f"b{number}" for number in range(900)])
    assert Counter(kind for kind, _ in unlike) == {"removed": 900, "added": 900}  # too much to be compared


def test_captions(page: Page) -> None:
    assert groups(page, "a, hat, b", "hat, b, a") == [[("same", "hat")], [("same", "b")], [("moved", "a")]]
    assert groups(page, "a,  b", "a, b, c")[-1] == [("added", "c")]  # blanks around commas are none of its business
    [sentence] = groups(page, "A girl in the cold rain", "A girl in the warm rain")
    assert [piece for piece in sentence if piece[0] != "same"] == [("removed", "cold"), ("added", "warm")]
    [blanks] = groups(page, "long  hair , a", "long  hair, a")
    assert {kind for kind, _ in blanks} == {"same", "removed", "added"}  # something is always shown


def test_of_a_huge_caption_what_changes(page: Page) -> None:
    drawn = page.evaluate(
        """() => {
            const many = Array.from({length: 60000}, (_, place) => `tag ${place}`);
            const element = loraTrain.drawDiff(many.join(", "), many.toSpliced(30000, 1, "new").join(", "));
            const of = (kind) => [...element.querySelectorAll(kind)].map((one) => one.textContent);
            return [of("del"), of("ins"), element.textContent];
        }"""
    )
    assert drawn[:2] == [["tag 30000"], ["new"]]
    assert len(drawn[2]) < 4000 and drawn[2].startswith("… ") and drawn[2].endswith(" …")


def test_lines_that_are_kept_stay_lines(page: Page) -> None:
    found = groups(page, "a, b\nnotes, kept", "a\nnotes, kept")
    assert found == [[("same", "a")], [("removed", "b")], [("same", "\n")], [("same", "notes")], [("same", "kept")]]
    drawn = page.evaluate("loraTrain.drawDiff('a, b\\nnotes, kept', 'a\\nnotes, kept').textContent")
    assert drawn == "a, b\nnotes, kept"


def test_markup_is_shown_as_text(page: Page) -> None:
    drawn = page.evaluate(
        """(hostile) => {
            const element = loraTrain.drawDiff(`${hostile}, a`, `a, <b>b</b>`);
            return [element.textContent, [...element.querySelectorAll("*")].map((one) => one.tagName)];
        }""",
        HOSTILE,
    )
    assert drawn == [f"{HOSTILE}, a, <b>b</b>", ["DEL", "INS"]]
    assert page.evaluate("loraTrain.drawDiff('', 'a').textContent") == "no caption yet a"
    assert page.evaluate("loraTrain.drawDiff('a', '').textContent") == "a no caption left"
