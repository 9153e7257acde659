"""The brush in Chromium: what is painted is in the PNG that is sent, and every stroke can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.javascript.preparing import Preparing, close_preparation, open_preparation

if TYPE_CHECKING:
    from playwright.sync_api import Page

OPEN = """async () => {
    window.brush = new loraTrain.BrushEditor(preparation);
    await brush.open(new loraTrain.SourcePages(), 0);
}"""


@pytest.fixture
def server() -> Preparing:
    return Preparing()


@pytest.fixture
def brush(page: Page, server: Preparing) -> Iterator[Page]:
    page.set_viewport_size({"width": 1280, "height": 900})
    open_preparation(page, server)
    page.evaluate(OPEN)
    page.evaluate("() => { brush.size.value = 40; brush.soft.value = 0; }")
    yield page
    page.evaluate("() => { brush.unsaved = false; }")
    close_preparation(page, server)


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A place of the mask, on the screen."""
    box = page.locator(".lora_train_brush_canvas").bounding_box()
    left, top, zoom = page.evaluate("[brush.x, brush.y, brush.zoom]")
    return box["x"] + left + x * zoom, box["y"] + top + y * zoom


def stroke(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=5)
    page.mouse.up()


def alpha(page: Page, *places: tuple[int, int]) -> list[int]:
    look = """places => places.map(([x, y]) => brush.mask.context.getImageData(x, y, 1, 1).data[3])"""
    return page.evaluate(look, list(places))


def saved(page: Page, server: Preparing) -> np.ndarray:
    page.locator('[data-action="save-mask"]').click()
    expect(page.locator('[data-note="mask"]')).to_have_text("Saved")
    return np.asarray(Image.open(BytesIO(server.masks["s0"])).convert("L"))


def test_a_stroke_is_saved_as_png(brush: Page, server: Preparing) -> None:
    stroke(brush, (200, 300), (600, 300))
    mask = saved(brush, server)
    assert mask.shape == (600, 800)
    assert mask[300, 200:600].max() == 0
    radius = int(20 / brush.evaluate("brush.least"))
    assert mask[300 - radius - 3, 400] == mask[300 + radius + 3, 400] == 255
    assert mask[300 - radius + 3, 400] == mask[300 + radius - 3, 400] == 0
    assert mask[300, 650] == 255
    method, _, body = next(one for one in server.asked if one[1] == "sources/s0/matte" and one[0] == "PUT")
    assert (method, body[:8]) == ("PUT", b"\x89PNG\r\n\x1a\n")


def test_adding_and_softness(brush: Page, server: Preparing) -> None:
    brush.keyboard.press("i")  # nothing is the subject
    assert alpha(brush, (400, 300)) == [0]
    brush.keyboard.press("x")
    brush.evaluate("() => { brush.soft.value = 100; }")
    brush.mouse.click(*at(brush, 400, 300))
    mask = saved(brush, server).astype(int)
    row = mask[300, 400 : 400 + int(20 / brush.evaluate("brush.least"))]
    assert row[0] > 240
    assert (np.diff(row) <= 0).all()
    assert 60 < row[len(row) // 2] < 200  # it fades towards its edge
    assert mask[100, 100] == 0


def test_strokes_are_taken_back(brush: Page) -> None:
    undo, redo = (brush.locator(f'[data-action="{name}"]') for name in ("undo-stroke", "redo-stroke"))
    expect(undo).to_be_disabled()
    first, second = (100, 100), (700, 500)
    for place in (first, second):
        brush.mouse.click(*at(brush, *place))
    brush.keyboard.press("i")
    assert alpha(brush, first, second, (400, 300)) == [255, 255, 0]
    brush.keyboard.press("Control+z")
    assert alpha(brush, first, second, (400, 300)) == [0, 0, 255]
    undo.click()
    assert alpha(brush, first, second) == [0, 255]
    brush.keyboard.press("Control+z")
    assert alpha(brush, first, second) == [255, 255]
    expect(undo).to_be_disabled()
    for _ in range(3):
        redo.click()
    assert alpha(brush, first, second, (400, 300)) == [255, 255, 0]
    expect(redo).to_be_disabled()


def test_zoom_is_around_the_pointer(brush: Page) -> None:
    x, y = at(brush, 200, 150)
    brush.mouse.move(x, y)
    brush.mouse.wheel(0, -600)
    brush.wait_for_function("brush.zoom > brush.least * 1.5")
    assert at(brush, 200, 150) == pytest.approx((x, y), abs=1)
    brush.mouse.click(x, y)
    assert alpha(brush, (200, 150)) == [0]
    brush.locator('[data-action="fit"]').click()
    assert brush.evaluate("brush.zoom === brush.least")


def test_without_a_mouse(brush: Page) -> None:
    brush.locator(".lora_train_brush_canvas").focus()
    brush.keyboard.press("Space")  # in the middle
    for _ in range(12):
        brush.keyboard.press("ArrowRight")
    brush.keyboard.press("Space")
    assert alpha(brush, (400, 300)) == [0]
    moved = brush.evaluate("brush.hand.toMask(brush.hand.spot)")
    assert moved[0] > 450
    assert alpha(brush, (round(moved[0]), round(moved[1]))) == [0]
    before = brush.evaluate("brush.size.value")
    brush.keyboard.press("]")
    assert brush.evaluate("brush.size.value") > before
    for view in ("over", "mask", "before", "result"):
        brush.locator(f'.lora_train_brush_view input[value="{view}"]').check(force=True)
        assert brush.evaluate("brush.view") == view


def test_saved_on_the_way_on(brush: Page, server: Preparing) -> None:
    brush.mouse.click(*at(brush, 100, 100))
    brush.keyboard.press("PageDown")
    expect(brush.locator(".lora_train_view_name")).to_contain_text("2 / 3")
    assert list(server.masks) == ["s0"]
    brush.keyboard.press("PageUp")
    expect(brush.locator(".lora_train_view_name")).to_contain_text("1 / 3")
    assert alpha(brush, (100, 100), (400, 300)) == [0, 255]  # as it was read again
    expect(brush.locator('[data-action="reset-mask"]')).to_be_enabled()
    brush.locator('[data-action="reset-mask"]').click()
    expect(brush.locator('[data-action="reset-mask"]')).to_be_disabled()
    assert alpha(brush, (100, 100)) == [255]
    assert server.masks == {}


def test_saved_on_leaving(brush: Page, server: Preparing) -> None:
    brush.mouse.click(*at(brush, 100, 100))
    brush.keyboard.press("Escape")
    brush.wait_for_function("() => !document.querySelector('dialog') && !brush.unsaved")
    for _ in range(100):
        if server.masks:
            break
        brush.wait_for_timeout(20)
    assert np.asarray(Image.open(BytesIO(server.masks["s0"])).convert("L"))[100, 100] == 0


def test_thousands_of_backgrounds(page: Page) -> None:
    server = Preparing(total=2000)
    open_preparation(page, server)
    page.evaluate("new loraTrain.MatteSheet(preparation, new loraTrain.BrushEditor(preparation)).open()")
    grid = page.locator(".lora_train_sources")
    expect(grid.locator('[data-place="1"] img[src*="preview"]')).to_be_visible()
    grid.press("End")
    expect(grid.locator('[data-place="1999"]')).to_be_visible()
    assert 5 <= grid.locator(".lora_train_tile").count() <= 100
    assert len([path for _, path, _ in server.asked if path == "sources"]) <= 5
    close_preparation(page, server)
