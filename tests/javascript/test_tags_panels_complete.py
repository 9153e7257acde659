"""Completion of tags: by keyboard, in Chinese, while an input method composes, late answers, the other extension's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.javascript.tag_panels import HOSTILE, Tagging, close_tags, open_tags

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

LIST = ".lora_train_suggestions"
OPEN = """([several, taken]) => {
    window.taken = [];
    window.keys = [];
    window.left = [];
    const input = loraTrain.make(several ? "textarea" : "input", {id: "field"});
    input.addEventListener("keydown", (event) => keys.push(event.key));
    document.querySelector("#lora_train_place").append(input);
    const take = taken ? (tag) => window.taken.push(tag) : null;
    const heard = (event) => { if (!event.defaultPrevented) window.left.push(event.key); };
    window.completion = new loraTrain.TagComplete(model).attach(input, take, {several, keys: heard});
}"""
# As the WebUI's extension: it marks the field and writes into it with an event of its own.
OTHER = """() => {
    window.TAC_CFG = {};
    window.addAutocompleteToArea = (area) => {
        if (area.classList.contains("autocomplete")) return;
        area.classList.add("autocomplete");
        area.addEventListener("keydown", (event) => {
            if (event.key === "Escape") event.preventDefault();
            if (event.key !== "Tab") return;
            area.value = area.value.replace(/[^,]*$/, " shirt \\\\(white\\\\), ").trimStart();
            area.dispatchEvent(new Event("input", {bubbles: true}));
            event.preventDefault();
            event.stopPropagation();
        });
    };
}"""


def suggestion(tag: str, count: int = 10, alias: str = "", translation: str = "", own: int = 0) -> dict[str, Any]:
    return {"tag": tag, "count": count, "category": "0", "alias": alias, "translation": translation, "own": own}


KNOWN = [
    suggestion("long hair", 4_512_345, translation="长发", own=8), suggestion("long sleeves", 1_700_000, translation="长袖"),
    suggestion("lolita fashion", 9, alias="lolita"), suggestion("silver hair", 300_000, translation="银发"),
    suggestion("cape"), suggestion("cap"), suggestion(HOSTILE, 1, translation="<b>长"),
]  # fmt: skip


def complete(query: dict[str, str], _: Any) -> dict[str, Any]:
    words = query["text"]
    return {"suggestions": [one for one in KNOWN if words in one["tag"] or words in one["translation"]]}


@pytest.fixture
def server() -> Tagging:
    server = Tagging()
    server.answers["GET complete"] = complete
    return server


@pytest.fixture
def tags(page: Page, server: Tagging) -> Iterator[Page]:
    page.set_viewport_size({"width": 1000, "height": 700})
    open_tags(page, server)
    yield page
    assert page.evaluate("window.harmed") is None
    page.evaluate("() => { delete window.addAutocompleteToArea; delete window.TAC_CFG; }")
    close_tags(page, server)


def field(page: Page, several: bool = False, taken: bool = True) -> Locator:
    page.evaluate(OPEN, [several, taken])
    return page.locator("#field")


def shown(page: Page, *tags: str) -> None:
    expect(page.locator(f"{LIST}:visible [role='option']")).to_have_count(len(tags))
    found = page.locator(f"{LIST} [role='option']").evaluate_all("all => all.map((one) => one.dataset.tag)")
    assert found == list(tags)


def test_by_keyboard(tags: Page) -> None:
    one = field(tags)
    one.press_sequentially("long")
    shown(tags, "long hair", "long sleeves")
    expect(one).to_have_attribute("aria-expanded", "true")
    expect(tags.locator(LIST)).to_contain_text("8 here4.5M")
    one.press("ArrowDown")
    one.press("ArrowDown")
    expect(tags.locator(f"{LIST} [aria-selected='true']")).to_have_attribute("data-tag", "long sleeves")
    one.press("Enter")
    assert tags.evaluate("taken") == ["long sleeves"]
    expect(one).to_have_value("")
    expect(tags.locator(LIST)).to_be_hidden()
    assert tags.evaluate("keys.filter((key) => key !== 'Shift' && key.length > 1)") == []  # the list has used them

    one.press_sequentially("long")
    shown(tags, "long hair", "long sleeves")
    one.press("Enter")  # nothing is chosen: what was typed is meant
    one.press_sequentially("lo")
    shown(tags, "long hair", "long sleeves", "lolita fashion")
    one.press("Escape")
    expect(tags.locator(LIST)).to_be_hidden()
    expect(one).to_have_value("lo")
    one.press_sequentially("ng s")
    shown(tags, "long sleeves")
    one.press("Tab")  # the first
    assert tags.evaluate("taken") == ["long sleeves", "long", "long sleeves"]
    one.press_sequentially("cap")
    shown(tags, "cape", "cap")
    one.press("Tab")  # it is a tag as it stands: on to the next field
    expect(one).not_to_be_focused()
    expect(one).to_have_value("cap")


def test_chinese(tags: Page, server: Tagging) -> None:
    """It stands for the tag that it translates."""
    one = field(tags)
    tags.keyboard.insert_text("银发")  # no field has the focus yet
    one.focus()
    tags.keyboard.insert_text("银发")
    shown(tags, "silver hair")
    one.press("Enter")
    assert tags.evaluate("taken") == ["silver hair"]

    # While an input method composes, its keys are its own, and half a word is not looked for.
    asked = len(server.queries("GET complete"))
    session = tags.context.new_cdp_session(tags)
    session.send("Input.imeSetComposition", {"text": "chang", "selectionStart": 5, "selectionEnd": 5})
    tags.wait_for_timeout(150)
    assert len(server.queries("GET complete")) == asked
    session.send("Input.insertText", {"text": "长"})
    shown(tags, "long hair", "long sleeves", HOSTILE)
    assert tags.locator(f"{LIST} b, {LIST} img").count() == 0
    one.press("ArrowUp")  # from the first round to the last
    one.press("Enter")
    assert tags.evaluate("taken") == ["silver hair", HOSTILE]


def test_several_tags_in_a_field(tags: Page) -> None:
    one = field(tags, several=True, taken=False)
    one.press_sequentially("hat, lon")
    shown(tags, "long hair", "long sleeves")
    one.press("Tab")
    expect(one).to_have_value("hat, long hair, ")
    one.fill("hat, lo, coat")
    one.evaluate("(one) => one.setSelectionRange(7, 7)")
    one.press("l")
    one.press("Backspace")
    shown(tags, "long hair", "long sleeves", "lolita fashion")
    tags.locator(f"{LIST} [data-tag='lolita fashion']").click()
    expect(one).to_have_value("hat, lolita fashion, coat")
    assert one.evaluate("(one) => one.selectionStart") == 19
    expect(one).to_be_focused()
    tags.wait_for_timeout(150)
    expect(tags.locator(LIST)).to_be_hidden()  # what was chosen is not asked for again


def test_a_late_answer_is_not_shown(tags: Page, server: Tagging) -> None:
    one = field(tags)
    server.holding = "GET complete"
    one.fill("silver")
    server.wait_held(tags)
    one.fill("long s")
    shown(tags, "long sleeves")
    server.release(tags)
    tags.wait_for_timeout(100)
    shown(tags, "long sleeves")
    one.fill("")
    expect(tags.locator(LIST)).to_be_hidden()
    server.answers["GET complete"] = {"status": 500}
    one.press_sequentially("long")
    tags.wait_for_timeout(200)
    expect(tags.locator(LIST)).to_be_hidden()  # typing goes on


def test_the_other_extension_completes_instead(tags: Page, server: Tagging) -> None:
    tags.evaluate(OTHER)
    one = field(tags)
    one.press_sequentially("shi")
    one.press("Tab")
    assert tags.evaluate("taken") == ["shirt (white)"]  # captions have no backslashes
    one.press_sequentially("as typed")
    one.press("Enter")
    assert tags.evaluate("taken") == ["shirt (white)", "as typed"]
    one.press("Escape")
    assert tags.evaluate("left").count("Escape") == 0  # it closed that list
    tags.locator("#field").evaluate("(one) => one.remove()")
    one = field(tags, several=True, taken=False)
    one.press_sequentially("hat,")
    one.press("Tab")
    expect(one).to_have_value("hat, shirt (white), ")
    assert server.queries("GET complete") == []


def test_it_fits_into_the_window(tags: Page) -> None:
    one = field(tags)
    one.evaluate("(one) => { one.style.cssText = 'position: fixed; left: 850px; bottom: 4px; width: 140px'; }")
    one.press_sequentially("lo")
    shown(tags, "long hair", "long sleeves", "lolita fashion")
    box = tags.locator(LIST).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1000
    assert box["y"] >= 0 and box["y"] + box["height"] <= one.bounding_box()["y"]
