"""The page alone: the tab in a page of its own, served by gradio, with the REST routes beside it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from lib_lora_train.studio import Studio
from lib_lora_train.ui import compat
from lib_lora_train.ui.shield import Shield
from lib_lora_train.ui.tab import build_tab

ASSETS = Path(__file__).parents[2]  # holds javascript/ and style.css
TITLE = "LoRA Train"
# Fonts that the machine has: gradio's own would be loaded from elsewhere.
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Consolas", "Liberation Mono", "monospace"]
# Only of the page alone: the WebUI has its own.
_CSS = "footer { display: none !important; }\n"


def build_page(studio: Studio, assets: Path = ASSETS) -> gr.Blocks:
    """The tab, rendered inside another page as the WebUI does it, and that page's scripts."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    style = assets / "style.css"
    css = _CSS + (style.read_text(encoding="utf-8") if style.is_file() else "")
    tab = build_tab(studio)
    with gr.Blocks(title=TITLE, css=css, theme=_theme(), analytics_enabled=False) as page:
        tab.render()
        compat.listen_in_browser(page.load, _load_scripts(assets))
    return page


def launch_page(
    page: gr.Blocks, address: str, port: int, logins: Mapping[str, str], hosts: Collection[str] | None, private: Path
) -> Any:
    """Serves the page in a thread of its own and returns the app.

    `hosts` are the names by which it may be called, `private` a folder of which nothing is served.
    Raises OSError when the port is taken.
    """
    return compat.launch(
        page,
        server_name=address,
        server_port=port,
        auth=_check(logins) if logins else None,
        auth_message=None,
        blocked_paths=[str(private.resolve())],
        show_error=False,
        app_kwargs={"middleware": [Middleware(Shield, hosts=hosts)]},
    )


def _theme() -> gr.themes.Base:
    return gr.themes.Default(font=_FONT, font_mono=_MONO)


def _load_scripts(assets: Path) -> str:
    """JavaScript that loads ours in the order of their names, from beside the page."""
    files = sorted((assets / "javascript").glob("lora_train_*.js"))
    names = [f"{path.name}?v={path.stat().st_mtime_ns:x}" for path in files]
    return (
        "() => {"
        f"for (const name of {json.dumps(names)}) {{"
        'const script = document.createElement("script");'
        'script.src = new URL("lora-train/v1/assets/" + name, document.baseURI).href;'
        "script.async = false;"  # in this order
        "document.head.append(script);"
        "} }"
    )


def _check(logins: Mapping[str, str]) -> Callable[[str, str], bool]:
    """Whether a name and password belong together, in a time that tells nothing about either."""
    known = {name: _digest(password) for name, password in logins.items()}

    def check(name: str, password: str) -> bool:
        return hmac.compare_digest(known.get(name, b" " * 32), _digest(password)) and name in known

    return check


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8")).digest()
