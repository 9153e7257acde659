"""The extension as the WebUI runs it: one host, one registry of jobs and one studio for as long as the process lives.

"Reload UI" makes a new page and a new application, and runs the extension's script again; this module stays, and with
it a training that goes on meanwhile. Nothing of the WebUI is imported before it calls.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message

if TYPE_CHECKING:
    from lib_lora_train.host.webui.endings import Ending
    from lib_lora_train.studio import Studio

LOGGER = logging.getLogger("lib_lora_train.extension")


def register() -> None:
    """What the extension's script calls, at each start of the page."""
    from lib_lora_train.host.webui import callbacks

    callbacks.register(build_tab, mount, end_running)


@functools.cache
def studio() -> Studio:
    """The one studio. What stood in its way may be mended before it is asked for again. Raises UserError."""
    from lib_lora_train.host.webui import callbacks, settings_page
    from lib_lora_train.host.webui.host import WebuiHost
    from lib_lora_train.jobs import Registry
    from lib_lora_train.studio import Studio

    projects = settings_page.projects_folder()
    host = WebuiHost(projects, settings_page.exact_check())
    made = Studio(host, Registry(), projects, callbacks.server_reach().exposure)
    ending(made).install()
    return made


@functools.cache
def ending(made: Studio) -> Ending:
    """What waits for a running training before the process ends."""
    from lib_lora_train.host.webui.endings import Ending
    from lib_lora_train.host.webui.settings_page import language

    def running() -> bool:
        return made.registry.running() is not None

    def say() -> None:
        print(message("cli.stopping", language() or DEFAULT_LANGUAGE), flush=True)

    return Ending(running, made.close, say)


def end_running() -> None:
    """Ends a running training, saved, and waits for that."""
    if studio.cache_info().currsize:
        ending(studio()).end()


def build_tab() -> Any:
    """The tab; one that only says why it could not be built, when it could not."""
    from lib_lora_train.host.webui.settings_page import exact_check, language
    from lib_lora_train.ui import broken, tab

    def build() -> Any:
        made = studio()
        made.language, made.host.exact_guard = language(), exact_check()  # may have been set since
        return tab.build_tab(made)

    return broken.build_or_say(build, language())


def mount(page: Any, app: Any) -> None:
    """Adds the routes to the WebUI's application; `page` is None where there is none."""
    from lib_lora_train import api
    from lib_lora_train.host.webui.callbacks import server_reach
    from lib_lora_train.ui import compat

    try:
        made = studio()
    except UserError as error:  # said in the tab; without a page, only here
        LOGGER.error("LoRA Train: %s", error)
        return
    reached = server_reach()
    if page is not None:
        compat.keep_private(page, made.root)
    api.mount(
        app,
        made,
        session_user=None if page is None else lambda request: compat.login_of(app, request.cookies) or None,
        logins=reached.logins,
        hosts=reached.hosts,
    )
