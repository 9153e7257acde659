"""What a press of one of the WebUI's buttons does, without its page."""

from __future__ import annotations

from modules import shared


def interrupt() -> None:
    """The first press of Interrupt while more than one picture is to be drawn, as the option has it by default."""
    shared.state.stop_generating()
