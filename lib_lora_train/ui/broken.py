"""The tab that could not be built says why: the WebUI would leave it away and tell the console only."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from lib_lora_train.access import pick_language
from lib_lora_train.ui.handlers import Guard
from lib_lora_train.ui.markup import problem


def build_or_say(build: Callable[[], gr.Blocks], language: str) -> gr.Blocks:
    """What `build` makes, or a tab with one sentence. `language` is the host's setting."""
    guard = Guard("ui.tab_failed")
    with guard:
        return build()
    with gr.Blocks(analytics_enabled=False) as tab, gr.Column(elem_id="lora_train_broken"):
        gr.HTML(problem(guard.error, pick_language(language, "")))
    return tab
