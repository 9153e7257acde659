"""Pictures from requests in the WebUI: by its own pipeline and its own LoRA loader, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from modules import sd_hijack, shared
from torch import nn

from lib_lora_train.host.base import CheckpointInfo, Generated, GenerateRequest
from lib_lora_train.host.webui.adapters import Adapters, adapters_for
from lib_lora_train.host.webui.aliases import Alias, drawing_order
from lib_lora_train.host.webui.asides import undisturbed
from lib_lora_train.host.webui.encoded import KnownPrompts
from lib_lora_train.host.webui.picture import Picture, check_request, draw_picture
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
) -> list[Generated]:
    """Pictures in the order of `requests`; see `host.base.Session.generate`.

    `sd_model` is the loaded model, as the WebUI has it for its own pictures, and the queue lock is held; `info`
    describes it. `network` may be attached meanwhile: it is off, and what is drawn comes from a file of its weights,
    as a user's picture would. Pictures are drawn one at a time; `drawn` is called with the number of those that are
    done or were cancelled. Afterwards no LoRA is merged, also none that was before. Raises Stopped when `stop` says
    so, at the next sampling step; UserError as `check_request`, `adapters_for` and `draw_picture`.

    With `ready`, in whose block this is called, what is merged stays until that block ends.
    """
    for request in requests:
        check_request(sd_model, request)
    pictures: dict[int, Picture] = {}
    told: set[str] = set()
    with undisturbed(sd_model, stop), ExitStack() as stack:
        ready = ready or stack.enter_context(ready_for(sd_model, info.name, network))
        ready.adapters.check(requests)
        for count, index in enumerate(drawing_order(requests), start=1):
            if stop():
                raise Stopped
            place = shared.state.job_no
            with ready.adapters.on(requests[index]) as alias:
                by = ready.adapters.text_encoder(requests[index])
                picture = draw_picture(sd_model, requests[index], alias, ready.known, by)
            shared.state.job_no = place  # the pipeline counts pictures, whoever shows progress counts steps
            if picture is None:
                events(Log("host.sample_cancelled"))
            else:
                pictures[index] = picture
                _tell_faults(picture, alias, told, events)
            drawn(count)
    return [Generated(picture.image, picture.infotext, requests[index]) for index, picture in sorted(pictures.items())]


def _tell_faults(picture: Picture, alias: Alias | None, told: set[str], events: EventSink) -> None:
    """The loader goes on without the layers that it fails at, and only remarks on it; said once for each LoRA."""
    if alias is None or alias.name in told:
        return
    for comment in picture.comments:
        if alias.name in comment:
            told.add(alias.name)
            text = comment.replace(alias.name, alias.shown or "LoRA")
            events(Log("host.lora_faults", {"text": text}, level="warning"))
