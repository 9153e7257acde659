"""Texts, numbers and times as the page writes them; its elements hold text and never markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHINESE = {
    "Step {step} of {total}": "第 {step} 步，共 {total} 步",
    "constructor": "构造",
    "{count} pictures": "{count} 张图片",
}


@pytest.fixture
def chinese(page: Page) -> Page:
    session = {"language": "zh-CN", "texts": CHINESE}
    page.evaluate("session => { loraTrain.state.session = session; }", session)
    yield page
    page.evaluate("() => { loraTrain.state.session = null; }")


def test_one_global(page: Page) -> None:
    assert page.evaluate("Object.keys(window).filter((name) => /lora/i.test(name))") == ["loraTrain"]


def test_texts(chinese: Page) -> None:
    step = "loraTrain.text('Step {step} of {total}', {step: 3, total: '$& {step}'})"
    assert chinese.evaluate(step) == "第 3 步，共 $& {step} 步"
    assert chinese.evaluate("loraTrain.text('Nobody has translated {this}')") == "Nobody has translated {this}"
    assert chinese.evaluate("loraTrain.text('toString')") == "toString"  # not what every object has
    assert chinese.evaluate("loraTrain.text('constructor')") == "构造"
    assert chinese.evaluate("loraTrain.plural(1200, '{count} picture', '{count} pictures')") == "1,200 张图片"


def test_plural_in_english(page: Page) -> None:
    counts = "[0, 1, 2].map((count) => loraTrain.plural(count, '{count} picture', '{count} pictures'))"
    assert page.evaluate(counts) == ["0 pictures", "1 picture", "2 pictures"]


def test_numbers_and_times(page: Page) -> None:
    assert page.evaluate("[0, 9.4, 61, 599, 600, 7260, null, NaN].map(loraTrain.duration)") == [
        "0 s", "9 s", "1 min 1 s", "9 min 59 s", "10 min", "2 h 1 min", "–", "–",
    ]  # fmt: skip
    assert page.evaluate("[0, 999, 1000, 2048, 3e6, 3.2 * 2 ** 30, 2 ** 40].map(loraTrain.bytes)") == [
        "0 B", "999 B", "1 KB", "2 KB", "2.9 MB", "3.2 GB", "1 TB",
    ]  # fmt: skip
    assert page.evaluate("[0.08412, 1e-4, 0.00012345, 0, 1234.5, null, Infinity].map(loraTrain.significant)") == [
        "0.0841", "1e-4", "1.2e-4", "0", "1,230", "–", "–",
    ]  # fmt: skip


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_elements_hold_text(shared_page: Page, words: str) -> None:
    words = words.encode("utf-8", "ignore").decode()  # the browser has no half characters
    made = """words => {
        const element = loraTrain.make("p", {title: words, data: {name: words}}, words, loraTrain.button(words));
        return [element.textContent, element.title, element.dataset.name, element.childNodes.length,
            element.querySelectorAll("*").length];
    }"""
    assert shared_page.evaluate(made, words) == [words + words, words, words, 2, 1]


def test_markup_stays_text(page: Page) -> None:
    nasty = "<img src=x onerror=window.harmed=1><script>window.harmed=1</script>"
    say = "words => { loraTrain.say({sentence: words, remedy: words, action: {label: words, run: () => {}}}); }"
    page.evaluate(say, nasty)
    page.evaluate("words => loraTrain.report(Object.assign(new Error(words), {sentence: words}))", nasty)
    problem = "words => loraTrain.problemLine({sentence: words, remedy: words}).textContent"
    assert page.evaluate(problem, nasty) == f"{nasty} {nasty}"
    assert page.evaluate("window.harmed") is None


def test_addresses_are_beside_the_page(page: Page) -> None:
    parts = ["projects", "../x", "a/b?c#d", "图"]
    address = page.evaluate("parts => loraTrain.url(parts, {v: 'a&b', name: '图.png'})", parts)
    assert address == (
        "http://lora-train.test/sub/lora-train/v1/projects/..%2Fx/a%2Fb%3Fc%23d/%E5%9B%BE?v=a%26b&name=%E5%9B%BE.png"
    )


def test_names_of_files_from_several_folders(page: Page) -> None:
    """Two folders of 1.png and 1.txt keep their captions apart; a kohya folder is a concept of its own."""
    found = [
        ["set/a", "1.png"], ["set/a", "1.txt"], ["set/b", "1.png"], ["set/b", "1.txt"], ["set/b", "2.png"],
        ["set/5_cat", "1.png"], ["set/5_cat", "1.txt"],
    ]  # fmt: skip
    name = """found => loraTrain.nameAll(found.map(([folder, name]) => (
        {file: new File(["x"], name), folders: folder.split("/")})))"""
    assert page.evaluate(name, found) == [
        "set_a_1.png", "set_a_1.txt", "set_b_1.png", "set_b_1.txt", "2.png", "1.png", "1.txt",
    ]  # fmt: skip
