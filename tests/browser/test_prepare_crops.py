"""Crops in Chromium against the real server: what is pulled with the mouse is what a training will see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from lib_lora_train.collection.entries import list_pictures
from lib_lora_train.dataset.images import open_image
from lib_lora_train.prepare.cutting import cut
from lib_lora_train.prepare.frames import Crop
from lib_lora_train.project import Project, open_project
from tests.browser.preparing import SETTINGS, drag, new_project, opened, path, prepared, pressed_to_the_end
from tests.helpers.preparing import barred, photo
from tests.helpers.serving import Rest, Server
from tests.helpers.tab import Tab

SIDES = ("left", "top", "right", "bottom")


@pytest.fixture
def rest(served: Server) -> Rest:
    return served.rest()


@pytest.fixture
def project(rest: Rest) -> str:
    made = new_project(rest, "Crops", [barred(photo(seed)) for seed in range(3)], SETTINGS)
    prepared(rest, made, "check", "crop")
    return made


def source(rest: Rest, project: str, place: int = 0) -> Any:
    return rest.get(path(project, "sources"))["sources"][place]


def box(crop: dict[str, Any]) -> list[float]:
    return [crop[side] for side in SIDES]


def edit(tab: Tab, place: int = 0) -> Locator:
    """Opens the editor of a picture; the active frame."""
    tab.press("show-crop")
    tab.page.locator(f'.lora_train_sources [data-place="{place}"]').click()
    return tab.page.locator(".lora_train_frame.lora_train_active")


def drawn(frame: Locator) -> list[float]:
    """Where a frame is drawn, in px of the original."""
    picture, inner = frame.locator("xpath=../..").bounding_box(), frame.bounding_box()
    scale = 320 / picture["width"]
    left, top = (inner["x"] - picture["x"]) * scale, (inner["y"] - picture["y"]) * scale
    return [left, top, left + inner["width"] * scale, top + inner["height"] * scale]


def on_disk(served: Server, project: str) -> Project:
    return open_project(served.data / "projects", project)


def test_what_is_pulled_is_what_is_trained_on(
    served: Server, rest: Rest, project: str, open_tab: Callable[..., Tab]
) -> None:
    proposal = box(source(rest, project)["crops"][0])
    tab = opened(open_tab(served), project)
    frame = edit(tab)
    expect(tab.page.locator(".lora_train_view_name")).to_contain_text("001.png · 320 × 320 · 1 / 3")
    assert drawn(frame) == pytest.approx(proposal, abs=1.0)

    before = drawn(frame)
    drag(tab, frame.locator('[data-handle="se"]'), -60, -60)
    small = drawn(frame)
    assert small[:2] == pytest.approx(before[:2], abs=0.5) and small[2] < before[2] - 10
    assert small[2] - small[0] == pytest.approx(small[3] - small[1], abs=0.5)  # its shape stays
    drag(tab, frame, 40, 25)
    expect(tab.page.locator('[data-note="crops"]')).to_have_text("Saved")
    pulled = drawn(frame)
    assert pulled[0] > small[0] + 5 and pulled[1] > small[1] + 5
    saved = source(rest, project)
    assert saved["by_hand"] and box(saved["crops"][0]) == pytest.approx(pulled, abs=0.5)

    tab.reload()
    opened(tab, project)
    assert drawn(edit(tab)) == pytest.approx(pulled, abs=0.5)
    expect(tab.page.locator(".lora_train_crop_list")).to_contain_text("by hand")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("dialog")).to_have_count(0)

    assert not any(picture.width == 128 for picture in list_pictures(on_disk(served, project)))
    pressed_to_the_end(tab, "apply")
    expect(tab.page.locator(".lora_train_changes")).to_be_hidden()
    pictures = list_pictures(on_disk(served, project))
    assert [(one.width, one.height) for one in pictures] == [(128, 128)] * 3
    crop = Crop.of({name: saved["crops"][0][name] for name in (*SIDES, "width", "height", "mirror")})
    written = open_image(pictures[0].path, "001.png").image  # as the training opens it
    assert np.array_equal(np.asarray(written), np.asarray(cut(barred(photo(0)), crop)))
    proposed = Crop.of({**dict(zip(SIDES, proposal, strict=True)), "width": 128, "height": 128})
    assert not np.array_equal(np.asarray(written), np.asarray(cut(barred(photo(0)), proposed)))


def test_with_the_keyboard(served: Server, rest: Rest, project: str, open_tab: Callable[..., Tab]) -> None:
    start = box(source(rest, project)["crops"][0])
    tab = opened(open_tab(served), project)
    page = tab.page
    tab.action("show-crop").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".lora_train_sources")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    frame = page.locator(".lora_train_frame.lora_train_active")
    expect(frame).to_be_focused()
    page.keyboard.press("-")
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "m"):
        page.keyboard.press(key)
    page.keyboard.press("PageDown")
    expect(page.locator(".lora_train_view_name")).to_contain_text("002.png")
    moved = source(rest, project)["crops"][0]
    side = (start[2] - start[0]) / 1.05
    assert moved["mirror"] and moved["right"] - moved["left"] == pytest.approx(side, abs=0.1)
    middle = (start[1] + start[3]) / 2
    assert (moved["top"] + moved["bottom"]) / 2 == pytest.approx(middle + 4, abs=0.1)
    page.keyboard.press("PageUp")
    tab.press("reset-crops")
    expect(tab.action("reset-crops")).to_be_disabled()
    assert not source(rest, project)["by_hand"]
    page.keyboard.press("Escape")
    expect(page.locator(".lora_train_sources")).to_be_focused()
    page.keyboard.press("Escape")
    expect(tab.action("show-crop")).to_be_focused()


def test_the_same_for_all_and_buckets(served: Server, rest: Rest, project: str, open_tab: Callable[..., Tab]) -> None:
    tab = opened(open_tab(served), project)
    frame = edit(tab, 1)
    drag(tab, frame, -30, -30)
    expect(tab.page.locator('[data-note="crops"]')).to_have_text("Saved")
    tab.press("crops-all")
    tab.press("crops-all")
    expect(tab.page.locator("dialog .lora_train_messages")).to_contain_text("All pictures have these crops now")
    sources = rest.get(path(project, "sources"))["sources"]
    assert all(box(one["crops"][0]) == pytest.approx(box(sources[1]["crops"][0])) and one["by_hand"] for one in sources)
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    tab.press("buckets")
    expect(tab.page.locator('[data-bucket="128x128"]')).to_contain_text("3 pictures")


def test_a_picture_that_cannot_be_read(served: Server, rest: Rest, open_tab: Callable[..., Tab]) -> None:
    project = new_project(rest, "Broken", [photo(1), photo(2)], SETTINGS)
    victim = next(iter(sorted(on_disk(served, project).folder.rglob("001.png"))))
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) // 2])
    tab = opened(open_tab(served), project)
    tab.allowed.append(r"status of 4\d\d")  # there is nothing to be seen of it
    prepared(rest, project, "check", "crop")
    tab.press("show-crop")
    tile = tab.page.locator('.lora_train_sources [data-place="0"]')
    expect(tile).to_contain_text("001.png")
    tile.click()
    expect(tab.page.locator(".lora_train_cropper .lora_train_error")).to_contain_text("001.png")


def test_the_cut_is_right() -> None:
    """What the tests above compare with: pixels of the original, where nothing is resized."""
    image = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3))
    crop = Crop.of({"left": 3, "top": 5, "right": 19, "bottom": 21, "width": 16, "height": 16})
    assert np.array_equal(np.asarray(cut(image, crop)), np.asarray(image)[5:21, 3:19])
