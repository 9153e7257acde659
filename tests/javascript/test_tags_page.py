"""The page of the tag editor against a server in memory: what is shown is what is saved, in the order in which it was
done; thousands of pictures and hundreds of tags are in the page only as far as they are in sight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.helpers.serving import wait_for
from tests.javascript.conftest import new_page
from tests.javascript.tagging import Tagging, open_tags

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

MANY, MOST_NODES = 1000, 300
NODES = """() => [".lora_train_tile", ".lora_train_tag_chip", ".lora_train_frequency_row"].map(
    (one) => document.querySelectorAll(one).length)"""
HOSTILE = "<img src=x onerror=window.harmed=1>"


@pytest.fixture
def server() -> Tagging:
    return Tagging({f"i{n}": f"tag {n}, hat, {'red' if n % 3 else 'blue'}" for n in range(8)})


@pytest.fixture
def card(browser: Browser, server: Tagging) -> Iterator[Page]:
    """In a page of its own: as in the tab, there is one card in it. Errors of the scripts are errors of the test."""
    page, problems = new_page(browser), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    open_tags(page, server)
    yield page
    page.context.close()
    assert problems == []


def chips(page: Page) -> list[str]:
    return page.locator(".lora_train_tag_words").all_text_contents()


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'.lora_train_tagging_gallery [data-id="{name}"]')


def settled(page: Page) -> None:
    page.evaluate("() => loraTrain.tags.queue")


def chosen(page: Page) -> list[str]:
    return sorted(page.evaluate("[...loraTrain.tags.selected]"))


def test_what_is_shown_is_saved(card: Page, server: Tagging) -> None:
    assert chips(card) == ["tag 0", "hat", "red" if 0 % 3 else "blue"]
    field = card.locator('[name="add-tag"]')
    field.fill("smile")
    field.press("Enter")
    field.fill("hat, looking back，smile")  # what is there already is not added twice
    field.press("Enter")
    assert chips(card) == ["tag 0", "hat", "blue", "smile", "looking back"]  # at once
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue, smile, looking back"
    assert [body["version"] for body in server.bodies("tags/caption")] == ["v0", "v1"]
    card.locator(".lora_train_tag_chip").nth(1).locator("[data-delete]").click()
    settled(card)
    assert server.captions["i0"] == "tag 0, blue, smile, looking back"
    row = card.locator(".lora_train_frequency_row").filter(has_text=re.compile("^hat"))
    expect(row.locator(".lora_train_frequency_count")).to_have_text("7")


def test_keys_of_the_chips(card: Page, server: Tagging) -> None:
    press = card.keyboard.press
    press("c")
    press("ArrowRight")
    press("Alt+ArrowLeft")
    assert chips(card) == ["hat", "tag 0", "blue"]
    press("Alt+End")
    assert chips(card) == ["tag 0", "blue", "hat"]
    press("Delete")
    assert chips(card) == ["tag 0", "blue"]
    press("Home")
    press("Enter")
    card.locator('[name="rewrite-tag"]').fill("new, newer")
    press("Enter")
    assert chips(card) == ["new", "newer", "blue"]
    press("F2")
    press("x")
    press("Escape")
    settled(card)
    assert chips(card) == ["new", "newer", "blue"]
    assert server.captions["i0"] == "new, newer, blue"
    for _ in range(4):
        press("Control+z")
    settled(card)
    expect(card.locator(".lora_train_tag_words").first).to_have_text("tag 0")
    assert server.captions["i0"] == "tag 0, hat, blue"
    for key in ("Control+y", "Control+Shift+z", "Control+y", "Control+y", "Control+y"):  # one more than there is
        press(key)
    settled(card)
    expect(card.locator(".lora_train_tag_words").first).to_have_text("new")
    assert server.captions["i0"] == "new, newer, blue"


def test_many_quick_edits_arrive_in_order(card: Page, server: Tagging) -> None:
    names = [f"t{n}" for n in range(25)]
    card.evaluate("""(names) => {
        const {tags} = loraTrain;
        for (const name of names) tags.save("i0", [...tags.picture("i0").tags, name]);
        tags.undo();
        tags.save("i1", "<b>text</b>");
    }""", names)  # fmt: skip
    settled(card)
    assert server.captions["i0"] == ", ".join(["tag 0", "hat", "blue", *names[:-1]])
    assert server.captions["i1"] == "<b>text</b>"
    expect(card.locator(".lora_train_tag_words").last).to_have_text("t23")


HOLD_FIRST = """() => {
    const real = window.fetch;
    window.kept = [];
    window.fetch = (address, request) => {
        if (request.method !== "PUT") return real(address, request);
        window.kept.push(request.keepalive);
        if (window.kept.length > 1) return real(address, request);
        return new Promise((resolve) => { window.release = () => resolve(real(address, request)); });
    };
}"""


def test_what_waits_is_sent_when_the_page_is_left(card: Page, server: Tagging) -> None:
    card.evaluate(HOLD_FIRST)
    field = card.locator('[name="add-tag"]')
    for number in range(3):
        field.fill(f"new {number}")
        field.press("Enter")
        field.press("PageDown")
    card.wait_for_function("window.kept.length === 1")
    assert "new" not in str(server.captions)
    card.evaluate("() => { dispatchEvent(new Event('pagehide')); }")
    card.wait_for_function("loraTrain.tags.pictures.unsaved.size === 1")
    assert [server.captions[f"i{n}"].endswith(f"new {n}") for n in range(3)] == [False, True, True]
    assert card.evaluate("window.kept") == [True, True, True]  # so that they arrive without the page
    card.evaluate("() => { dispatchEvent(new Event('pageshow')); window.release(); }")
    settled(card)  # the browser may show it again
    assert [server.captions[f"i{n}"].endswith(f"new {n}") for n in range(3)] == [True] * 3
    assert len(server.bodies("tags/caption")) == 3
    field.fill("later")
    field.press("Enter")
    settled(card)
    assert server.captions["i3"].endswith("later")


def test_two_edits_of_one_caption_when_the_page_is_left(card: Page, server: Tagging) -> None:
    """The second says what it was made on top of, as the server may have it already."""
    card.evaluate(HOLD_FIRST)
    field = card.locator('[name="add-tag"]')
    for word in ("one", "two"):
        field.fill(word)
        field.press("Enter")
    card.wait_for_function("window.kept.length === 1")
    card.evaluate("() => { dispatchEvent(new Event('pagehide')); }")
    card.wait_for_function("window.kept.length === 2 && loraTrain.tags.pictures.unsaved.size === 0")
    [second] = server.bodies("tags/caption")
    assert second["after"] == {"tags": ["tag 0", "hat", "blue", "one"]}
    assert second["tags"] == ["tag 0", "hat", "blue", "one", "two"]
    assert server.captions["i0"].endswith("one, two")
    card.evaluate("() => window.release()")
    settled(card)


HOLD = """(ending) => {
    const real = window.fetch;
    window.held = [];
    window.fetch = async (address, request) => {
        const answer = await real(address, request);
        if (String(address).endsWith(ending)) await new Promise((resolve) => window.held.push(resolve));
        return answer;
    };
    window.release = () => { window.fetch = real; for (const one of window.held) one(); };
}"""


def test_an_answer_that_is_older_than_a_save_is_not_taken(card: Page, server: Tagging) -> None:
    card.evaluate(HOLD, "tags/pictures")
    card.evaluate("() => { const {pictures} = loraTrain.tags; pictures.age(); pictures.get('i0'); }")
    card.wait_for_function("window.held.length === 1")
    field = card.locator('[name="add-tag"]')
    field.fill("one")
    field.press("Enter")
    settled(card)
    card.evaluate("""() => {
        window.seen = [];
        loraTrain.on("tags-picture", () => window.seen.push(loraTrain.tags.pictures.known.get("i0").text));
        window.release();
    }""")
    card.wait_for_timeout(100)
    assert set(card.evaluate("window.seen")) <= {"tag 0, hat, blue, one"}
    field.fill("two")
    field.press("Enter")
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue, one, two"
    assert chips(card) == ["tag 0", "hat", "blue", "one", "two"]


def test_an_answer_that_is_older_than_an_undo_is_not_taken(card: Page, server: Tagging) -> None:
    """What is asked for once a second, before the undo, and answered while the undo still reads the pictures anew."""
    field = card.locator('[name="add-tag"]')
    field.fill("one")
    field.press("Enter")
    settled(card)
    card.evaluate("""() => {
        const real = window.fetch;
        const later = [];
        window.fetch = async (address, request) => {
            const words = await (await real(address, request)).text();
            const path = String(address);
            if (path.endsWith("/tags") && request.method === "GET") await new Promise((go) => later.push(go));
            if (path.endsWith("tags/find")) {
                for (const go of later) go();
                await new Promise((go) => setTimeout(go, 100));
            }
            return new Response(words, {status: 200});
        };
        const {tags} = loraTrain;
        tags.undo();
        tags.look();
    }""")
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue"
    assert card.evaluate("loraTrain.tags.overview.redo !== null")
    card.evaluate("() => { loraTrain.tags.redo(); }")
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue, one"


def test_a_filter_is_not_forgotten_for_a_look_at_what_changed(card: Page) -> None:
    card.evaluate(HOLD, "tags/find")
    card.locator('[name="filter"]').fill("tag:hat")
    card.wait_for_function("window.held.length === 1")
    card.evaluate("() => { loraTrain.tags.find(); }")
    card.evaluate("() => window.release()")
    card.wait_for_function("loraTrain.tags.found.filter === 'tag:hat'")


def test_what_is_typed_stays_when_the_pictures_are_read_again(card: Page, server: Tagging) -> None:
    """A filter with a fault is not in force; the one that is comes with every reading."""
    field, fault = card.locator('[name="filter"]'), card.locator(".lora_train_filter_fault")
    field.fill("tag:hat")
    card.wait_for_function("loraTrain.tags.found.filter === 'tag:hat'")
    field.fill("tag:hat (")
    expect(fault).to_be_visible()
    card.evaluate("() => loraTrain.tags.find()")
    expect(field).to_have_value("tag:hat (")
    expect(fault).to_be_visible()
    card.evaluate("() => loraTrain.tags.find('tag:blue')")  # as a click in the list of tags does
    expect(field).to_have_value("tag:blue")
    expect(fault).to_be_hidden()


def test_selection(card: Page) -> None:
    tile(card, "i1").click()
    tile(card, "i3").click(modifiers=["Control"])
    assert chosen(card) == ["i1", "i3"]  # the current one is one of them
    tile(card, "i5").click(modifiers=["Shift"])
    assert chosen(card) == ["i3", "i4", "i5"]
    tile(card, "i7").click(modifiers=["Control"])
    assert chosen(card) == ["i3", "i4", "i5", "i7"]
    expect(card.locator('[data-action="edit-captions"]')).to_have_text("Edit 4 chosen")
    assert card.evaluate("loraTrain.tags.target()") == {"pictures": ["i3", "i4", "i5", "i7"]}
    tile(card, "i2").click()
    assert chosen(card) == []
    assert card.evaluate("loraTrain.tags.target()") == {"filter": ""}
    press = card.keyboard.press
    press("g")
    press("Shift+ArrowRight")
    press("Shift+ArrowRight")
    assert chosen(card) == ["i2", "i3", "i4"]
    press("Shift+ArrowLeft")
    assert chosen(card) == ["i2", "i3"]
    press("Space")
    assert chosen(card) == ["i2"]
    press("Control+a")
    assert len(chosen(card)) == 8
    press("Escape")
    assert chosen(card) == []


def test_the_filter_and_its_fault(card: Page, server: Tagging) -> None:
    card.keyboard.press("/")
    field = card.locator('[name="filter"]')
    expect(field).to_be_focused()
    field.fill("blue")
    expect(card.locator('[data-note="found"]')).to_have_text("3 of 8 pictures")
    field.fill("blue and 🎈 (")
    fault = card.locator(".lora_train_filter_fault")
    expect(fault).to_have_text("It ends too early. Close it.")
    assert card.locator(".lora_train_fault").evaluate("one => one.textContent") == "("
    assert field.get_attribute("aria-invalid") == "true"
    assert len(card.evaluate("loraTrain.tags.found.pictures")) == 3  # the last ones stay
    field.fill("nothing like that")
    expect(fault).to_be_hidden()
    expect(card.locator(".lora_train_tagging_nothing")).to_contain_text("No picture matches")
    card.locator('[data-action="show-all"]').click()
    expect(card.locator('[data-note="found"]')).to_have_text("8 pictures")


def test_the_list_of_tags_filters(card: Page) -> None:
    row = card.locator(".lora_train_frequency_row").filter(has_text=re.compile("^hat"))
    row.click()
    expect(card.locator('[name="filter"]')).to_have_value("tag:hat")
    expect(row).to_have_attribute("data-term", "include")
    row.click()
    expect(card.locator('[name="filter"]')).to_have_value("")
    row.hover()
    row.locator("[data-out]").click()
    expect(card.locator('[name="filter"]')).to_have_value("-tag:hat")
    expect(row).to_have_attribute("data-term", "exclude")  # it is listed, though no picture has it
    card.keyboard.press("t")
    card.keyboard.type("red")
    expect(row).to_have_count(0)
    card.keyboard.press("Escape")
    card.keyboard.press("Escape")
    expect(card.locator(".lora_train_tagging_gallery")).to_be_focused()


def test_the_tag_that_was_seen_is_the_one_that_counts(card: Page) -> None:
    """A press between a change of the list and its drawing is for the line as it stood there."""
    first = card.locator('.lora_train_frequency_row[data-place="0"]')
    expect(first.locator(".lora_train_tag_name")).to_have_text("hat")
    first.evaluate("""(row) => {
        card.frequency.draw = () => {};
        card.frequency.seek("red");
        delete card.frequency.draw;
        row.click();
    }""")
    expect(card.locator('[name="filter"]')).to_have_value("tag:hat")


def test_terms_of_a_filter(card: Page) -> None:
    terms = "(filter) => [...loraTrain.filterTags(filter)]"
    assert card.evaluate(terms, 'tag:Blue_Eyes -tag:"long \\"x\\" hair" (tag:a | tag:b) x tag:c') == [
        ["blue eyes", True], ['long "x" hair', False], ["c", True],
    ]  # fmt: skip


def test_the_current_picture_stays_until_another_is_looked_at(card: Page, server: Tagging) -> None:
    card.locator('[name="filter"]').fill("-tag:new")
    card.wait_for_function("loraTrain.tags.found.filter === '-tag:new'")
    tile(card, "i2").click()
    card.evaluate("loraTrain.tags.save('i2', ['new'])")
    expect(card.locator('[data-note="found"]')).to_have_text("7 of 8 pictures")
    expect(tile(card, "i2")).to_have_class(re.compile("lora_train_current lora_train_kept"))
    assert chips(card) == ["new"]
    card.keyboard.press("PageDown")
    expect(tile(card, "i2")).to_have_count(0)
    assert card.evaluate("loraTrain.tags.current") == "i3"


def test_changed_by_another_program(card: Page, server: Tagging) -> None:
    server.write("i0", HOSTILE)
    card.locator('[name="add-tag"]').fill("mine")
    card.locator('[name="add-tag"]').press("Enter")
    conflict = card.locator(".lora_train_conflict")
    expect(conflict.locator('[data-text="theirs"]')).to_have_text(HOSTILE)
    expect(conflict.locator('[data-text="mine"]')).to_have_text("tag 0, hat, blue, mine")
    assert server.captions["i0"] == HOSTILE
    conflict.locator('[data-action="take-theirs"]').click()
    expect(conflict).to_be_hidden()
    expect(card.locator(".lora_train_tag_words")).to_have_text([HOSTILE])
    card.wait_for_function("loraTrain.tags.pictures.asked.size === 0")
    server.write("i0", "again")
    card.locator('[name="add-tag"]').fill("mine")
    card.locator('[name="add-tag"]').press("Enter")
    conflict.locator('[data-action="keep-mine"]').click()
    expect(conflict).to_be_hidden()
    assert server.captions["i0"] == f"{HOSTILE}, mine"
    assert card.evaluate("window.harmed") is None


def test_what_is_refused_does_not_stay_on_the_screen(card: Page, server: Tagging) -> None:
    server.failing.add("tags/caption")
    card.locator('[name="add-tag"]').fill("mine")
    card.locator('[name="add-tag"]').press("Enter")
    expect(card.locator(".lora_train_tag_words")).to_have_count(3)
    assert server.captions["i0"] == "tag 0, hat, blue"


def test_sentences(card: Page, server: Tagging) -> None:
    server.write("i1", "A person waves. The sky is blue.")
    card.evaluate("loraTrain.tags.look()")
    tile(card, "i1").click()
    area = card.locator('[name="tags-caption"]')
    expect(area).to_have_value("A person waves. The sky is blue.")
    expect(card.locator(".lora_train_tag_chip")).to_have_count(0)
    area.fill("A person waves. Night.")
    card.keyboard.press("PageDown")
    settled(card)
    assert server.captions["i1"] == "A person waves. Night."
    expect(card.locator(".lora_train_tag_words").first).to_have_text("tag 2")
    server.failing.add("tags/caption")
    card.keyboard.press("PageUp")
    area.fill("Not to be lost.")
    area.press("Control+Enter")
    settled(card)
    expect(area).to_have_value("Not to be lost.")  # what was typed is kept for another try
    server.failing.clear()
    area.press("Control+Enter")
    settled(card)
    assert server.captions["i1"] == "Not to be lost."


def test_beyond_the_limit(card: Page, server: Tagging) -> None:
    server.write("i0", ", ".join(f"t{n}" for n in range(40)))
    card.evaluate("loraTrain.tags.look()")
    expect(card.locator('[data-note="tokens"]')).to_have_text("80 of 75 tokens · the last 3 tags are not trained on")
    assert card.locator(".lora_train_tag_chip s").all_text_contents() == ["t37", "t38", "t39"]


@pytest.mark.parametrize("width", [900, 1280, 2560])
def test_only_what_is_in_sight_is_in_the_page(browser: Browser, width: int) -> None:
    server = Tagging({f"i{n}": ", ".join(f"tag {n} {k}" for k in range(400)) for n in range(MANY)})
    page = new_page(browser)
    open_tags(page, server)
    page.set_viewport_size({"width": width, "height": 1440})
    page.locator("#lora_train_place").evaluate("(one, width) => { one.style.width = `${width - 40}px`; }", width)
    gallery = page.locator(".lora_train_tagging_gallery")
    seen: list[str] = []
    new = lambda first: first not in seen  # noqa: E731
    for part in (0, 0.1, 0.33, 0.5, 0.77, 1):
        gallery.evaluate("(one, part) => { one.scrollTop = part * one.scrollHeight; }", part)
        first = wait_for(lambda: gallery.locator(".lora_train_tile").first.get_attribute("data-id"), new)
        seen.append(first)
        tiles, chips, rows = page.evaluate(NODES)
        assert tiles > 6 and tiles + chips <= MOST_NODES, (part, tiles, chips)
        assert 0 < rows < 100
    page.keyboard.press("g")
    page.keyboard.press("End")
    expect(tile(page, f"i{MANY - 1}")).to_be_visible()
    expect(page.locator(".lora_train_tag_words").first).to_have_text(f"tag {MANY - 1} 0")
    page.keyboard.press("c")
    page.keyboard.press("End")  # the 400th tag
    expect(page.locator(".lora_train_tag_words").last).to_have_text(f"tag {MANY - 1} 399")
    assert sum(page.evaluate(NODES)[:2]) <= MOST_NODES
    page.context.close()


def test_tags_are_dragged(card: Page, server: Tagging) -> None:
    chip = card.locator(".lora_train_tag_chip")
    chip.nth(2).drag_to(chip.nth(0))
    assert chips(card) == ["blue", "tag 0", "hat"]
    settled(card)
    assert server.captions["i0"] == "blue, tag 0, hat"


def test_several_chosen_is_said(card: Page) -> None:
    tile(card, "i2").click(modifiers=["Shift"])
    expect(card.locator(".lora_train_tagging_caption")).to_contain_text("3 pictures are chosen; here you change only")
    tile(card, "i2").click()
    expect(card.locator('[data-action="edit-together"]')).to_be_hidden()


def test_what_is_said_of_the_project(card: Page, server: Tagging) -> None:
    look = "loraTrain.tags.look()"
    server.more = {
        "writing": {"done": 250, "total": 1000}, "left": {"count": 2, "names": [HOSTILE, "b.txt"]},
        "trouble": {"sentence": "<b>Damaged</b>.", "remedy": "It was put aside."},
        "trigger": {"word": "qxz", "notes": [], "everywhere": 8},
    }  # fmt: skip
    card.evaluate(look)
    expect(card.locator(".lora_train_tagging_writing")).to_contain_text("Writing the files: 250 of 1,000")
    expect(card.locator('.lora_train_tagging_writing [role="progressbar"]')).to_have_attribute("aria-valuenow", "25")
    expect(card.locator('[data-note="left"]')).to_contain_text(f"left as they are: {HOSTILE}, b.txt")
    expect(card.locator('[data-note="trouble"]')).to_have_text("<b>Damaged</b>. It was put aside.")
    expect(card.locator('[data-note="trigger"]')).to_contain_text("8 captions are without the trigger word “qxz”.")
    card.locator('[data-action="show-missing"]').click()
    expect(card.locator('[name="filter"]')).to_have_value("missing:trigger")
    server.more = {}
    card.evaluate(look)
    expect(card.locator("[data-note=left], [data-note=trouble], [data-note=trigger]")).to_have_count(0)
    expect(card.locator(".lora_train_tagging_writing")).to_be_hidden()
    assert card.evaluate("window.harmed") is None


def test_another_project_is_opened_while_a_caption_is_typed(card: Page, server: Tagging) -> None:
    server.write("i0", "It rains here.")
    card.evaluate("loraTrain.tags.look()")
    area = card.locator('[name="tags-caption"]')
    expect(area).to_have_value("It rains here.")
    area.fill("It snows here.")
    card.evaluate("""async () => {
        loraTrain.state.project = null;
        loraTrain.emit("project", null);
        await loraTrain.tags.queue;
    }""")
    assert server.captions["i0"] == "It snows here."
    expect(card.locator(".lora_train_welcome")).to_contain_text("Name your project")
    expect(card.locator(".lora_train_tagging")).to_be_hidden()


def test_what_is_typed_has_an_undo_of_its_own(card: Page, server: Tagging) -> None:
    field = card.locator('[name="add-tag"]')
    field.fill("one")
    field.press("Enter")
    field.press_sequentially("two")
    field.press("Control+z")  # of the letters
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue, one"
    field.fill("")
    field.press("Control+z")
    settled(card)
    assert server.captions["i0"] == "tag 0, hat, blue"
