"""Masks that are painted and captions that follow a slider, against the real server."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from demo.character import TRIGGER
from tests.browser.preparing import SETTINGS, idle, new_project, opened, own_tagger, path, prepared, pressed_to_the_end
from tests.helpers.preparing import drawings, photo
from tests.helpers.serving import Rest, Server
from tests.helpers.tab import Tab


@pytest.fixture(scope="module")
def tagging(serve: Callable[..., Server]) -> Server:
    """A server of its own: with a tagger, "Prepare first" would write captions in everybody's tests."""
    server = serve()
    own_tagger(server)
    return server


def source(rest: Rest, project: str) -> Any:
    return rest.get(path(project, "sources"))["sources"][0]


def pixels(rest: Rest, project: str, what: str) -> np.ndarray:
    data = rest.get(path(project, "sources", source(rest, project)["id"], what))
    return np.asarray(Image.open(BytesIO(data)).convert("L"))


def test_the_brush(served: Server, open_tab: Callable[..., Tab]) -> None:
    rest = served.rest()
    settings = {**SETTINGS, "crop": {"crop": "none"}, "matte": {"background": "white", "matte": "grabcut"}}
    project = new_project(rest, "Brush", [photo(1), photo(2)], settings)
    prepared(rest, project, "matte")
    by_model = pixels(rest, project, "matte")
    tab = opened(open_tab(served), project)
    page = tab.page
    expect(page.locator('[data-step="matte"]')).to_contain_text("2 of 2 cut out · GrabCut")
    tab.press("show-matte")
    page.locator('.lora_train_sources [data-place="0"]').click()
    canvas = page.locator(".lora_train_brush_canvas")
    expect(canvas).to_be_focused()
    expect(tab.action("save-mask")).to_be_disabled()

    stage = canvas.bounding_box()
    scale = min(stage["width"] / 320, stage["height"] / 240)  # of the picture, in the middle of the stage
    left = stage["x"] + (stage["width"] - 320 * scale) / 2
    top = stage["y"] + (stage["height"] - 240 * scale) / 2
    page.locator('.lora_train_brush_view input[type="radio"][value="add"]').dispatch_event("click")
    page.mouse.move(left + 40 * scale, top + 200 * scale)
    page.mouse.down()
    page.mouse.move(left + 160 * scale, top + 200 * scale, steps=5)
    page.mouse.up()
    tab.press("save-mask")
    expect(page.locator('[data-note="mask"]')).to_have_text("Saved")
    by_hand = pixels(rest, project, "matte")
    assert (by_hand[200, 45:155] > 200).all() and not (by_model[200, 45:155] > 200).all()
    assert np.array_equal(by_hand[:100], by_model[:100])  # only what was painted over
    assert source(rest, project)["matte"]["state"] == "hand"
    original = np.asarray(photo(1).convert("L"))
    assert np.abs(pixels(rest, project, "preview")[200, 60:140].astype(int) - original[200, 60:140]).mean() < 12

    page.keyboard.press("Control+z")
    page.keyboard.press("PageDown")  # saves on its way
    expect(page.locator(".lora_train_view_name")).to_contain_text("002.png")
    assert np.abs(pixels(rest, project, "matte").astype(int) - by_model).max() <= 1
    page.keyboard.press("PageUp")
    tab.press("reset-mask")
    expect(tab.action("reset-mask")).to_be_disabled()
    assert source(rest, project)["matte"]["state"] == "model"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    pressed_to_the_end(tab, "apply")
    expect(page.locator(".lora_train_changes")).to_be_hidden()


def test_captions_follow_the_slider(tagging: Server, open_tab: Callable[..., Tab]) -> None:
    rest = tagging.rest()
    settings = {**SETTINGS, "crop": {"crop": "none"}, "tag": {"taggers": ["demo-tagger"]}}
    project = new_project(rest, "Tags", drawings(4), settings, "character")
    tab = opened(open_tab(tagging), project)
    page = tab.page
    pressed_to_the_end(tab, "prepare")
    expect(page.locator('[data-step="tag"]')).to_contain_text("4 of 4 tagged")
    tab.press("show-tag")
    captions = page.locator(".lora_train_tag_captions li")
    expect(captions).to_have_count(4)
    expect(captions.first).to_contain_text(TRIGGER)
    tags = page.locator(".lora_train_tag_counts li")
    expect(tags.first).to_contain_text("4")
    few = tags.count()
    slider = page.locator('[data-setting="tag.threshold"]')
    slider.focus()
    slider.press("Home")  # as unsure as it may be
    expect(tags.nth(few)).to_be_visible()
    assert rest.get(f"projects/{project}/pictures")["pictures"][0]["caption"] == ""

    page.locator('.lora_train_tag_counts li[data-tag="1girl"]').hover()
    page.locator('.lora_train_tag_counts li[data-tag="1girl"] [data-action="tag-out"]').click()
    expect(page.locator('.lora_train_tag_counts li[data-tag="1girl"]')).to_have_count(0)
    expect(captions.first).not_to_contain_text("1girl")
    shown = captions.first.locator("p").last.inner_text()
    page.keyboard.press("Escape")  # what was seen is what will be written, without another look at the pictures
    pressed_to_the_end(tab, "apply")
    assert idle(rest, project)["changes"]["captions"] == 0
    assert rest.get(f"projects/{project}/pictures")["pictures"][0]["caption"] == shown


def test_a_crop_that_came_after_the_tags(tagging: Server, open_tab: Callable[..., Tab]) -> None:
    """What is applied has captions of what is in it now."""
    rest = tagging.rest()
    settings = {**SETTINGS, "tag": {"taggers": ["demo-tagger"]}}
    project = new_project(rest, "Later", drawings(3), settings, "character")
    prepared(rest, project, "crop", "tag")
    tab = opened(open_tab(tagging), project)
    tab.press("show-crop")
    tab.page.locator('.lora_train_sources [data-place="0"]').click()
    tab.page.keyboard.press("-")
    expect(tab.page.locator('[data-note="crops"]')).to_have_text("Saved")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator('[data-step="tag"]')).to_contain_text("2 of 3 tagged · out of date")
    pressed_to_the_end(tab, "apply")
    shown = rest.get(f"projects/{project}/pictures")["pictures"]
    assert all(one["caption"].startswith(TRIGGER) for one in shown)
