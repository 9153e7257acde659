"""What the WebUI calls us for.

The WebUI forgets all of them when its page is reloaded, and runs the extension's script again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from modules import initialize_util, patches, restart, shared

from lib_lora_train.host.webui.exposure import Reach, reach
from lib_lora_train.host.webui.pasting import keep_names
from lib_lora_train.host.webui.registering import call_for
from lib_lora_train.host.webui.send_to import register_send_to
from lib_lora_train.host.webui.settings_page import add_settings

TITLE, TAB_ID = "LoRA Train", "lora_train"


def register(build_tab: Callable[[], Any], mount: Callable[[Any, Any], None], end: Callable[[], None]) -> None:
    """For this start of the page.

    build_tab: makes the tab (gradio's Blocks).
    mount: gets the page, which is None when there is none, and the application, to add routes to.
    end: ends what is running, saved; called before the WebUI ends its process at once.
    """
    stop = restart.stop_program

    def stop_program() -> None:
        end()
        stop()

    patches.patch(__name__, restart, "stop_program", stop_program)
    call_for("script_unloaded", lambda: patches.undo(__name__, restart, "stop_program"))
    call_for("ui_settings", add_settings)
    call_for("ui_tabs", lambda: [(build_tab(), TITLE, TAB_ID)])
    call_for("app_started", mount)
    call_for("infotext_pasted", keep_names)
    register_send_to()


def server_reach() -> Reach:
    """How this WebUI is reached. Its names and passwords may stand in a file, which it reads at each start."""
    page_login = any(True for _ in initialize_util.get_gradio_auth_creds())
    return reach(shared.cmd_opts, page_login, os.environ)
