"""Noticing that somebody wants to take the model away in the middle of a run.

The WebUI's "unload" and "load" buttons and routes take no lock. Whoever calls them from another thread waits here until
the run, which ends at its next step, has put everything back; then they get what they asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from lib_lora_train.errors import UserError

_TAKE_AWAY = ("send_model_to_cpu", "send_model_to_trash")
_BRING = "send_model_to_device"


class ModelWatch:
    """While its `with` lasts the functions of `sd_models` that move models around serve this thread only."""

    def __init__(self, sd_models: ModuleType) -> None:
        self.model: Any = None  # the one that is borrowed, as soon as it is known
        self._sd_models = sd_models
        self._thread = threading.get_ident()
        self._asked = threading.Event()
        self._over = threading.Event()
        self._originals: dict[str, Callable[[Any], None]] = {}
        self._own: dict[str, Callable[[Any], None]] = {}

    def check(self) -> None:
        """Raises UserError("host.unloaded") when the model was, or is to be, taken away. Costs next to nothing."""
        if self._asked.is_set() or self._sd_models.model_data.sd_model is not self.model:
            raise UserError("host.unloaded")

    def __enter__(self) -> ModelWatch:
        for name in (*_TAKE_AWAY, _BRING):
            self._originals[name] = getattr(self._sd_models, name)
            self._own[name] = self._later(name) if name in _TAKE_AWAY else self._in_place(name)
            setattr(self._sd_models, name, self._own[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, own in self._own.items():
            # If another extension has put its own around ours since, ours stays below it and only passes on.
            if getattr(self._sd_models, name) is own:
                setattr(self._sd_models, name, self._originals[name])
        self._over.set()

    def _ours(self) -> bool:
        return self._over.is_set() or threading.get_ident() == self._thread

    def _later(self, name: str) -> Callable[[Any], None]:
        original = self._originals[name]

        def take_away(model: Any) -> None:
            if not self._ours():
                self._asked.set()
                self._over.wait()
                model = self._sd_models.model_data.sd_model  # what they meant may have been another object until now
            if model is not None:
                original(model)

        return take_away

    def _in_place(self, name: str) -> Callable[[Any], None]:
        original = self._originals[name]

        def bring(model: Any) -> None:
            if self._ours():
                original(model)  # else it is on the device, or as much of it as is needed

        return bring
