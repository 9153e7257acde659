"""Pictures from requests in the WebUI: by its own pipeline and its own LoRA loader, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from modules import sd_hijack, shared
from torch import nn

from lib_lora_train.host.base import CheckpointInfo, Generated, GenerateRequest
from lib_lora_train.host.webui.adapters import Adapters, adapters_for
from lib_lora_train.host.webui.aliases import Alias, drawing_order
from lib_lora_train.host.webui.asides import undisturbed
from lib_lora_train.host.webui.encoded import KnownPrompts
from lib_lora_train.host.webui.picture import Picture, check_request, draw_pictures
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.signals import EventSink, Log, Stopped


@dataclass(frozen=True)
class Ready:
    """What is kept from one picture to the next."""

    adapters: Adapters
    known: KnownPrompts


@contextmanager
def ready_for(sd_model: nn.Module, where: str, network: AdapterNetwork | None = None) -> Iterator[Ready]:
    """For pictures of `sd_model`, which `where` names. Afterwards no LoRA is merged; see `adapters_for`."""
    with adapters_for(sd_model, where, network) as adapters:
        yield Ready(adapters, KnownPrompts(sd_hijack.model_hijack))


def draw(
    sd_model: nn.Module,
    info: CheckpointInfo,
    requests: Sequence[GenerateRequest],
    network: AdapterNetwork | None,
    stop: Callable[[], bool],
    drawn: Callable[[int], None],
    events: EventSink,
    ready: Ready | None = None,
    at_once: int = 1,
) -> list[Generated]:
    """Pictures in the order of `requests`; see `host.base.Session.generate`.

    `sd_model` is the loaded model, as the WebUI has it for its own pictures, and the queue lock is held; `info`
    describes it. `network` may be attached meanwhile: it is off, and what is drawn comes from a file of its weights,
    as a user's picture would. Of pictures that differ in their seeds alone `at_once` are drawn in a batch; `drawn` is
    called with the number of those that are done or were cancelled. Afterwards no LoRA is merged, also none that was
    before. Raises Stopped when `stop` says so, at the next sampling step; UserError as `check_request`, `adapters_for`
    and `draw_pictures`.

    With `ready`, in whose block this is called, what is merged stays until that block ends.
    """
    for request in requests:
        check_request(sd_model, request)
    pictures: dict[int, Picture] = {}
    told: set[str] = set()
    with undisturbed(sd_model, stop), ExitStack() as stack:
        ready = ready or stack.enter_context(ready_for(sd_model, info.name, network))
        ready.adapters.check(requests)
        count = 0
        for batch in _batches(requests, at_once):
            if stop():
                raise Stopped
            place, first = shared.state.job_no, requests[batch[0]]
            with ready.adapters.on(first) as alias:
                by = ready.adapters.text_encoder(first)
                made = draw_pictures(sd_model, [requests[index] for index in batch], alias, ready.known, by)
            shared.state.job_no = place  # the pipeline counts pictures, whoever shows progress counts steps
            if not made:
                events(Log("host.sample_cancelled"))
            for index, picture in zip(batch, made, strict=False):
                pictures[index] = picture
                _tell_faults(picture, alias, told, events)
            count += len(batch)
            drawn(count)
    return [Generated(picture.image, picture.infotext, requests[index]) for index, picture in sorted(pictures.items())]


def _batches(requests: Sequence[GenerateRequest], at_once: int) -> Iterator[list[int]]:
    """Indexes, at most `at_once` together. Other prompts would be padded to the longest, and give other pictures."""
    for _, group in groupby(drawing_order(requests), key=lambda index: replace(requests[index], seed=0)):
        members = list(group)
        for start in range(0, len(members), at_once):
            yield members[start : start + at_once]


def _tell_faults(picture: Picture, alias: Alias | None, told: set[str], events: EventSink) -> None:
    """The loader goes on without the layers that it fails at, and only remarks on it; said once for each LoRA."""
    if alias is None or alias.name in told:
        return
    for comment in picture.comments:
        if alias.name in comment:
            told.add(alias.name)
            text = comment.replace(alias.name, alias.shown or "LoRA")
            events(Log("host.lora_faults", {"text": text}, level="warning"))
