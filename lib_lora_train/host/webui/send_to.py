"""A button below the galleries of txt2img, img2img and Extras that sends their pictures to a project.

All it does happens in the browser (javascript/lora_train_send.js): the gallery's files are there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules.ui_components import ToolButton

from lib_lora_train.host.webui.registering import call_for

SYMBOL = "\U0001f3cb\ufe0f"  # 🏋️
TOOLTIP = "Send the pictures to LoRA Train, with their prompts as captions."
TABS = ("txt2img", "img2img", "extras")


def register_send_to() -> None:
    """For this start of the page."""
    call_for("after_component", _button_adder())


def _button_adder() -> Callable[..., None]:
    """What is called for each component of the page once it is made."""
    buttons: dict[str, ToolButton] = {}

    def after(component: Any, **given: Any) -> None:
        elem_id = given.get("elem_id") or ""
        for tab in TABS:
            if elem_id == f"{tab}_send_to_extras":  # the last of those that send a picture to another tab
                buttons[tab] = ToolButton(SYMBOL, elem_id=f"{tab}_send_to_lora_train", tooltip=TOOLTIP)
            # What is known about the pictures stands here, such as how many grids come before them.
            elif elem_id in (f"generation_info_{tab}", f"html_info_x_{tab}") and tab in buttons:
                buttons[tab].click(fn=None, inputs=[component], outputs=None, queue=False, _js=_send(tab))

    return after


def _send(tab: str) -> str:
    return f'(information) => {{ if (window.loraTrain) loraTrain.sendPictures("{tab}_gallery", information); }}'
