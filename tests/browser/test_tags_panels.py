"""The panels of the tag editor against the real server: what they show is what is written, and all of it comes back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.helpers.pictures import encoded
from tests.helpers.preparing import photo
from tests.helpers.serving import Server, wait_for
from tests.helpers.tab import Tab

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "‮right to left",
    "👩‍👧 emoji",
    "javascript:alert(3)",
)
CAPTIONS = {
    "one": "quillon, 1girl, long_hair, hair, smile, smile, blue sky, day",
    "two": "1girl, long hair, hair, quillon, Hat, outdoors",
    "three": "quillon, 1girl, silver hair, blue eyes, (hat:1.2), night",
    "four": "",
}  # fmt: skip
DIFF = ".lora_train_diff_list li"
# What a caption becomes, as the difference shows it: without what is removed.
AFTER = """(items) => items.map((item) => {
    const line = item.querySelector(".lora_train_diff").cloneNode(true);
    line.querySelectorAll("del, .lora_train_hint").forEach((one) => one.remove());
    return [item.querySelector(".lora_train_hint").textContent, line.textContent];
})"""


@pytest.fixture(scope="module")
def gray() -> bytes:
    return encoded(photo(1, (64, 64)), "PNG")


@pytest.fixture
def make(served: Server, gray: bytes) -> Callable[..., str]:
    """A project whose pictures have these captions; its id."""

    def new(title: str, captions: Mapping[str, str]) -> str:
        rest = served.rest()
        project = rest.new_project(title)
        for name, caption in captions.items():
            rest.add(project, f"{name}.png", gray)
            if caption:
                rest.add(project, f"{name}.txt", caption.encode())
        return project

    return new


def on_disk(server: Server, project: str) -> dict[str, str]:
    """Captions by the names of their files, "" where there is no file, once nothing is being written."""
    rest = server.rest()
    wait_for(lambda: rest.get(f"projects/{project}/tags"), lambda shown: shown["writing"] is None)
    [folder] = (path for path in server.data.rglob("dataset") if path.parent.name == project)
    files = {path.stem: path for path in folder.rglob("*.txt")}
    return {
        path.stem: files[path.stem].read_text(encoding="utf-8") if path.stem in files else ""
        for path in sorted(folder.rglob("*.png"))
    }


def opened(tab: Tab, project: str, panel: str = "") -> Page:
    tab.select_project(project)
    tab.tab("tags")
    expect(tab.page.locator(".lora_train_tagging")).to_be_visible()
    if panel:
        tab.press(panel)
        expect(tab.page.locator("dialog[open]")).to_be_visible()
    return tab.page


def tags_of(words: str) -> list[str]:
    return [tag for tag in (part.strip() for part in words.split(",")) if tag]


def shown_after(page: Page) -> dict[str, str]:
    """What the captions on this page of the preview become, by picture."""
    return {Path(name).stem: after for name, after in page.locator(DIFF).evaluate_all(AFTER)}


def applies(page: Page, count: int) -> Locator:
    """The button, once the preview says that so many captions change."""
    press = page.locator('[data-action="edit-apply"]')
    expect(press).to_have_text(f"Apply to {count} picture{'s' if count > 1 else ''}")
    expect(press).to_be_enabled()
    return press


def undone(page: Page, server: Server, project: str, captions: Mapping[str, str]) -> None:
    """By the button of the message: the captions are as they were."""
    page.locator('[data-action="message-action"]').first.click()
    wait_for(lambda: on_disk(server, project), lambda now: now == captions)


EDITS: list[tuple[str, dict[str, Any], dict[str, list[str]]]] = [
    ("add", {"tags": "solo, hat", "where": "trigger"}, {"one": ["quillon", "solo", "hat", "1girl"], "four": ["solo", "hat"]}),
    ("remove", {"tags": "hair", "how": "text"}, {"two": ["1girl", "quillon", "Hat", "outdoors"]}),
    ("replace", {"find": r"(blue|silver) (\w+)", "replace": r"\2 of \1", "how": "regex"}, {"three": ["quillon", "1girl", "hair of silver", "eyes of blue"]}),
    ("merge", {"tags": "day, night", "into": "some time"}, {"three": ["quillon", "1girl", "silver hair", "blue eyes", "(hat:1.2)", "some time"]}),
    ("dedupe", {"implied": True}, {"one": ["quillon", "1girl", "long_hair", "smile", "blue sky", "day"]}),
    ("sort", {"by": "alphabet"}, {"one": ["quillon", "1girl", "blue sky", "day"]}),
    ("move", {"tags": "1girl", "where": "position", "position": 4}, {"two": ["long hair", "hair", "quillon", "1girl"]}),
    ("truncate", {"by": "tags", "limit": 3}, {"two": ["1girl", "long hair", "hair"]}),
    ("spelling", {"write": "underscores"}, {"two": ["1girl", "long_hair"]}),
    ("case", {"to": "upper", "only": "hat"}, {"two": ["1girl", "long hair", "hair", "quillon", "HAT"]}),
    ("weights", {"tags": "smile", "weight": "1.3"}, {"one": ["quillon", "1girl", "long_hair", "hair", "(smile:1.3)"]}),
    ("affix", {"to": "tags", "suffix": " !", "only": "day"}, {"one": ["quillon", "1girl", "long_hair", "hair", "smile", "smile", "blue sky", "day !"]}),
]  # fmt: skip


def fill(page: Page, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        field = page.locator(f'dialog [data-field="{name}"]')
        if isinstance(value, bool):
            field.set_checked(value)
        elif field.evaluate("(one) => one.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))
            field.blur()  # its suggestions lie above what is below


def test_each_kind_of_edit(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    """What the difference shows is what is on the disk then, in every caption; and Undo brings all of it back."""
    project = make("Kinds", CAPTIONS)
    tab = open_tab(served)
    tab.allowed.append("status of 400.*tags/preview")  # asked for between two fields of an edit
    page = opened(tab, project, "edit-captions")
    chips = page.locator("dialog [data-kind].lora_train_chip")
    expect(chips).to_have_count(len(EDITS))
    assert sorted(chips.evaluate_all("all => all.map((one) => one.dataset.kind)")) == sorted(kind for kind, *_ in EDITS)
    for kind, values, wanted in EDITS:
        page.locator(f'dialog .lora_train_chip[data-kind="{kind}"]').click()
        fill(page, values)
        press = page.locator('[data-action="edit-apply"]')
        expect(press).to_contain_text(re.compile(r"Apply to \d"))
        expect(page.locator(".lora_train_change_preview")).to_have_attribute("aria-busy", "false")
        shown = shown_after(page)
        assert shown, kind
        press.click()
        expect(page.locator(".lora_train_message", has_text="changed.")).to_be_visible()
        written = on_disk(served, project)
        assert {name for name in written if written[name] != CAPTIONS[name]} == shown.keys(), kind
        assert {name: tags_of(after) for name, after in shown.items()} == {
            name: tags_of(written[name]) for name in shown
        }, kind
        for name, beginning in wanted.items():
            assert tags_of(written[name])[: len(beginning)] == beginning, (kind, name)
        undone(page, served, project, CAPTIONS)


def test_a_replacement_of_many(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    """Page by page, of the filter, of the selection; only what was shown is written, and nothing behind its back."""
    captions = {f"p{number:02}": f"quillon, red hat, pose {number}" for number in range(27)} | {"other": "red hat, x"}
    project = make("Many", captions)
    tab = open_tab(served)
    page = opened(tab, project)
    search = page.locator(".lora_train_tagging input").first
    search.fill("tag:quillon")
    search.press("Enter")
    expect(tab.action("edit-captions")).to_have_text("Edit 27 found")
    tab.press("edit-captions")
    page.locator('dialog .lora_train_chip[data-kind="replace"]').click()
    expect(page.locator("[data-note='changes']")).to_contain_text("Say what to do")
    fill(page, {"find": "red hat", "replace": "blue hat, ribbon"})
    press = applies(page, 27)
    expect(page.locator('[data-counts="removed"]')).to_have_text("red hat 27")
    expect(page.locator('[data-counts="added"]')).to_have_text(re.compile("blue hat 27.*ribbon 27"))
    shown = shown_after(page)
    assert len(shown) == 24
    tab.press("next-changes")
    expect(page.locator(".lora_train_pager")).to_contain_text("25–27 of 27")
    expect(page.locator(DIFF)).to_have_count(3)
    shown |= shown_after(page)

    # Meanwhile another page edits one of them: what was shown is not what would be written any more.
    rest = served.rest()
    [first] = (one for one in rest.get(f"projects/{project}/pictures")["pictures"] if one["name"] == "p00.png")
    body = {"text": "quillon, red hat, changed", "version": first["version"]}
    rest.put(f"projects/{project}/pictures/{first['id']}/caption", body)
    tab.allowed.append("409")
    press.click()
    expect(page.locator("dialog .lora_train_message.lora_train_error:visible")).to_be_visible()
    assert on_disk(served, project)["p01"] == captions["p01"]
    expect(page.locator(DIFF).first).to_contain_text("changed")  # it has been looked at again
    shown |= shown_after(page)
    applies(page, 27).click()
    expect(page.locator(".lora_train_message", has_text="27 captions were changed.")).to_be_visible()
    written = on_disk(served, project)
    assert {name: tags_of(after) for name, after in shown.items()} == {name: tags_of(written[name]) for name in shown}
    assert len(shown) == 27 and written["other"] == "red hat, x"
    assert written["p05"] == "quillon, blue hat, ribbon, pose 5"
    undone(page, served, project, {**captions, "p00": "quillon, red hat, changed"})


def test_implied_duplicates_are_asked(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    captions = {"a": "very long hair, long hair, hair, smile", "b": "hair, long hair, hat, black hat"}
    project = make("Implied", captions)
    page = opened(open_tab(served), project, "edit-captions")
    page.locator('dialog .lora_train_chip[data-kind="dedupe"]').click()
    expect(page.locator("[data-note='changes']")).to_have_text("No caption would change.")
    fill(page, {"implied": True})
    applies(page, 2)
    asked = page.locator(".lora_train_asked input")
    expect(page.locator(".lora_train_asked")).to_contain_text("said by “black hat” in 1 caption")
    assert sorted(asked.evaluate_all("all => all.map((one) => one.value)")) == ["hair", "hat", "long hair"]
    page.locator('.lora_train_asked input[value="hat"]').uncheck()
    page.locator('.lora_train_asked input[value="long hair"]').uncheck()
    expect(page.locator('[data-counts="removed"]')).to_have_text("hair 2")
    expect(page.locator('.lora_train_asked input[value="hat"]')).not_to_be_checked()
    applies(page, 2).click()
    expect(page.locator(".lora_train_message", has_text="2 captions were changed.")).to_be_visible()
    assert on_disk(served, project) == {"a": "very long hair, long hair, smile", "b": "long hair, hat, black hat"}


def test_completion(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    """By keyboard, and in Chinese: what is typed stands for the tag."""
    project = make("Completed", {"a": "quillon, smile"})
    tab = open_tab(served, locale="zh-CN")
    page = opened(tab, project, "edit-captions")
    page.locator('dialog .lora_train_chip[data-kind="add"]').click()
    field = page.locator('dialog [data-field="tags"]')
    suggestions = page.locator("dialog .lora_train_suggestions:visible [role='option']")
    field.press_sequentially("pink h")
    expect(suggestions.first).to_have_attribute("data-tag", "pink hair")
    expect(suggestions.first).to_contain_text("粉")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("pink hair, ")
    page.keyboard.insert_text("微笑")
    expect(suggestions.first).to_have_attribute("data-tag", "smile")
    field.press("Enter")
    expect(field).to_have_value("pink hair, smile, ")
    expect(page.locator(".lora_train_suggestions:visible")).to_have_count(0)
    expect(page.locator(DIFF)).to_contain_text("pink hair")
    expect(page.locator(DIFF)).not_to_contain_text("微笑")  # what is typed now is shown, and no earlier answer
    page.locator('[data-action="edit-apply"]').click()
    expect(page.locator(".lora_train_message", has_text="已修改 1 条标注")).to_be_visible()
    assert on_disk(served, project) == {"a": "quillon, smile, pink hair"}


def test_the_trigger_word(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    captions = {"a": "1girl, quillon, smile", "b": "smile", "c": "quillon, hat"}
    project = make("Trigger", captions)
    tab = open_tab(served)
    page = opened(tab, project, "trigger-word")
    field, facts = page.locator('dialog input[name="trigger"]'), page.locator('[data-note="trigger-word"]')
    expect(field).to_have_value("quillon")
    expect(facts).to_contain_text("missing in 1 caption · not first in 1 caption")
    field.fill("smile")
    expect(page.locator("dialog .lora_train_warnings")).to_contain_text("known tag")
    field.fill("zorblax")
    expect(facts).to_contain_text("missing in 3 captions")
    expect(page.locator("dialog .lora_train_warnings")).not_to_contain_text("known tag")
    tab.action("trigger-apply").click()
    expect(page.locator(".lora_train_message", has_text="“zorblax” is the trigger word")).to_be_visible()
    assert on_disk(served, project) == {"a": "zorblax, 1girl, smile", "b": "zorblax, smile", "c": "zorblax, hat"}
    trigger = lambda: served.rest().get("projects")["projects"][0]["trigger_word"]  # noqa: E731
    assert trigger() == "zorblax"
    expect(facts).to_contain_text("in every caption")
    expect(tab.action("trigger-apply")).to_be_disabled()
    undone(page, served, project, captions)
    expect(facts).to_contain_text("missing in 1 caption")
    assert trigger() == "quillon"


def test_what_to_bind(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    """Overruled by one press, applied as one step that can be undone; the sentence says what holds at the moment."""
    faces = ("smile", "frown", "open mouth", "closed eyes", "smile", "frown")
    captions = {
        f"c{number}": f"quillon, 1girl, green hair, {'hat, ' if number == 3 else ''}red eyes, {face}, masterpiece"
        for number, face in enumerate(faces)
    }
    project = make("Binding", captions)
    tab = open_tab(served)
    page = opened(tab, project, "binding")
    summary = page.locator('[data-note="summary"]')
    cards = lambda decision: page.locator(  # noqa: E731
        f'.lora_train_bind_column[data-decision="{decision}"] .lora_train_bind_card'
    ).evaluate_all("all => all.map((one) => one.dataset.tag)")
    expect(summary).to_contain_text("green hair")
    assert {"green hair", "red eyes"} <= set(cards("bind")) and {"smile", "frown"} <= set(cards("keep"))
    assert cards("fix") == ["masterpiece"]
    eyes = page.locator('.lora_train_bind_card[data-tag="red eyes"]')
    eyes.locator('[data-action="decide-keep"]').click()
    expect(summary).not_to_contain_text("red eyes")
    hat = page.locator('.lora_train_bind_card[data-tag="hat"]')
    hat.locator('[data-action="decide-bind"]').click()
    expect(summary).to_contain_text("hat")
    page.keyboard.press("Escape")
    tab.press("binding")  # what was decided is kept
    expect(hat).to_contain_text("your choice")
    expect(page.locator('.lora_train_bind_column[data-decision="keep"]')).to_contain_text("red eyes")
    tab.press("binding-apply")
    expect(page.locator(".lora_train_message", has_text="The traits are bound; 6 captions changed.")).to_be_visible()
    wanted = {f"c{number}": f"quillon, 1girl, red eyes, {face}" for number, face in enumerate(faces)}
    assert on_disk(served, project) == wanted
    expect(page.locator('.lora_train_bind_card[data-tag="green hair"]')).to_have_count(0)
    undone(page, served, project, captions)
    expect(page.locator('.lora_train_bind_card[data-tag="green hair"]')).to_have_count(1)
    tab.press("binding-reset")
    expect(summary).to_contain_text("red eyes")
    expect(page.locator(".lora_train_overruled")).to_have_count(0)


def test_kohya_metadata_in_and_out(
    served: Server, open_tab: Callable[..., Tab], make: Callable[..., str], tmp_path: Path
) -> None:
    captions = {"a": "quillon, smile", "b": "quillon, hat", "c": "quillon"}
    project = make("Exchange", captions)
    tab = open_tab(served)
    page = opened(tab, project, "exchange")
    with page.expect_download() as download:
        tab.press("export-tags")
    exported = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert sorted(entry.get("tags") or entry.get("caption") for entry in exported.values()) == sorted(captions.values())

    metadata = {"x/a.png": {"tags": "quillon, grin"}, "b": {"caption": "quillon, cap"}, HOSTILE[0]: {"tags": "lost"}}
    path = tmp_path / "meta_cap.json"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    page.locator('dialog input[name="import"]').set_input_files(path)
    press = tab.action("import-apply")
    expect(press).to_have_text("Apply to 2 pictures")
    expect(page.locator("dialog")).to_contain_text("1 name fits no picture")
    page.locator("dialog summary").last.click()
    expect(page.locator("dialog .lora_train_problems")).to_have_text(HOSTILE[0])
    shown = {name: tags_of(after) for name, after in shown_after(page).items()}
    assert shown == {"a": ["quillon", "grin"], "b": ["quillon", "cap"]}
    assert on_disk(served, project) == captions
    press.click()
    expect(page.locator(".lora_train_message", has_text="2 captions were imported.")).to_be_visible()
    assert on_disk(served, project) == {"a": "quillon, grin", "b": "quillon, cap", "c": "quillon"}
    undone(page, served, project, captions)

    path.write_text("{", encoding="utf-8")
    tab.allowed.append("400")
    page.locator('dialog input[name="import"]').set_input_files(path)
    expect(page.locator("dialog .lora_train_exchange .lora_train_error:visible")).to_be_visible()
    expect(press).to_have_count(0)


def test_sentences_and_back(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    captions = {"a": "quillon, smile", "b": "quillon, a hat"}
    project = make("Forms", captions)
    tab = open_tab(served)
    page = opened(tab, project, "exchange")
    choose = lambda form: page.locator(f'dialog label:has(input[value="{form}"])').click()  # noqa: E731
    choose("sentences")
    expect(page.locator(".lora_train_messages > :first-child")).to_contain_text("The captions are sentences now.")
    assert on_disk(served, project) == captions  # there were none yet
    rest = served.rest()
    [picture] = (one for one in rest.get(f"projects/{project}/pictures")["pictures"] if one["name"] == "a.png")
    sentence = "quillon smiles at you, and nobody knows why."
    body = {"picture": picture["id"], "text": sentence, "version": picture["version"]}
    rest.put(f"projects/{project}/tags/caption", body)
    choose("tags")
    expect(page.locator(".lora_train_messages > :first-child")).to_contain_text("The captions are tags now.")
    assert on_disk(served, project) == captions
    choose("sentences")
    expect(page.locator(".lora_train_messages > :first-child")).to_contain_text("The captions are sentences now.")
    assert on_disk(served, project) == {"a": sentence, "b": "quillon, a hat"}


def test_hostile_captions_are_text(served: Server, open_tab: Callable[..., Tab], make: Callable[..., str]) -> None:
    """In the difference, its counts, the completion, the binding; none of it runs (a dialog would be a problem)."""
    project = make("Hostile", {f"h{number}": f"quillon, {words}, hair" for number, words in enumerate(HOSTILE)})
    tab = open_tab(served)
    page = opened(tab, project, "edit-captions")
    page.locator('dialog .lora_train_chip[data-kind="replace"]').click()
    fill(page, {"find": "hair", "replace": HOSTILE[0]})
    applies(page, 5)
    text = page.locator(".lora_train_diff_list").inner_text()
    assert all(words in text for words in HOSTILE)
    page.locator('[data-action="edit-apply"]').click()
    expect(page.locator(".lora_train_message", has_text="captions were changed.")).to_be_visible()
    assert HOSTILE[0] in on_disk(served, project)["h4"]
    page.locator('dialog [data-field="find"]').press_sequentially("<img")
    page.locator('dialog .lora_train_chip[data-kind="remove"]').click()
    page.locator('dialog [data-field="tags"]').press_sequentially("<img")
    expect(page.locator(".lora_train_suggestions:visible [role='option']").first).to_contain_text(HOSTILE[0])
    assert page.locator("dialog .lora_train_edits img:not([src*='thumbnail'])").count() == 0
