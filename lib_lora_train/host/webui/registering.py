"""How a callback is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modules import script_callbacks

SCRIPT = Path(__file__).parents[3] / "scripts" / "lora_train.py"


def call_for(category: str, callback: Callable[..., Any]) -> None:
    """The WebUI calls `callback` for what it names `category`, until its page is reloaded.

    Its `on_...` functions do the same, but look for the caller's file in the sources of everything on the stack, which
    takes longer than all the rest of registering.
    """
    callbacks = script_callbacks.callback_map[f"callbacks_{category}"]
    script_callbacks.add_callback(callbacks, callback, category=category, filename=str(SCRIPT))
