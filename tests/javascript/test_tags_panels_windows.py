"""The windows for many captions and for binding: what they ask the server, and what they do with late and bad answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.helpers.serving import wait_for
from tests.javascript.tag_panels import (
    FOUND,
    HOSTILE,
    Tagging,
    changed_picture,
    close_tags,
    open_tags,
    preview,
    refused,
    show_panel,
)

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CARD = ".lora_train_bind_card"


@pytest.fixture
def server() -> Tagging:
    return Tagging()


@pytest.fixture
def tags(page: Page, server: Tagging) -> Iterator[Page]:
    page.set_viewport_size({"width": 1280, "height": 800})
    open_tags(page, server)
    yield page
    assert page.evaluate("window.harmed") is None
    close_tags(page, server)


def edit_field(page: Page, name: str) -> Locator:
    return page.locator(f'dialog [data-field="{name}"]')


def apply_button(page: Page) -> Locator:
    return page.locator('[data-action="edit-apply"]')


def test_only_what_is_shown_can_be_applied(tags: Page, server: Tagging) -> None:
    server.answers["POST preview"] = preview(changed_picture("a", "hat", f"hat, {HOSTILE}"), digest="d7")
    show_panel(tags, "TagEdits", {"kind": "add", "tags": ["solo"]})
    expect(apply_button(tags)).to_have_text("Apply to 1 picture")
    server.holding = "POST preview"
    edit_field(tags, "tags").fill(f"solo, {HOSTILE}")
    expect(apply_button(tags)).to_be_disabled()  # of the new text nothing is shown yet
    tags.wait_for_timeout(300)
    expect(apply_button(tags)).to_be_disabled()
    server.release(tags)
    expect(tags.locator("dialog .lora_train_diff")).to_have_text(f"hat, {HOSTILE}")
    apply_button(tags).click()
    edit = {"kind": "add", "tags": ["solo", HOSTILE], "where": "back", "tag": "", "move": False, "empty": True}
    expect(tags.locator(".lora_train_messages")).to_contain_text("1 caption was changed.")
    assert server.bodies("POST apply") == [{"edit": edit, "filter": "", "digest": "d7"}]
    assert {"edit": edit, "filter": "", "offset": 0, "limit": 24} in server.bodies("POST preview")


def test_an_overtaken_answer_is_not_shown(tags: Page, server: Tagging) -> None:
    server.answers["POST preview"] = lambda _, body: preview(changed_picture("a", "", body["edit"]["tags"][0]))
    show_panel(tags, "TagEdits", {"kind": "add", "tags": ["first"]})
    expect(tags.locator("dialog .lora_train_diff")).to_contain_text("first")
    server.holding = "POST preview"
    edit_field(tags, "tags").fill("late")
    server.wait_held(tags)
    edit_field(tags, "tags").fill("newest")
    expect(tags.locator("dialog .lora_train_diff")).to_contain_text("newest")
    server.release(tags)
    tags.wait_for_timeout(100)
    expect(tags.locator("dialog .lora_train_diff")).to_contain_text("newest")


def test_a_refusal_stands_at_its_field(tags: Page, server: Tagging) -> None:
    server.answers["POST preview"] = refused("edits.pattern", "find", f"{HOSTILE} is no pattern.")
    show_panel(tags, "TagEdits", {"kind": "replace", "find": "((", "how": "regex"})
    problem = tags.locator("dialog .lora_train_field_problem:visible")
    expect(problem).to_have_text(f"{HOSTILE} is no pattern. Do it otherwise.")
    expect(edit_field(tags, "find")).to_have_attribute("aria-invalid", "true")
    expect(apply_button(tags)).to_be_disabled()
    server.answers["POST preview"] = refused("edits.timeout", "edit", "It takes too long.")
    edit_field(tags, "find").fill("(a")
    expect(problem).to_have_count(0)
    expect(tags.locator("dialog .lora_train_edits_preview .lora_train_error")).to_contain_text("It takes too long.")
    asked = len(server.bodies("POST preview"))
    edit_field(tags, "find").fill("")  # nothing to ask about
    expect(tags.locator("[data-note='changes']")).to_contain_text("Say what to do")
    tags.wait_for_timeout(300)
    assert len(server.bodies("POST preview")) == asked


def test_which_pictures(tags: Page, server: Tagging) -> None:
    server.answers["POST find"] = lambda _, body: {**FOUND, "total": 2, "pictures": ["a", "b"]}
    tags.evaluate("async () => { await model.find('hat'); model.choose('a'); model.choose('b', {add: true}); }")
    show_panel(tags, "TagEdits", {"kind": "dedupe"})
    labels = tags.locator("dialog [role='radiogroup'] label")
    expect(labels).to_have_text(["Selected (2)", "In the filter (2)", "All (60)"])
    for place in (1, 2):
        expect(tags.locator("[data-note='changes']")).to_contain_text("No caption")
        labels.nth(place).click()
        tags.wait_for_timeout(260)
    asked = [{name: body.get(name) for name in ("pictures", "filter")} for body in server.bodies("POST preview")]
    assert asked == [
        {"pictures": ["a", "b"], "filter": None}, {"pictures": None, "filter": "hat"}, {"pictures": None, "filter": ""},
    ]  # fmt: skip


def test_spared_tags_are_meant_as_they_are(tags: Page, server: Tagging) -> None:
    """A * in a tag is no wildcard."""
    pairs = [{"drop": "a*b", "because": "a*b c", "count": 2}, {"drop": HOSTILE, "because": "<b>", "count": 1}]
    server.answers["POST preview"] = preview(changed_picture("a", "x", "y"), asked=pairs)
    show_panel(tags, "TagEdits", {"kind": "dedupe", "implied": True})
    ticks = tags.locator(".lora_train_asked input")
    expect(ticks).to_have_count(2)
    ticks.first.uncheck()
    expect(ticks.first).to_be_focused()
    tags.wait_for_timeout(260)
    assert server.bodies("POST preview")[-1]["edit"]["keep"] == ["a\\*b"]
    ticks.first.check()
    tags.wait_for_timeout(260)
    assert server.bodies("POST preview")[-1]["edit"]["keep"] == []


def row(tag: str, decision: str, count: int = 40, suggested: str = "", **more: Any) -> dict[str, Any]:
    disagree = {"count": more.pop("disagree", 0), "pictures": ["x", "y"]}
    return {
        "tag": tag, "translation": "", "count": count, "share": count / 60, "decision": decision,
        "suggested": suggested or decision, "category": "c", "reason": f"Why {tag}.", "replacement": "",
        "disagree": disagree, **more,
    }  # fmt: skip


def advice(**decisions: str) -> dict[str, Any]:
    suggested = {"silver hair": "bind", "smile": "keep", HOSTILE: "unknown"}
    rows = [row(tag, decisions.get(tag, suggested[tag]), suggested=suggested[tag], disagree=2) for tag in suggested]
    words = ", ".join(one["tag"] for one in rows if one["decision"] == "bind")
    return {"kind": "character", "applies": True, "outfit": False, "summary": f"It will draw {words}.", "rows": rows}


def column(page: Page, decision: str) -> Locator:
    return page.locator(f'.lora_train_bind_column[data-decision="{decision}"] {CARD}')


def test_one_press_overrules(tags: Page, server: Tagging) -> None:
    server.answers["GET binding"] = advice()
    server.answers["PUT binding"] = lambda _, body: advice(**body["choices"])
    show_panel(tags, "TagBinding")
    expect(column(tags, "bind")).to_have_count(1)
    expect(column(tags, "unknown")).to_contain_text(HOSTILE)
    expect(tags.locator('[data-note="summary"]')).to_have_text("It will draw silver hair.")
    server.holding = "PUT binding"
    smile = tags.locator(f'{CARD}[data-tag="smile"]')
    smile.locator('[data-action="decide-bind"]').click()
    expect(column(tags, "bind")).to_have_count(2)  # at once, whatever the server takes
    expect(smile.locator('[data-action="decide-bind"]')).to_be_focused()
    expect(smile).to_contain_text("your choice")
    server.release(tags)
    expect(tags.locator('[data-note="summary"]')).to_have_text("It will draw silver hair, smile.")
    assert server.bodies("PUT binding") == [{"choices": {"smile": "bind"}, "outfit": False}]
    smile.locator('[data-action="decide-bind"]').click()  # pressed again: as advised
    expect(column(tags, "keep")).to_have_count(1)
    expect(tags.locator('[data-note="summary"]')).to_have_text("It will draw silver hair.")
    expect(tags.locator('[data-action="binding-reset"]')).to_be_hidden()


def test_presses_in_a_row(tags: Page, server: Tagging) -> None:
    """An answer to the first does not take the second back."""
    server.answers["GET binding"] = advice()
    server.answers["PUT binding"] = lambda _, body: advice(**body["choices"])
    show_panel(tags, "TagBinding")
    server.holding = "PUT binding"
    tags.locator(f'{CARD}[data-tag="smile"] [data-action="decide-bind"]').click()
    tags.wait_for_timeout(100)
    tags.locator(f'{CARD}[data-tag="silver hair"] [data-action="decide-keep"]').click()
    server.holding = "PUT binding"
    server.release(tags)
    server.wait_held(tags)
    assert len(server.bodies("PUT binding")) == 2
    expect(column(tags, "bind")).to_have_attribute("data-tag", "smile")
    server.release(tags)
    expect(tags.locator('[data-note="summary"]')).to_have_text("It will draw smile.")
    assert server.bodies("PUT binding")[-1]["choices"] == {"smile": "bind", "silver hair": "keep"}
    tags.locator('[data-action="binding-reset"]').click()
    expect(tags.locator('[data-note="summary"]')).to_have_text("It will draw silver hair.")
    assert server.bodies("PUT binding")[-1]["choices"] == {}
    tags.evaluate("loraTrain.on('problem', (error) => { window.problem = error.sentence; })")
    server.answers["PUT binding"] = refused("traits.choice", "choices", "No such decision.")
    tags.locator(f'{CARD}[data-tag="smile"] [data-action="decide-fix"]').click()
    expect(column(tags, "keep")).to_have_count(1)  # what is shown is what is kept
    assert tags.evaluate("window.problem") == "No such decision."


def test_a_picture_that_disagrees_is_shown(tags: Page, server: Tagging) -> None:
    server.answers["GET binding"] = advice()
    server.answers["POST find"] = {**FOUND, "pictures": ["a", "x", "y"]}
    show_panel(tags, "TagBinding")
    card = column(tags, "bind")
    expect(card).to_contain_text("2 pictures disagree")
    assert "/pictures/x/thumbnail" in card.locator("img").first.get_attribute("src")
    card.locator("button[data-picture='x']").click()
    expect(tags.locator("dialog")).to_have_count(0)
    assert tags.evaluate("model.current") == "x"


def test_hundreds_of_tags_are_not_all_in_the_page(tags: Page, server: Tagging) -> None:
    rows = [row(f"tag {number}", "keep") for number in range(500)]
    server.answers["GET binding"] = {**advice(), "rows": rows}
    show_panel(tags, "TagBinding")
    expect(column(tags, "keep")).to_have_count(60)
    expect(tags.locator('[data-action="binding-apply"]')).to_be_disabled()
    tags.locator('[data-action="all-tags"]:visible').click()
    expect(column(tags, "keep")).to_have_count(500)


def test_tokens_are_counted_where_they_can_be(tags: Page, server: Tagging) -> None:
    """What the server cannot do is not asked of it; what the person has set stays."""
    server.overview["tokens"] = {"available": False, "name": "", "limit": 75, "trouble": ""}
    show_panel(tags, "TagEdits", {"kind": "truncate"})

    def asked() -> list[str]:
        tags.wait_for_timeout(20)  # what the page asks is answered meanwhile
        return [body["edit"]["by"] for body in server.bodies("POST preview")]

    expect(edit_field(tags, "by")).to_have_value("tags")
    wait_for(asked, lambda kinds: kinds == ["tags"])
    server.overview["tokens"] = {"available": True, "name": "demo", "limit": 75, "trouble": ""}
    tags.evaluate("model.look()")
    expect(edit_field(tags, "by")).to_have_value("tokens")
    wait_for(asked, lambda kinds: kinds == ["tags", "tokens"])
    edit_field(tags, "by").select_option("tags")
    server.overview["revision"] = "r2"
    tags.evaluate("model.look()")
    wait_for(asked, lambda kinds: kinds == ["tags", "tokens", "tags"])
    tags.wait_for_timeout(400)
    expect(edit_field(tags, "by")).to_have_value("tags")
    assert set(asked()[2:]) == {"tags"}
