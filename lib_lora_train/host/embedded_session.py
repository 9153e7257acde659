"""The embedded host's lock, held: what is done with its model goes through here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, Generated, GenerateRequest
from lib_lora_train.host.drawing import Kept, draw
from lib_lora_train.host.embedded_model import EmbeddedModel
from lib_lora_train.host.guard import guarded
from lib_lora_train.host.loading import PREDICTIONS, LoadedModel
from lib_lora_train.host.recompute import Recomputation
from lib_lora_train.host.tokens import CHUNK
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped

if TYPE_CHECKING:
    from lib_lora_train.host.embedded import EmbeddedHost


class EmbeddedSession:
    """Implements `host.base.Session`."""

    def __init__(self, host: EmbeddedHost, commands: Commands, events: EventSink) -> None:
        self._host = host
        self._commands = commands
        self._events = events
        self._open = True
        self._borrowed: EmbeddedModel | None = None
        self._on: tuple[Path, Path, float] | None = None
        self.switches = 0

    def close(self) -> None:
        self._open, self._host.kept = False, Kept()

    @contextmanager
    def borrow(self, request: BorrowRequest) -> Iterator[EmbeddedModel]:
        """The model, exactly as it was again afterwards, on every exit path.

        The first `checkpointed_blocks` of `blocks()` are computed again in the backward pass. When the model is not
        as it was, it is forgotten and UserError("guard.changed") is raised, unless another error is on its way.
        """
        self._check_open()
        if self._borrowed is not None:
            raise RuntimeError("the model is borrowed already")
        loaded = self._host.load(request.checkpoint, request.dtype, self._events)
        model = EmbeddedModel(loaded, _prediction(request, loaded), request.clip_skip, _token_limit(request))
        model.check_clip_skip(request.clip_skip)
        guard = guarded(loaded.modules(), self._host.exact_guard, self._events, self._host.unload)
        self._borrowed, self._host.kept = model, Kept()
        try:
            # The caller may stand in no_grad; what is done with a borrowed model needs gradients.
            with guard, torch.enable_grad(), Recomputation(loaded.unet, model.blocks()) as recomputation:
                model.recomputation = recomputation
                model.recompute(request.checkpointed_blocks)
                yield model
        finally:
            self._borrowed = None

    def generate(self, requests: Sequence[GenerateRequest], network: AdapterNetwork | None = None) -> list[Generated]:
        """Pictures in the order of the requests; see `host.base.Session.generate`.

        Samplers are "DDIM" and "Euler", both deterministic (`host/sampling.py`). LoRA files are put on by hook at the
        request's weight, never merged.
        """
        self._check_open()
        if not requests:
            return []
        wanted = {request.checkpoint for request in requests}
        drawn: dict[int, Generated] = {}

        def tell(count: int, before: int) -> None:
            self._events(Stage("host.stage_drawing", before + count, len(requests)))

        for checkpoint in sorted(wanted):  # each checkpoint once, whatever the order of the requests
            members = [index for index, request in enumerate(requests) if request.checkpoint == checkpoint]
            model = self._model(checkpoint)
            pictures = draw(
                model,
                [requests[index] for index in members],
                partial(self._adapters, model),
                network,
                self._stop_if_told,
                partial(tell, before=len(drawn)),
                Kept() if self._borrowed is not None else self._host.kept,  # in training the next is another step's
            )
            drawn |= dict(zip(members, pictures, strict=True))
        return [drawn[index] for index in range(len(requests))]

    def _model(self, checkpoint: str) -> EmbeddedModel:
        borrowed = self._borrowed
        if borrowed is None:
            loaded = self._host.load(checkpoint, None, self._events)
            return EmbeddedModel(loaded, loaded.prediction)
        # Another checkpoint would be loaded under the trainer.
        if checkpoint and self._host.find(checkpoint) != borrowed.checkpoint.path:
            raise UserError("host.other_checkpoint", checkpoint, name=borrowed.checkpoint.name)
        return borrowed

    def _adapters(self, model: EmbeddedModel, path: Path, weight: float) -> AdapterNetwork:
        """Of a file that is to be put on at a weight."""
        wanted = model.checkpoint.path, path, weight
        self.switches += self._on != wanted
        self._on = wanted
        return self._host.adapters(path, model)

    def _stop_if_told(self) -> None:
        if self._commands.stopping:
            raise Stopped

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the session is over")


def _prediction(request: BorrowRequest, loaded: LoadedModel) -> str:
    if request.prediction == "auto":
        return loaded.prediction
    if request.prediction not in PREDICTIONS:
        raise UserError("host.prediction", "prediction", value=request.prediction)
    return request.prediction


def _token_limit(request: BorrowRequest) -> int:
    if request.max_token_length not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError("host.token_limit", "max_token_length", value=request.max_token_length)
    return request.max_token_length
