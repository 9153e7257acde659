"""What differs between gradio 3.41.2 (the WebUI) and 4.44.1 (the page alone). No other file asks for the version.

The rest of the room keeps to what both have: constructor arguments that either does not know are an error in one of
them, updates are `gr.update`, and files and pictures never pass through gradio at all.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

Components = Sequence[gr.components.Component]
_IS_3 = gr.__version__.startswith("3.")


def js(code: str) -> dict[str, str]:
    """The argument of an event that carries JavaScript."""
    return {"_js" if _IS_3 else "js": code}


def listen(
    event: Callable[..., Any], function: Callable[..., Any] | None, inputs: Components = (), outputs: Components = ()
) -> Any:
    """Binds `function` to an event and returns what `.then` hangs on.

    Not through the queue: a handler returns at once, and must do so while the host draws pictures. Values arrive as
    the browser sent them, because gradio's own checks differ and speak English only; the handlers check them all.
    """
    return event(
        fn=function,
        inputs=list(inputs),
        outputs=list(outputs),
        queue=False,
        preprocess=False,
        show_progress="hidden",
        api_name=False,
    )


def listen_in_browser(event: Callable[..., Any], code: str, inputs: Components = ()) -> Any:
    """Binds a JavaScript function to an event; nothing is sent to the server."""
    return event(fn=None, inputs=list(inputs), outputs=None, queue=False, api_name=False, **js(code))


def login_of(app: Any, cookies: dict[str, str]) -> str:
    """The name under which the browser is logged in at gradio's own page; empty when it is not."""
    names = ("access-token", "access-token-unsecure")
    if not _IS_3:
        names = tuple(f"{name}-{app.cookie_id}" for name in names)
    return next((app.tokens[cookies[name]] for name in names if cookies.get(name) in app.tokens), "")


def keep_private(blocks: gr.Blocks, folder: Path) -> None:
    """gradio serves nothing of `folder` any more, also where it may serve what is around it."""
    blocks.blocked_paths = [*blocks.blocked_paths, str(folder)]


def launch(blocks: gr.Blocks, **options: Any) -> Any:
    """Starts gradio's server in a thread of its own, without its words in the console; returns the app."""
    extra = {} if _IS_3 else {"enable_monitoring": False}
    with contextlib.redirect_stdout(io.StringIO()):
        app, _, _ = blocks.launch(share=False, prevent_thread_lock=True, quiet=True, show_api=False, **extra, **options)
    return app
