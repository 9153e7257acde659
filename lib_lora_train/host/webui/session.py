"""The WebUI's generation lock, held: what is done with its model goes through here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, Generated, GenerateRequest, LoraCheck
from lib_lora_train.host.webui import checkpoints
from lib_lora_train.host.webui.adapters import fit_of
from lib_lora_train.host.webui.borrowing import Borrowing, borrowed
from lib_lora_train.host.webui.drawing import draw
from lib_lora_train.host.webui.model import WebuiModel
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.signals import Commands, EventSink, Stage

if TYPE_CHECKING:
    from lib_lora_train.host.webui.host import WebuiHost


class WebuiSession:
    """Implements `host.base.Session`."""

    def __init__(self, host: WebuiHost, commands: Commands, events: EventSink) -> None:
        self._host = host
        self._commands = commands
        self._events = events
        self._open = True
        self._loan: Borrowing | None = None

    def close(self) -> None:
        self._open = False

    @contextmanager
    def borrow(self, request: BorrowRequest) -> Iterator[WebuiModel]:
        """The model, exactly as it was again afterwards, on every exit path; see `borrowing.borrowed`."""
        self._check_open()
        if self._loan is not None:
            raise RuntimeError("the model is borrowed already")
        self._host.describe(request.checkpoint)  # refuses what cannot be trained on before it is loaded
        with borrowed(request, self._host.exact_guard, self._events) as loan:
            self._loan = loan
            try:
                yield loan.model
            finally:
                self._loan = None

    def generate(self, requests: Sequence[GenerateRequest], network: AdapterNetwork | None = None) -> list[Generated]:
        """Pictures in the order of the requests, drawn by the WebUI's own pipeline; see `host.base.Session.generate`.

        Those that somebody cancelled are left out.
        """
        self._check_open()
        groups: dict[str, list[GenerateRequest]] = defaultdict(list)
        for request in requests:
            groups[request.checkpoint].append(request)
        drawn: list[Generated] = []
        for checkpoint in sorted(groups):  # each checkpoint once, whatever the order of the requests
            drawn += self._draw(checkpoint, groups[checkpoint], network, len(drawn), len(requests))
        order = {id(request): index for index, request in reversed(list(enumerate(requests)))}
        return sorted(drawn, key=lambda each: order[id(each.request)])

    def check_lora(self, path: Path, checkpoint: str) -> LoraCheck:
        """See `host.base.Host.check_lora`."""
        self._check_open()
        with self._brought_up(checkpoint) as sd_model:
            return fit_of(sd_model, sd_model.sd_checkpoint_info.name_for_extra, path)

    def _draw(
        self,
        checkpoint: str,
        requests: Sequence[GenerateRequest],
        network: AdapterNetwork | None,
        before: int,
        total: int,
    ) -> list[Generated]:
        def tell(count: int) -> None:
            self._events(Stage("host.stage_drawing", before + count, total))

        with ExitStack() as steps:
            if self._loan is not None:
                self._check_same(checkpoint)
                sd_model = steps.enter_context(self._loan.lent())
            else:
                sd_model = steps.enter_context(self._brought_up(checkpoint))
            steps.enter_context(self._host.display.drawing())
            info = checkpoints.described(sd_model.sd_checkpoint_info)
            stop = partial(getattr, self._commands, "stopping")
            return draw(sd_model, info, requests, network, stop, tell, self._events)

    @contextmanager
    def _brought_up(self, checkpoint: str) -> Iterator[nn.Module]:
        entry = checkpoints.find(checkpoint) if checkpoint else None
        with checkpoints.brought_up(entry, self._events) as sd_model:
            if sd_model is None:
                raise UserError("webui.load_failed")
            with checkpoints.on_device(sd_model):
                yield sd_model

    def _check_same(self, checkpoint: str) -> None:
        """Another checkpoint would be loaded under the trainer."""
        loaded = self._loan.sd_model.sd_checkpoint_info
        if checkpoint and checkpoints.find(checkpoint).filename != loaded.filename:
            raise UserError("host.other_checkpoint", checkpoint, name=loaded.name_for_extra)

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the session is over")
