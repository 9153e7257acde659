"""Answers that come late: which of them is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Each question is answered when the script says so; what each asker got stands in `told`, in that order.
SCRIPT = """async () => {
    const order = new loraTrain.Latest();
    const [asked, told] = [[], []];
    const soon = () => new Promise((go) => setTimeout(go, 0));
    const ask = (name) => {
        const question = () => new Promise((answer, fail) => { asked.push({name, answer, fail}); });
        order.ask(question).then((said) => told.push(`${name}: ${said}`), (error) => told.push(`${name}! ${error}`));
    };
    const answer = async (place, words = "answer") => { asked[place].answer(words); await soon(); };
    const fail = async (place) => { asked[place].fail("error"); await soon(); };
    %s
    return told;
}"""


def told(page: Page, script: str) -> Any:
    return page.evaluate(SCRIPT % script)


def test_one_question(page: Page) -> None:
    assert told(page, "ask('a'); await answer(0);") == ["a: answer"]
    assert told(page, "ask('a'); await fail(0);") == ["a! error"]


def test_an_older_answer_comes_later(page: Page) -> None:
    assert told(page, "ask('a'); ask('b'); await answer(1); await answer(0);") == ["b: answer", "a: undefined"]


def test_an_older_answer_comes_first_and_waits_for_the_newest(page: Page) -> None:
    script = "ask('a'); ask('b'); await answer(0); told.push('-'); await answer(1);"
    assert told(page, script) == ["-", "b: answer", "a: undefined"]


def test_an_overtaken_error_is_nobodys(page: Page) -> None:
    assert told(page, "ask('a'); ask('b'); await fail(0); await answer(1);") == ["b: answer", "a: undefined"]
    assert told(page, "ask('a'); ask('b'); await answer(0); await fail(1);") == ["b! error", "a: undefined"]


def test_what_was_asked_for_before_a_change_is_asked_for_again(page: Page) -> None:
    script = "ask('a'); order.changed(); await answer(0, 'before'); told.push('-'); await answer(1, 'after');"
    assert told(page, script) == ["-", "a: after"]
    script = "ask('a'); order.changed(); await fail(0); await answer(0);"
    assert told(page, script) == ["a! error"]


def test_within_a_change_and_after_it(page: Page) -> None:
    script = """
        let done;
        order.change(() => new Promise((resolve) => { done = resolve; })).then((said) => told.push(said));
        ask('a');
        await answer(0, 'before or after');
        ask('b');
        done('changed');
        await soon();
        await answer(1, 'before or after');
        await answer(2, 'after');
    """
    assert told(page, script) == ["a: before or after", "changed", "b: after"]


def test_a_change_that_fails(page: Page) -> None:
    script = """
        ask('a');
        await order.change(() => Promise.reject('refused')).catch((error) => told.push(error));
        await answer(0, 'before');
        await answer(1, 'after');
    """
    assert told(page, script) == ["refused", "a: after"]


def test_nobody_waits_any_more(page: Page) -> None:
    assert told(page, "ask('a'); order.drop(); await answer(0);") == ["a: undefined"]


def test_a_mark(page: Page) -> None:
    script = """
        const marks = [order.mark()];
        marks.push(order.mark());
        const tell = () => told.push(marks.map((one) => one()));
        tell();
        ask('a');
        tell();
        marks.push(order.mark());
        order.changed();
        marks.push(order.mark());
        tell();
    """
    assert told(page, script) == [[True, True], [False, False], [False, False, False, True]]
