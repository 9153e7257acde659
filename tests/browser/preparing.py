"""The preparation in the page of a real server: projects of photographs or drawings, and waiting for its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image
from playwright.sync_api import Locator, expect

from tests.helpers.preparing import tools
from tests.helpers.serving import Rest, Server, png, wait_for
from tests.helpers.tab import LONG, Tab

#: Photographs of 320 x 320 px to be cut to 128 x 128.
SETTINGS: dict[str, dict[str, Any]] = {
    "check": {"size": 128},
    "crop": {"crop": "size", "width": 128, "height": 128},
    "tag": {"taggers": []},
}


def path(project: str, *parts: str) -> str:
    return "/".join(["projects", project, "prepare", *parts])


def own_tagger(server: Server) -> None:
    """The demo's tagger, where the server looks for taggers of its user's own."""
    tools(server.data / "models")


def new_project(
    rest: Rest, title: str, pictures: Sequence[Image], settings: dict[str, Any], kind: str = "object"
) -> str:
    project = rest.new_project(title, kind=kind)
    for number, image in enumerate(pictures, start=1):
        rest.add(project, f"{number:03d}.png", png(image))
    rest.put(path(project, "settings"), {"settings": settings})
    return project


def idle(rest: Rest, project: str) -> Any:
    """The overview, once nothing of it runs or waits."""
    return wait_for(lambda: rest.get(path(project)), lambda shown: shown["job"] is None, 120)


def prepared(rest: Rest, project: str, *steps: str) -> Any:
    rest.post(path(project, "start"), {"steps": list(steps), "apply": False, "train": None})
    shown = idle(rest, project)
    assert shown["last"]["state"] == "done" and shown["last"]["error"] is None, shown["last"]
    return shown


def opened(tab: Tab, project: str) -> Tab:
    tab.select_project(project)
    expect(card(tab)).to_be_visible()
    return tab


def card(tab: Tab) -> Locator:
    return tab.page.locator(".lora_train_prepare")


def pressed_to_the_end(tab: Tab, name: str) -> None:
    """Presses a button that starts a job, and waits until the page has seen its end."""
    tab.press(name)
    busy = tab.page.locator(f'[data-action="{name}"][aria-busy="true"]:visible')
    expect(busy).to_have_count(0, timeout=LONG)  # the button itself may be gone: nothing is left to apply
    expect(card(tab)).to_have_attribute("aria-busy", "false", timeout=LONG)


def drag(tab: Tab, what: Locator, dx: float, dy: float) -> None:
    """With the mouse, in px of the screen, from the middle of something."""
    what.scroll_into_view_if_needed()
    box = what.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse = tab.page.mouse
    mouse.move(x, y)
    mouse.down()
    for part in (0.2, 0.6, 1.0):
        mouse.move(x + dx * part, y + dy * part)
    mouse.up()
