"""Send to LoRA Train in the WebUI: from each gallery into a project, whether our tab was ever opened or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import PngImagePlugin
from playwright.sync_api import Locator, Page, expect

from tests.helpers.pictures import encoded, gradient
from tests.helpers.webui import Webui
from tests.helpers.webui_tab import WebuiTab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TABS = ("txt2img", "img2img", "extras")
PROMPT = r"masterpiece, best quality, 1girl, (red hair:1.2), miku \(vocaloid\), <b>bold</b>, 8k"
CAPTION = "1girl, red hair, miku (vocaloid), <b>bold</b>"
NASTY = '"><img src=x onerror=alert(1)>'
SMALL = {"steps": 2, "width": 64, "height": 64}
_SET = """([selector, value]) => {
    const field = document.querySelector(selector);
    field.value = value;
    field.dispatchEvent(new Event("input", {bubbles: true}));
}"""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[Webui], WebuiTab]]:
    """The WebUI's page as it opens, on txt2img; our tab is not seen."""
    tabs: list[WebuiTab] = []

    def open_one(webui: Webui) -> WebuiTab:
        tabs.append(WebuiTab.new(browser, webui.address))
        tabs[-1].page.goto(webui.address)
        expect(tabs[-1].page.locator("#txt2img_generate")).to_be_visible(timeout=60_000)
        tabs[-1].page.wait_for_function("window.opts && Object.keys(opts).length > 0")
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()
    assert [list(tab.bad()) for tab in tabs] == [[] for _ in tabs]


@pytest.fixture
def options(webui: Webui) -> Iterator[Callable[..., None]]:
    """Sets the WebUI's options for one test."""
    before = webui.sdapi("options")
    changed: dict[str, Any] = {}

    def change(**values: Any) -> None:
        changed.update({name: before[name] for name in values})
        webui.set_options(**values)

    yield change
    webui.set_options(**changed)


def set_number(page: Page, name: str, value: int) -> None:
    page.evaluate(_SET, [f"#{name} input[type=number]", value])


def generate(page: Page, tab: str, count: int = 1) -> None:
    """Draws `count` pictures in a tab that is open."""
    page.locator(f"#{tab}_prompt textarea").fill(PROMPT)
    for name, value in {**SMALL, "batch_size": count}.items():
        set_number(page, f"{tab}_{name}", value)
    page.wait_for_timeout(200)
    page.locator(f"#{tab}_generate").click()
    expect(page.locator(f"#html_info_{tab}").first).to_contain_text("Steps: 2", timeout=60_000)


def press(page: Page, tab: str) -> Locator:
    page.locator(f"#{tab}_send_to_lora_train").click()
    dialog = page.locator("#lora_train_send dialog")
    expect(dialog).to_be_visible()
    return dialog


def send(page: Page, tab: str) -> Locator:
    """To a new project, which has no trigger word yet."""
    dialog = press(page, tab)
    dialog.locator('[name="project"]').select_option("New project")
    return dialog


def add(dialog: Locator, title: str, trigger: str = "zuna") -> None:
    dialog.locator('[name="title"]').fill(title)
    dialog.locator('[name="trigger_word"]').fill(trigger)
    dialog.locator('[name="title"]').click()
    words = dialog.locator("textarea").last
    if words.input_value():
        expect(words).to_have_value(f"{trigger}, {CAPTION}")
    dialog.locator('[data-action="send"]').click()


def pictures(webui: Webui, title: str) -> list[dict[str, Any]]:
    project = next(one for one in webui.rest.get("projects")["projects"] if one["title"] == title)
    return webui.rest.get(f"projects/{project['id']}/pictures")["pictures"]


def test_one_button_below_each_gallery(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui()
    for _ in range(2):
        shown = [one["props"].get("elem_id") for one in webui.ask("GET", "config")["components"]]
        assert [name for name in shown if name and name.endswith("_send_to_lora_train")] == [
            f"{tab}_send_to_lora_train" for tab in TABS
        ]
        webui.reload_ui()
    assert webui.complaints() == []


def test_from_txt2img_to_a_new_project(webui: Webui, open_page: Callable[[Webui], WebuiTab]) -> None:
    """Without its grid, which comes first; then the link opens our tab for the first time."""
    page = open_page(webui).page
    expect(press(page, "txt2img").get_by_role("alert")).to_have_text("There are no pictures here yet.")
    page.keyboard.press("Escape")
    expect(page.locator("#txt2img_send_to_lora_train")).to_be_focused()
    generate(page, "txt2img", 2)
    expect(page.locator("#txt2img_gallery .thumbnail-small")).to_have_count(3)
    dialog = send(page, "txt2img")
    expect(dialog.locator("textarea").nth(1)).to_have_value(CAPTION)
    add(dialog, NASTY)
    expect(dialog).to_contain_text("2 pictures added · 2 captions")
    shown = pictures(webui, NASTY)
    assert [(one["width"], one["height"], one["caption"]) for one in shown] == [(64, 64, f"zuna, {CAPTION}")] * 2
    dialog.locator('[data-action="show-project"]').click()
    expect(page.locator("#lora_train_root")).to_be_visible()
    expect(page.locator('select[data-action="project"] option:checked')).to_have_text(NASTY)
    expect(page.locator(".lora_train_tile")).to_have_count(2)
    assert webui.complaints() == []


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif"])
def test_the_selected_picture_of_each_kind(
    webui: Webui, open_page: Callable[[Webui], WebuiTab], options: Callable[..., None], kind: str
) -> None:
    options(samples_format=kind)
    page = open_page(webui).page
    generate(page, "txt2img", 2)
    page.locator("#txt2img_gallery .thumbnail-small").nth(2).click()
    dialog = send(page, "txt2img")
    expect(dialog.locator("textarea")).to_have_count(1)
    expect(dialog.locator("textarea")).to_have_value(CAPTION)
    title = f"One {kind} {time.time()}"
    add(dialog, title)
    expect(dialog).to_contain_text("1 picture added · 1 caption")
    [picture] = pictures(webui, title)
    assert Path(picture["name"]).suffix == f".{kind}" and picture["name"].startswith("0")
    assert picture["caption"] == f"zuna, {CAPTION}"


def test_pictures_that_are_not_saved(
    webui: Webui, open_page: Callable[[Webui], WebuiTab], options: Callable[..., None]
) -> None:
    """gradio keeps them in a temporary file, in which their text stands as well."""
    options(samples_save=False, grid_save=False)
    page = open_page(webui).page
    generate(page, "txt2img")
    dialog = send(page, "txt2img")
    expect(dialog.locator("textarea")).to_have_value(CAPTION)


def test_from_img2img_into_the_project_that_is_open(
    webui: Webui, project: str, open_page: Callable[[Webui], WebuiTab]
) -> None:
    tab = open_page(webui)
    page = tab.page
    tab.ready()
    tab.select_project(project)
    expect(page.locator(".lora_train_tile")).to_have_count(4)
    tab.show("img2img")
    picture = {"name": "x.png", "mimeType": "image/png", "buffer": encoded(gradient(), "PNG")}
    page.locator("#img2img_image input[type=file]").set_input_files(picture)
    expect(page.locator("#img2img_image img").first).to_be_visible()
    generate(page, "img2img")
    dialog = press(page, "img2img")
    expect(dialog.locator('[name="project"]')).to_have_value(project)
    expect(dialog.locator("textarea")).to_have_value(f"zuna, {CAPTION}")
    dialog.locator("textarea").fill(NASTY)
    dialog.locator('[data-action="send"]').click()
    expect(dialog).to_contain_text("1 picture added · 1 caption")
    dialog.locator('[data-action="show-project"]').click()
    expect(page.locator(".lora_train_tile")).to_have_count(5)
    expect(page.locator(".lora_train_tile_caption").get_by_text(NASTY, exact=True)).to_have_count(1)


@pytest.mark.parametrize("prompt", [PROMPT, ""])
def test_from_extras(webui: Webui, open_page: Callable[[Webui], WebuiTab], prompt: str) -> None:
    """What a picture was drawn with stays in it when it is enlarged; a photo has nothing."""
    text = PngImagePlugin.PngInfo()
    if prompt:
        text.add_text("parameters", f"{prompt}\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1")
    tab = open_page(webui)
    page = tab.page
    tab.show("Extras")
    picture = {"name": "x.png", "mimeType": "image/png", "buffer": encoded(gradient(), "PNG", pnginfo=text)}
    page.locator("#extras_image input[type=file]").set_input_files(picture)
    expect(page.locator("#extras_image img").first).to_be_visible()
    page.locator("#extras_generate").click()
    expect(page.locator("#extras_gallery .thumbnail-item").first).to_be_visible(timeout=60_000)
    dialog = send(page, "extras")
    expect(dialog.locator("textarea")).to_have_value(CAPTION if prompt else "")
    if not prompt:
        expect(dialog).to_contain_text("No prompt stands in this picture.")
    title = f"Extras {time.time()}"
    add(dialog, title)
    expect(dialog).to_contain_text("1 picture added")
    assert [one["caption"] for one in pictures(webui, title)] == [f"zuna, {CAPTION}" if prompt else ""]
