"""Around every handler of the page: who is calling, in which language, and what an error looks like.

A handler takes a visitor and the values of its inputs, and returns new values by component. What it raises becomes
one sentence in the page; of anything that is not the user's to mend the log has the trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any

import gradio as gr

from lib_lora_train.access import Visitor, pick_language
from lib_lora_train.errors import UserError
from lib_lora_train.origin import is_foreign
from lib_lora_train.studio import Studio
from lib_lora_train.ui.markup import problem

LOGGER = logging.getLogger("lib_lora_train.ui")

Answer = dict[Any, Any]
Handler = Callable[..., Answer]
_LONGEST_NAME = 32  # of a press


class Desk:
    """Where handlers get their visitor and leave what is to be said to them."""

    def __init__(self, studio: Studio, message: gr.HTML) -> None:
        self.studio = studio
        self.message = message

    def handled(self, handler: Handler) -> Callable[..., Answer]:
        """`handler(visitor, *values)` as gradio calls it. An answer that says nothing empties the message line."""
        return self._guarded(handler, self.message, {self.message: ""})

    def quiet(self, handler: Handler, place: gr.HTML) -> Callable[..., Answer]:
        """The same for what nobody pressed: an error is shown at `place`, and the message line stays as it is."""
        return self._guarded(handler, place, {place: gr.update()})

    @staticmethod
    def named(handle: Callable[..., Answer], answered: gr.Textbox) -> Callable[..., Answer]:
        """`handle` of one of the above with the press's name before its values, which is put into `answered`, also
        after an error: so the page knows what was answered."""

        def answer(request: gr.Request, press: object, *values: object) -> Answer:
            name = press if isinstance(press, str) and len(press) < _LONGEST_NAME else ""
            return {**handle(request, *values), answered: name}

        return answer

    def _guarded(self, handler: Handler, place: gr.HTML, otherwise: Answer) -> Callable[..., Answer]:
        def handle(request: gr.Request, *values: object) -> Answer:
            language = language_of(self.studio, request)
            guard, answer = Guard(), {}
            with guard:
                check_origin(request)
                answer = handler(Visitor(name=request.username or "", language=language), *values)
            if guard.error is not None:
                answer = {place: problem(guard.error, language)}
            return {**otherwise, **answer}

        return handle


def language_of(studio: Studio, request: gr.Request) -> str:
    """The visitor's language."""
    accepted = "" if request.request is None else request.request.headers.get("accept-language", "")
    return pick_language(studio.language, accepted)


def check_origin(request: gr.Request) -> None:
    """Raises UserError("ui.foreign") when the call does not come from a page of this server.

    gradio lets a caller write a request's headers into the body; such a call has no request of its own.
    """
    real = request.request
    if real is None or is_foreign(real.headers, real.url.scheme):
        raise UserError("ui.foreign")


class Guard:
    """Keeps the error that ended the block, as one that can be shown; `code` says what failed by a fault of ours."""

    def __init__(self, code: str = "ui.failed") -> None:
        self.error: UserError | None = None
        self._code = code

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, UserError):
            self.error = error
        elif isinstance(error, Exception):
            LOGGER.error("a part of the page failed", exc_info=(type(error), error, trace))
            self.error = UserError(self._code, kind=type(error).__name__)
        return error is None or isinstance(error, Exception)
