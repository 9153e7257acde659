"""The crop editor in Chromium, with the mouse and the keyboard: what is pulled is what is saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.javascript.preparing import HOSTILE, Preparing, close_preparation, crop, open_preparation

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

OPEN = """async () => {
    window.editor = new loraTrain.CropEditor(preparation);
    await editor.open(new loraTrain.SourcePages(), 0);
}"""


@pytest.fixture
def server() -> Preparing:
    return Preparing()


@pytest.fixture
def editor(page: Page, server: Preparing) -> Iterator[Page]:
    page.set_viewport_size({"width": 1280, "height": 900})
    open_preparation(page, server)
    page.evaluate(OPEN)
    yield page
    close_preparation(page, server)


def frame(page: Page, place: int = 0) -> Locator:
    return page.locator(f'.lora_train_frame[data-place="{place}"]')


def pull(page: Page, what: Locator, dx: float, dy: float) -> None:
    """Drags with the mouse; dx and dy in pixels of the original."""
    scale = page.evaluate("editor.scale")
    box = what.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx * scale / 2, y + dy * scale / 2)
    page.mouse.move(x + dx * scale, y + dy * scale)
    page.mouse.up()


def box_of(saved: dict[str, Any]) -> list[int]:
    return [round(saved[name]) for name in ("left", "top", "right", "bottom")]


def wait_for_saves(page: Page, server: Preparing, count: int) -> list[Any]:
    expect(page.locator('[data-note="crops"]')).to_have_text("Saved")
    for _ in range(100):
        if len(server.puts("crops")) >= count:
            break
        page.wait_for_timeout(20)
    return [body["crops"] for body in server.puts("crops")]


def test_dragging_moves(editor: Page, server: Preparing) -> None:
    pull(editor, frame(editor), 100, -50)
    (crops,) = wait_for_saves(editor, server, 1)
    assert box_of(crops[0]) == [400, 150, 600, 350]
    assert (crops[0]["width"], crops[0]["height"]) == (100, 100)
    assert "by" not in crops[0]
    pull(editor, frame(editor), 5000, 5000)  # no further than the picture
    assert box_of(wait_for_saves(editor, server, 2)[1][0]) == [600, 400, 800, 600]


def test_handles_keep_the_shape(editor: Page, server: Preparing) -> None:
    pull(editor, frame(editor).locator('[data-handle="se"]'), 100, 20)
    assert box_of(wait_for_saves(editor, server, 1)[0][0]) == [300, 200, 600, 500]
    pull(editor, frame(editor).locator('[data-handle="w"]'), 100, 0)
    assert box_of(wait_for_saves(editor, server, 2)[1][0]) == [400, 250, 600, 450]


def test_free_shape(editor: Page, server: Preparing) -> None:
    editor.locator('[data-action="free"]').check()
    pull(editor, frame(editor).locator('[data-handle="e"]'), 200, 0)
    (crops,) = wait_for_saves(editor, server, 1)
    assert box_of(crops[0]) == [300, 200, 700, 400]
    assert (crops[0]["width"], crops[0]["height"]) == (141, 71)  # the area of 100 x 100


def test_escape_takes_a_pull_back(editor: Page, server: Preparing) -> None:
    box = frame(editor).bounding_box()
    editor.mouse.move(box["x"] + 50, box["y"] + 50)
    editor.mouse.down()
    editor.mouse.move(box["x"] + 150, box["y"] + 90)
    editor.keyboard.press("Escape")
    editor.mouse.up()
    expect(editor.locator("dialog.lora_train_cropper")).to_be_visible()
    assert box_of(editor.evaluate("editor.crop")) == [300, 200, 500, 400]


def test_keyboard(editor: Page, server: Preparing) -> None:
    expect(frame(editor)).to_be_focused()
    editor.locator('[data-action="step"]').select_option("16")
    frame(editor).focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        editor.keyboard.press(key)
    expect(editor.locator('[data-note="crops"]')).to_have_text("Saved")
    for _ in range(100):
        if box_of(server.crops["s0"][0]) == [316, 232, 516, 432]:
            break
        editor.wait_for_timeout(20)
    assert len(server.puts("crops")) <= 3 and box_of(server.crops["s0"][0]) == [316, 232, 516, 432]
    editor.keyboard.press("Shift+ArrowRight")
    assert box_of(editor.evaluate("editor.crop")) == [316, 224, 532, 440]
    editor.keyboard.press("-")
    wide = editor.evaluate("editor.crop.right - editor.crop.left")
    assert wide == pytest.approx(216 / 1.05)
    editor.keyboard.press("m")
    expect(frame(editor)).to_have_attribute("aria-label", "Crop 1 of 1: 100 × 100 · mirrored, from 321, 229")


def test_several_crops(editor: Page, server: Preparing) -> None:
    editor.locator('[data-action="add-crop"]').click()
    crops = wait_for_saves(editor, server, 1)[0]
    assert [len(crops), box_of(crops[1])] == [2, [192, 92, 608, 508]]
    expect(frame(editor, 1)).to_be_focused()
    editor.keyboard.press("Shift+Tab")
    expect(frame(editor, 0)).to_be_focused()
    editor.keyboard.press("ArrowLeft")
    assert [box_of(one) for one in editor.evaluate("editor.crops")] == [[296, 200, 496, 400], [192, 92, 608, 508]]
    editor.keyboard.press("Delete")
    assert [box_of(one) for one in editor.evaluate("editor.crops")] == [[192, 92, 608, 508]]
    editor.keyboard.press("Delete")  # the last one stays
    expect(editor.locator(".lora_train_messages .lora_train_message")).to_contain_text("at least one crop")
    assert len(editor.evaluate("editor.crops")) == 1


def test_a_small_frame_below_a_large_one(editor: Page, server: Preparing) -> None:
    editor.locator('[data-action="add-crop"]').click()
    wait_for_saves(editor, server, 1)
    expect(frame(editor, 1)).to_be_focused()
    frame(editor, 1).click()  # its middle lies in the small one
    expect(frame(editor, 0)).to_be_focused()
    assert editor.evaluate("editor.active") == 0
    frame(editor, 1).click(position={"x": 20, "y": 20})
    assert editor.evaluate("editor.active") == 1
    assert len(server.puts("crops")) == 1  # a press alone moves nothing


def test_what_the_server_says_of_a_crop(page: Page, server: Preparing) -> None:
    note = "The face is <b>near</b> the edge."
    server.crops["s0"] = [{**crop(0, 0, 400, 300, 400, 300), "label": "<i>face", "notes": [note]}]
    open_preparation(page, server)
    page.evaluate(OPEN)
    line = page.locator(".lora_train_crop_list li")
    expect(line).to_contain_text("<i>face")
    expect(line).to_contain_text(note)
    page.keyboard.press("ArrowRight")
    expect(line).to_contain_text("by hand")
    expect(line).not_to_contain_text("near")
    close_preparation(page, server)


def test_enlargement_is_said(editor: Page, server: Preparing) -> None:
    expect(editor.locator(".lora_train_crop_list .lora_train_enlarged")).to_have_count(0)
    pull(editor, frame(editor).locator('[data-handle="nw"]'), 130, 130)
    expect(frame(editor)).to_contain_text("100 × 100 · enlarged 1.4 ×")
    expect(editor.locator(".lora_train_crop_list .lora_train_enlarged")).to_have_count(1)


def test_saved_on_the_way_to_the_next(editor: Page, server: Preparing) -> None:
    frame(editor).focus()
    editor.keyboard.press("ArrowRight")
    editor.keyboard.press("PageDown")
    expect(editor.locator(".lora_train_view_name")).to_contain_text("s1.png · 800 × 600 · 2 / 3")
    assert [path for method, path, _ in server.asked if method == "PUT"] == ["sources/s0/crops"]
    editor.keyboard.press("PageUp")
    expect(editor.locator(".lora_train_view_name")).to_contain_text(HOSTILE)
    assert box_of(editor.evaluate("editor.crop")) == [304, 200, 504, 400]
    assert editor.evaluate("window.harmed") is None


def test_it_is_saved_when_the_last_change_is(editor: Page, server: Preparing) -> None:
    editor.evaluate("""() => {
        const {api} = loraTrain;
        const real = api.put;
        let count = 0;
        window.answers = [];
        api.put = async (...asked) => {
            count += 1;
            if (count === 2) api.put = real;
            const answer = await real.apply(api, asked);
            await new Promise((go) => { window.answers.push(go); });
            return answer;
        };
    }""")
    note = editor.locator('[data-note="crops"]')
    frame(editor).focus()
    editor.keyboard.press("ArrowRight")
    editor.wait_for_function("window.answers.length === 1")
    editor.keyboard.press("ArrowDown")
    editor.evaluate("editor.save(); 0")
    editor.evaluate("window.answers[0](); 0")
    editor.wait_for_function("window.answers.length === 2")
    assert note.text_content() == "Saving…"
    editor.evaluate("window.answers[1](); 0")
    expect(note).to_have_text("Saved")
    assert box_of(server.crops["s0"][0]) == [304, 204, 504, 404]


def test_saved_on_leaving(editor: Page, server: Preparing) -> None:
    frame(editor).focus()
    editor.keyboard.press("ArrowDown")
    editor.keyboard.press("Escape")
    expect(editor.locator("dialog")).to_have_count(0)
    editor.wait_for_function("() => editor.note.textContent === 'Saved'")
    assert box_of(server.crops["s0"][0]) == [300, 204, 500, 404]


def test_a_refusal_keeps_the_picture(editor: Page, server: Preparing) -> None:
    server.failing.add("sources/s0/crops")
    pull(editor, frame(editor), 10, 0)
    expect(editor.locator('[data-note="crops"]')).to_have_text("That cannot be. Do it otherwise.")
    editor.keyboard.press("PageDown")
    editor.wait_for_timeout(300)
    expect(editor.locator(".lora_train_view_name")).to_contain_text("1 / 3")
    server.failing.clear()
    editor.keyboard.press("PageDown")
    expect(editor.locator(".lora_train_view_name")).to_contain_text("2 / 3")
    assert box_of(server.crops["s0"][0]) == [310, 200, 510, 400]


def test_back_to_the_proposal_and_for_all(editor: Page, server: Preparing) -> None:
    reset = editor.locator('[data-action="reset-crops"]')
    expect(reset).to_be_disabled()
    pull(editor, frame(editor), 100, 0)
    wait_for_saves(editor, server, 1)
    editor.locator('[data-action="crops-all"]').click()
    assert server.posts("crops/all") == []  # it asks first
    editor.locator('[data-action="crops-all"]').click()
    said = editor.locator("dialog .lora_train_messages .lora_train_message")
    expect(said).to_contain_text("All pictures have these crops now")
    assert server.posts("crops/all") == [{"source": "s0"}]
    reset.click()
    expect(reset).to_be_disabled()
    assert box_of(editor.evaluate("editor.crop")) == [300, 200, 500, 400]


def test_a_later_pull_is_not_overwritten(editor: Page, server: Preparing) -> None:
    """An answer that comes while the frame is moved again is of yesterday."""
    editor.evaluate("""() => {
        const real = loraTrain.api.put;
        loraTrain.api.put = async (...given) => {
            loraTrain.api.put = real;
            const answer = await real.apply(loraTrain.api, given);
            await new Promise((resolve) => { window.letGo = resolve; });
            return answer;
        };
    }""")
    pull(editor, frame(editor), 20, 0)
    editor.wait_for_function("() => window.letGo")
    editor.keyboard.press("ArrowRight")
    editor.evaluate("window.letGo()")
    crops = wait_for_saves(editor, server, 2)
    assert box_of(crops[1][0]) == [324, 200, 524, 400]
    assert box_of(editor.evaluate("editor.crop")) == [324, 200, 524, 400]


def test_thousands_in_the_grid(page: Page, server: Preparing) -> None:
    server.total = 2000
    server.crops["s1"] = [crop(0, 0, 400, 300, 512, 384), crop(400, 300, 800, 600, 512, 384)]
    open_preparation(page, server)
    page.evaluate("new loraTrain.CropSheet(preparation, new loraTrain.CropEditor(preparation)).open()")
    grid = page.locator(".lora_train_sources")
    expect(grid.locator('[data-place="1"] .lora_train_crop_mark')).to_have_count(2)
    expect(grid.locator('[data-place="1"]')).to_have_attribute("aria-label", "s1.png: 2 crops · by hand")
    assert 5 <= grid.locator(".lora_train_tile").count() <= 200
    grid.press("End")
    expect(grid.locator('[data-place="1999"]')).to_be_visible()
    assert len([path for _, path, _ in server.asked if path == "sources"]) <= 5
    grid.press("Enter")
    expect(page.locator(".lora_train_cropper .lora_train_view_name")).to_contain_text("2,000 / 2,000")
    page.keyboard.press("Escape")
    expect(grid).to_be_focused()
    close_preparation(page, server)
