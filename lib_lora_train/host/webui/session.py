"""The WebUI's generation lock, held: what is done with its model goes through here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowRequest, Generated, GenerateRequest, LoraCheck
from lib_lora_train.host.webui import checkpoints
from lib_lora_train.host.webui.adapters import fit_of
from lib_lora_train.host.webui.borrowing import Borrowing, borrowed
from lib_lora_train.host.webui.drawing import Ready, draw, ready_for
from lib_lora_train.host.webui.model import WebuiModel
from lib_lora_train.host.webui.settings_page import grid_batch
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.signals import Commands, EventSink, Stage

if TYPE_CHECKING:
    from lib_lora_train.host.webui.host import WebuiHost


@dataclass(frozen=True)
class _Up:
    """A checkpoint that pictures are drawn with, and what is kept from one to the next."""

    checkpoint: str
    sd_model: nn.Module
    ready: Ready
    steps: ExitStack


class WebuiSession:
    """Implements `host.base.Session`."""

    def __init__(self, host: WebuiHost, commands: Commands, events: EventSink) -> None:
        self._host = host
        self._commands = commands
        self._events = events
        self._open = True
        self._loan: Borrowing | None = None
        self._up: _Up | None = None
        self._ended_switches = 0

    @property
    def switches(self) -> int:
        """See `host.base.Session.switches`."""
        return self._ended_switches + (self._up.ready.adapters.switches if self._up is not None else 0)

    def close(self) -> None:
        """Takes off what pictures have left merged, and brings the user's own checkpoint up again."""
        self._open = False
        self._leave()

    @contextmanager
    def borrow(self, request: BorrowRequest) -> Iterator[WebuiModel]:
        """The model, exactly as it was again afterwards, on every exit path; see `borrowing.borrowed`."""
        self._check_open()
        if self._loan is not None:
            raise RuntimeError("the model is borrowed already")
        self._leave()
        self._host.describe(request.checkpoint)  # refuses what cannot be trained on before it is loaded
        with borrowed(request, self._host.exact_guard, self._events) as loan:
            self._loan = loan
            try:
                yield loan.model
            finally:
                self._loan = None

    def generate(self, requests: Sequence[GenerateRequest], network: AdapterNetwork | None = None) -> list[Generated]:
        """Pictures in the order of the requests, drawn by the WebUI's own pipeline; see `host.base.Session.generate`.

        Those that somebody cancelled are left out. Where no model is borrowed, what is merged stays merged, and the
        checkpoint stays up, for the next call that wants the same; until then, or until the session ends.
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
        self._leave()
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

        if self._loan is not None:
            self._check_same(checkpoint)
            with self._loan.lent() as sd_model:
                return self._pictures(sd_model, requests, network, tell)
        up = self._at_hand(checkpoint)
        try:
            return self._pictures(up.sd_model, requests, network, tell, up.ready if network is None else None)
        except BaseException:
            self._leave()  # whatever is wrong with it, the next one begins anew
            raise

    def _pictures(
        self,
        sd_model: nn.Module,
        requests: Sequence[GenerateRequest],
        network: AdapterNetwork | None,
        tell: Callable[[int], None],
        ready: Ready | None = None,
    ) -> list[Generated]:
        info = checkpoints.described(sd_model.sd_checkpoint_info)
        stop = partial(getattr, self._commands, "stopping")
        with self._host.display.drawing():
            at_once = 1 if network is not None else grid_batch()
            return draw(sd_model, info, requests, network, stop, tell, self._events, ready, at_once)

    def _at_hand(self, checkpoint: str) -> _Up:
        """The checkpoint's model, as the last call has left it if that was of the same."""
        if self._up is not None and self._up.checkpoint == checkpoint:
            return self._up
        self._leave()
        with ExitStack() as steps:
            sd_model = steps.enter_context(self._brought_up(checkpoint))
            name = checkpoints.described(sd_model.sd_checkpoint_info).name
            ready = steps.enter_context(ready_for(sd_model, name))
            self._up = _Up(checkpoint, sd_model, ready, steps.pop_all())
        return self._up

    def _leave(self) -> None:
        up, self._up = self._up, None
        if up is not None:
            self._ended_switches += up.ready.adapters.switches
            up.steps.close()

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
