"""Taking the WebUI's model for a training, and giving it back exactly as it was.

Every step is a context manager of its own; `borrowed` reads as their list. What a step changes it puts back itself, on
every way out; the guard, which stands around most of them, proves it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ldm.modules.attention
import ldm.modules.diffusionmodules.util
import torch
from modules import devices, sd_models

from lib_lora_train.host.base import BorrowRequest
from lib_lora_train.host.guard import guarded
from lib_lora_train.host.webui.attention import no_hypernetworks, no_tiling, no_token_merging, training_attention
from lib_lora_train.host.webui.checkpoints import brought_up, described, find, read_afresh
from lib_lora_train.host.webui.lora_extension import LoraExtension
from lib_lora_train.host.webui.model import WebuiModel
from lib_lora_train.host.webui.placement import Placement
from lib_lora_train.host.webui.refusals import check_flags, check_loaded
from lib_lora_train.host.webui.watch import ModelWatch
from lib_lora_train.signals import EventSink


class Borrowing:
    """A model on loan: `model` for the trainer, `lent` for the pictures that the WebUI draws in between."""

    def __init__(self, sd_model: Any, placement: Placement) -> None:
        self.sd_model = sd_model
        self.model: WebuiModel | None = None
        self._placement = placement
        self._settings = ExitStack()

    def __enter__(self) -> Borrowing:
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._settings.close()
        finally:
            self._placement.give_back()

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """Inside the block the WebUI's model and settings are the WebUI's own, for drawing with them."""
        self._settings.close()
        self._placement.lend()
        try:
            yield self.sd_model
        finally:
            self._take()

    def _take(self) -> None:
        self._placement.take()
        for step in (training_attention(), no_hypernetworks(), no_tiling(), no_token_merging(self.sd_model)):
            self._settings.enter_context(step)


@contextmanager
def borrowed(request: BorrowRequest, exact: bool, events: EventSink) -> Iterator[Borrowing]:
    """The checkpoint of the request, ready for training; the WebUI's queue lock must be held.

    Raises UserError: what `refusals` and `checkpoints` say, `WebuiModel`'s own, "guard.changed" when the model is not
    as it was (it is then read from its file again), and "host.unloaded" from whatever uses the model.
    """
    check_flags()
    entry = find(request.checkpoint)
    with ExitStack() as steps:
        watch = steps.enter_context(ModelWatch(sd_models))
        sd_model = watch.model = steps.enter_context(brought_up(entry, events))
        check_loaded(sd_model)
        LoraExtension().unmerge(sd_model)
        steps.enter_context(LoraExtension().unhurt_by_reload())
        _settle_upcast(sd_model)
        placement = Placement(sd_model, watch.check)
        steps.enter_context(
            guarded({"model": sd_model}, exact, events, lambda: read_afresh(entry), versions=False, classes=False)
        )
        steps.enter_context(_frozen(sd_model))
        loan = steps.enter_context(Borrowing(sd_model, placement))
        loan.model = steps.enter_context(WebuiModel(sd_model, described(entry), request, placement))
        steps.enter_context(torch.enable_grad())  # the caller may stand in no_grad
        steps.enter_context(_let_go_on_error())
        yield loan


@contextmanager
def _frozen(sd_model: Any) -> Iterator[None]:
    """The WebUI leaves its U-Net trainable; a backward pass would fill the memory with gradients nobody wants."""
    trainable = [parameter for parameter in sd_model.parameters() if parameter.requires_grad]
    training = [module for module in sd_model.modules() if module.training]
    for parameter in trainable:
        parameter.requires_grad_(False)
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def _let_go_on_error() -> Iterator[None]:
    """An error holds the variables of every function it passed, and with them all activations of the step.

    After "out of memory" they would be in the way of the parts that are to come back onto the device.
    """
    try:
        yield
    except BaseException as error:
        seen: BaseException | None = error
        while seen is not None:
            traceback.clear_frames(seen.__traceback__)
            seen = seen.__cause__ or seen.__context__
        devices.torch_gc()
        raise


def _settle_upcast(sd_model: Any) -> None:
    """With --upcast-sampling these layers become fp32 at their first call and stay so; now, so that it is no change."""
    if devices.unet_needs_upcast:
        kinds = (ldm.modules.diffusionmodules.util.GroupNorm32, ldm.modules.attention.GEGLU)
        for module in sd_model.model.diffusion_model.modules():
            if isinstance(module, kinds):
                module.float()
