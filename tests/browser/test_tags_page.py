"""The Tags sub-tab against the real server: what is on the screen is on the disk after each action, with the mouse and
with the keyboard alone; undone, redone, closed in the middle, and opened again."""

from __future__ import annotations

import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from demo.character import training_set
from tests.browser.test_chinese import english
from tests.browser.test_text_is_text import CLEAN, INTRUDERS, PAYLOADS
from tests.helpers.serving import Rest, Server, png, wait_for
from tests.helpers.tab import Tab

MANY, MOST_NODES = 1000, 300
NODES = "() => document.querySelectorAll('.lora_train_tile, .lora_train_tag_chip').length"
STRANGE = [
    "\u05e9\u05dc\u05d5\u05dd \u202eabc\u202c, \u0645\u0631\u062d\u0628\u0627",
    "\U0001f469\u200d\U0001f680 astronaut, \U0001f988\U0001f988, \u0301\u0301\u0301",
    "\"quotes\", 'more', `ticks`, \\back\\slash, %s {0} ${x}",
    f"{'long' * 400}, {'many words ' * 60}",
]


@pytest.fixture
def rest(served: Server) -> Rest:
    return served.rest()


@pytest.fixture
def folder(served: Server) -> Callable[[str], Path]:
    """Where the pictures of a project lie that has one concept."""

    def find(project: str) -> Path:
        [one] = (path for path in (served.data / "projects" / project / "dataset").iterdir() if path.is_dir())
        return one

    return find


@pytest.fixture
def opened(served: Server, open_tab: Callable[..., Tab]) -> Iterator[Callable[..., Tab]]:
    def open_one(project: str, **options: object) -> Tab:
        tab = open_tab(served, **options)
        show(tab, project)
        return tab

    yield open_one


def new_project(rest: Rest, title: str, captions: list[str]) -> str:
    project = rest.new_project(title, trigger="qxz")
    pictures = training_set(n=len(captions))
    rest.add_pictures(project, [(image, caption) for (image, _), caption in zip(pictures, captions, strict=True)])
    return project


def show(tab: Tab, project: str) -> None:
    tab.select_project(project)
    tab.tab("tags")
    expect(tiles(tab).first).to_be_visible()
    tab.page.wait_for_function("loraTrain.tags.pictures.known.has(loraTrain.tags.current)")


def tiles(tab: Tab) -> Locator:
    return tab.page.locator(".lora_train_tagging_gallery .lora_train_tile")


def chips(tab: Tab) -> list[str]:
    return tab.page.locator(".lora_train_tag_words").all_text_contents()


def tag_row(tab: Tab, tag: str) -> Locator:
    """In the list of all tags."""
    named = tab.page.locator(".lora_train_tag_name").get_by_text(tag, exact=True)
    return tab.page.locator(".lora_train_frequency_row").filter(has=named)


def settled(tab: Tab) -> None:
    """Everything that was done is answered."""
    tab.page.evaluate("() => loraTrain.tags.queue")


def name(tab: Tab) -> str:
    return tab.page.locator(".lora_train_tagging_name").inner_text()


def test_with_the_keyboard_alone(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    project = new_project(rest, "Keys", ["qxz, a, b, c", "qxz, d", "qxz, e", "qxz, f"])
    tab = opened(project)
    page, press = tab.page, tab.page.keyboard.press
    at = folder(project)

    def on_disk(number: int, *tags: str) -> None:
        """On the screen, and at the same moment in the file."""
        expect(page.locator(".lora_train_tag_words")).to_have_text(list(tags))
        settled(tab)
        assert (at / f"{number:03d}.txt").read_text(encoding="utf-8") == ", ".join(tags)

    expect(page.locator(".lora_train_tagging_gallery")).to_be_focused()  # so that the keys are heard at once
    on_disk(1, "qxz", "a", "b", "c")
    press("c")
    press("End")
    press("Alt+ArrowLeft")
    on_disk(1, "qxz", "a", "c", "b")
    press("Alt+Home")
    on_disk(1, "c", "qxz", "a", "b")
    press("ArrowRight")
    press("Delete")
    on_disk(1, "c", "a", "b")
    press("Enter")
    page.keyboard.type("red hat")
    press("Enter")
    on_disk(1, "c", "red hat", "b")
    press("a")
    page.keyboard.type("smile, looking up")
    press("Enter")
    on_disk(1, "c", "red hat", "b", "smile", "looking up")
    press("PageDown")
    on_disk(2, "qxz", "d")
    page.keyboard.type("new")  # the field for a tag still has the keyboard
    press("Enter")
    on_disk(2, "qxz", "d", "new")
    press("PageUp")
    press("Control+z")  # the last step, whatever picture is shown
    press("Control+z")
    on_disk(1, "c", "red hat", "b")
    assert (at / "002.txt").read_text(encoding="utf-8") == "qxz, d"
    press("Control+y")
    press("Control+Shift+z")
    on_disk(1, "c", "red hat", "b", "smile", "looking up")
    assert (at / "002.txt").read_text(encoding="utf-8") == "qxz, d, new"

    press("Escape")
    expect(page.locator(".lora_train_tagging_gallery")).to_be_focused()
    press("/")
    page.keyboard.type("tag:e | tag:f")
    press("Enter")
    expect(page.locator('[data-note="found"]')).to_have_text("2 of 4 pictures")
    press("Escape")
    assert name(tab) == "003.png"
    press("ArrowRight")
    expect(page.locator(".lora_train_tagging_name")).to_have_text("004.png")
    press("t")
    page.keyboard.type("e")
    press("ArrowDown")
    expect(page.locator(".lora_train_frequency_row.lora_train_focused .lora_train_tag_name")).to_have_text("e")
    press("-")
    expect(page.locator('[name="filter"]')).to_have_value(re.compile("-tag:e"))
    expect(page.locator('[data-note="found"]')).to_have_text("1 of 4 pictures")
    press("Escape")
    press("?")
    expect(page.locator("dialog[open]")).to_contain_text("Move the tag")
    press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


def test_several_are_chosen(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    project = new_project(rest, "Several", [f"qxz, n{n}" for n in range(6)])
    tab = opened(project)
    page = tab.page
    tiles(tab).nth(1).click()
    tiles(tab).nth(3).click(modifiers=["Shift"])
    tiles(tab).nth(5).click(modifiers=["Control"])
    expect(tab.action("edit-captions")).to_have_text("Edit 4 chosen")
    expect(page.locator('.lora_train_tagging_gallery [aria-selected="true"]')).to_have_count(4)
    target = page.evaluate("loraTrain.tags.target()")
    path = f"projects/{project}/tags"
    edit = {"kind": "add", "tags": ["<i>added</i>"]}
    shown = rest.post(f"{path}/preview", {"edit": edit, **target, "offset": 0, "limit": 50})
    assert shown["changes"] == 4
    rest.post(f"{path}/apply", {"edit": edit, **target, "digest": shown["digest"]})
    expect(page.locator(".lora_train_tag_words").last).to_have_text("<i>added</i>")  # it is seen without a press
    changed = sorted(one.stem for one in folder(project).glob("*.txt") if "<i>added</i>" in one.read_text("utf-8"))
    assert changed == ["002", "003", "004", "006"]
    press = page.keyboard.press
    press("g")
    press("Control+z")
    expect(page.locator(".lora_train_tag_words")).to_have_text(["qxz", "n5"])
    settled(tab)
    assert not any("added" in one.read_text("utf-8") for one in folder(project).glob("*.txt"))


def test_filtered_by_clicks(rest: Rest, opened: Callable[..., Tab]) -> None:
    project = new_project(rest, "Clicks", ["qxz, hat, red", "qxz, hat", "qxz, red", "qxz"])
    tab = opened(project)
    page = tab.page
    row = lambda tag: tag_row(tab, tag)  # noqa: E731
    found = page.locator('[data-note="found"]')
    row("hat").click()
    expect(found).to_have_text("2 of 4 pictures")
    expect(row("hat")).to_have_attribute("data-term", "include")
    row("red").hover()
    row("red").locator("[data-out]").click()
    expect(found).to_have_text("1 of 4 pictures")
    expect(row("red")).to_have_attribute("data-term", "exclude")
    row("red").locator("[data-out]").click()
    expect(found).to_have_text("2 of 4 pictures")
    expect(row("red")).to_have_attribute("data-term", "")
    row("hat").click()
    expect(found).to_have_text("4 pictures")
    expect(page.locator('[name="filter"]')).to_have_value("")


def test_a_fault_of_the_filter_is_shown_where_it_is(rest: Rest, opened: Callable[..., Tab]) -> None:
    tab = opened(new_project(rest, "Fault", ["qxz, a", "qxz, b"]))
    tab.allowed.append("status of 400")
    page = tab.page
    field = page.locator('[name="filter"]')
    field.fill("🎈 tokens:>many")
    expect(page.locator(".lora_train_filter_fault")).to_be_visible()
    behind = page.locator(".lora_train_filter_behind")
    assert behind.evaluate("one => one.textContent").startswith("🎈 tokens:>")
    assert behind.locator("mark").evaluate("one => one.textContent").endswith("many")
    expect(tiles(tab)).to_have_count(2)
    field.fill("tag:nothing")
    expect(page.locator(".lora_train_filter_fault")).to_be_hidden()
    expect(page.locator(".lora_train_tagging_nothing")).to_contain_text("No picture matches the filter.")
    tab.press("show-all")
    expect(tiles(tab)).to_have_count(2)


def test_closed_in_the_middle(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    project = new_project(rest, "Closed", ["qxz, a", "A girl stands. The sky is blue."])
    tab = opened(project)
    page = tab.page
    page.locator('[name="add-tag"]').fill("kept")
    page.keyboard.press("Enter")
    page.keyboard.press("PageDown")
    area = page.locator('[name="tags-caption"]')
    expect(area).to_have_value("A girl stands. The sky is blue.")
    area.fill("A girl sits, and nothing is")
    page.goto("about:blank")  # without leaving the field
    sentence = folder(project) / "002.txt"
    wait_for(lambda: sentence.read_text(encoding="utf-8"), lambda text: text == "A girl sits, and nothing is")
    tags = folder(project) / "001.txt"
    wait_for(lambda: tags.read_text(encoding="utf-8"), lambda text: text == "qxz, a, kept")
    again = opened(project)
    assert chips(again) == ["qxz", "a", "kept"]
    again.press("history")
    expect(again.page.locator(".lora_train_history [data-step]")).to_have_count(2)
    again.page.locator('[data-action="rollback"]').last.click()
    expect(again.page.locator(".lora_train_undone")).to_have_count(2)
    settled(again)
    assert sentence.read_text(encoding="utf-8") == "A girl stands. The sky is blue."
    assert tags.read_text(encoding="utf-8") == "qxz, a"
    again.page.locator('[data-action="forward"]').first.click()
    expect(again.page.locator(".lora_train_undone")).to_have_count(0)
    settled(again)
    assert sentence.read_text(encoding="utf-8") == "A girl sits, and nothing is"
    again.page.keyboard.press("Escape")
    expect(again.page.locator(".lora_train_tag_words")).to_have_text(["qxz", "a", "kept"])


def test_changed_by_another_program(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    project = new_project(rest, "Others", ["qxz, a", "qxz, b"])
    tab = opened(project)
    tab.allowed.append("status of 409")
    page = tab.page
    file = folder(project) / "001.txt"
    file.write_text("qxz, from elsewhere", encoding="utf-8")
    expect(page.locator(".lora_train_tag_words")).to_have_text(["qxz", "from elsewhere"])  # it is noticed by itself
    page.route(re.compile(r"/tags$"), lambda route: None)  # its next look is not answered
    with page.expect_request(re.compile(r"/tags$")):
        pass
    file.write_text("qxz, <b>theirs</b>", encoding="utf-8")
    page.locator('[name="add-tag"]').fill("mine")
    page.keyboard.press("Enter")
    conflict = page.locator(".lora_train_conflict")
    expect(conflict.locator('[data-text="theirs"]')).to_have_text("qxz, <b>theirs</b>")
    expect(conflict.locator('[data-text="mine"]')).to_have_text("qxz, from elsewhere, mine")
    assert file.read_text(encoding="utf-8") == "qxz, <b>theirs</b>"
    conflict.locator('[data-action="keep-mine"]').click()
    expect(conflict).to_be_hidden()
    settled(tab)
    assert file.read_text(encoding="utf-8") == "qxz, from elsewhere, mine"
    page.keyboard.press("g")
    page.keyboard.press("Control+z")
    settled(tab)
    assert file.read_text(encoding="utf-8") == "qxz, <b>theirs</b>"  # that was kept, too
    page.unroute_all(behavior="ignoreErrors")


def test_captions_are_text(served: Server, rest: Rest, opened: Callable[..., Tab]) -> None:
    """Shown as they are, with the mouse over them and in every window; typed in, and found on the disk."""
    captions = [*PAYLOADS, *STRANGE]
    project = rest.new_project(PAYLOADS[0], PAYLOADS[1])
    image = png(training_set()[0][0])
    for number, caption in enumerate(captions):
        base = f"{number:02d}{PAYLOADS[number % len(PAYLOADS)]}" if number % 5 == 0 else f"{number:02d}"
        for ending, data in ((".png", image), (".txt", caption.encode())):
            query = urllib.parse.urlencode({"name": base.replace("/", "") + ending})
            answer = rest.call("POST", f"projects/{project}/files?{query}", data=data)
            assert answer.status in (200, 201, 400), answer.body
    tab = opened(project)
    page = tab.page
    shown = rest.post(f"projects/{project}/tags/find", {"filter": "", "order": "name", "reverse": False})
    assert shown["total"] >= 20
    for each in shown["pictures"]:
        [picture] = rest.post(f"projects/{project}/tags/pictures", {"pictures": [each]})["pictures"]
        expect(page.locator(".lora_train_tagging_name")).to_have_text(picture["name"])
        if picture["prose"]:
            expect(page.locator('[name="tags-caption"]')).to_have_value(picture["text"])
        else:
            expect(page.locator(".lora_train_tag_words")).to_have_text(picture["tags"], use_inner_text=False)
        page.keyboard.press("PageDown")
    assert page.evaluate(INTRUDERS) == CLEAN
    page.keyboard.press("g")
    page.keyboard.press("Home")
    for payload in ["<img src=x onerror=window.pwned=1>", STRANGE[0].split(",")[0], "\U0001f988<b>x"]:
        page.keyboard.press("a")
        page.locator('[name="add-tag"]').fill(payload)
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        settled(tab)
        [picture] = rest.post(f"projects/{project}/tags/pictures", {"pictures": shown["pictures"][:1]})["pictures"]
        assert payload in picture["tags"]
        page.locator('[name="filter"]').fill(payload)
        page.wait_for_timeout(400)
        page.locator('[name="filter"]').fill("")
        page.wait_for_function("loraTrain.tags.found.filter === ''")
        page.keyboard.press("Escape")
    tab.allowed.append("status of 400")
    for window in ("history", "keys", "edit-captions", "trigger-word", "exchange"):
        tab.press(window)
        expect(page.locator("dialog[open]")).to_have_count(1)
        page.wait_for_timeout(300)
        assert page.evaluate(INTRUDERS) == CLEAN, window
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    for row in page.locator(".lora_train_frequency_row").all()[:5]:
        row.hover()
    assert page.evaluate(INTRUDERS) == CLEAN


def test_sentences(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    sentence = "A girl waves at the camera. The sky behind her is blue."
    project = new_project(rest, "Sentences", [sentence, "qxz, a"])
    rest.post(f"projects/{project}/tags/form", {"form": "sentences"})
    tab = opened(project)
    page = tab.page
    area = page.locator('[name="tags-caption"]')
    expect(area).to_have_value(rest.get(f"projects/{project}/pictures")["pictures"][0]["caption"])
    before = area.input_value()
    area.fill("<b>She</b> runs. It is night.")
    page.keyboard.press("Control+Enter")
    settled(tab)
    file = folder(project) / "001.txt"
    assert file.read_text(encoding="utf-8") == "<b>She</b> runs. It is night."
    page.keyboard.press("Control+z")
    settled(tab)
    expect(area).to_have_value(before)
    page.locator('[name="filter"]').fill("night")
    expect(page.locator('[data-note="found"]')).to_have_text("0 of 2 pictures")


def test_a_thousand_pictures(rest: Rest, opened: Callable[..., Tab], folder: Callable[[str], Path]) -> None:
    project = new_project(rest, "Thousand", ["qxz, first"])
    at = folder(project)
    for number in range(2, MANY + 1):
        shutil.copyfile(at / "001.png", at / f"{number:04d}.png")
        (at / f"{number:04d}.txt").write_text(f"qxz, n{number}, {'odd' if number % 2 else 'even'}", encoding="utf-8")
    tab = opened(project)
    page = tab.page
    expect(page.locator('[data-note="found"]')).to_have_text("1,000 pictures")
    gallery, frequency = page.locator(".lora_train_tagging_gallery"), page.locator(".lora_train_frequency_list")
    firsts: list[str] = []
    new = lambda first: first not in firsts  # noqa: E731
    for part in (0, 0.2, 0.45, 0.7, 0.9, 1):
        for box in (gallery, frequency):
            box.evaluate("(one, part) => { one.scrollTop = part * one.scrollHeight; }", part)
        firsts.append(wait_for(lambda: tiles(tab).first.get_attribute("data-id"), new))
        assert 6 < page.evaluate(NODES) <= MOST_NODES
    path = f"projects/{project}/tags"
    edit = {"kind": "remove", "tags": ["qxz"]}
    shown = rest.post(f"{path}/preview", {"edit": edit, "filter": "", "offset": 0, "limit": 1})
    assert shown["changes"] == MANY
    rest.post(f"{path}/apply", {"edit": edit, "filter": "", "digest": shown["digest"]})
    expect(page.locator(".lora_train_tag_words").first).not_to_have_text("qxz")
    page.keyboard.press("g")
    page.keyboard.press("Control+z")
    expect(page.locator(".lora_train_tag_words").first).to_have_text("qxz")
    texts = lambda: [one.read_text("utf-8") for one in at.glob("*.txt")]  # noqa: E731
    wait_for(texts, lambda all_: len(all_) == MANY and all(text.startswith("qxz, ") for text in all_))
    expect(page.locator(".lora_train_tagging_writing")).to_be_hidden()


def test_what_to_do_first(rest: Rest, served: Server, open_tab: Callable[..., Tab]) -> None:
    empty = rest.new_project("Nothing yet")
    bare = new_project(rest, "No captions", ["", ""])
    tab = open_tab(served)
    page = tab.page
    tab.select_project(empty)
    tab.tab("tags")
    expect(page.locator("#lora_train_tags")).to_contain_text("This project has no pictures yet.")
    tab.press("to-dataset")
    expect(page.locator("#lora_train_tab_dataset")).to_be_visible()
    show(tab, bare)
    expect(page.locator('[data-note="no-captions"]')).to_contain_text("Let a tagger write them")
    page.locator('[name="add-tag"]').fill("first")
    page.keyboard.press("Enter")
    expect(page.locator('[data-note="no-captions"]')).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+z")
    tab.press("to-prepare")
    expect(page.locator(".lora_train_prepare")).to_be_in_viewport()


def test_in_chinese(rest: Rest, opened: Callable[..., Tab]) -> None:
    project = new_project(rest, "标签", ["微笑, 帽子", "微笑", ""])
    tab = opened(project, locale="zh-CN")
    tab.allowed.append("status of 400")
    page = tab.page
    seen = set(tab.texts())
    page.locator('[name="add-tag"]').fill("蓝天")
    page.keyboard.press("Enter")
    settled(tab)
    page.locator('[name="filter"]').fill("帽子 (")
    expect(page.locator(".lora_train_filter_fault")).to_be_visible()
    seen |= set(tab.texts())
    page.locator('[name="filter"]').fill("没有")
    expect(page.locator(".lora_train_tagging_nothing")).to_be_visible()
    seen |= set(tab.texts())
    for window in ("history", "keys"):
        tab.press(window)
        page.wait_for_timeout(300)
        seen |= set(tab.texts())
        page.keyboard.press("Escape")
    syntax = re.compile(r"[-\w]+:\S*|\b(?:AND|NOT|OR|PageUp|PageDown|Home|End|Delete|Esc|Alt|hat)\b|qxz|\bA–Z\b")
    left = sorted(one for one in seen if english(syntax.sub(" ", one)))
    assert not left, left
