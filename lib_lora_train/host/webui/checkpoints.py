"""The WebUI's checkpoints: their list, one by its name, and bringing one up for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, lowvram, sd_models, shared
from safetensors import SafetensorError

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import CheckpointInfo
from lib_lora_train.host.webui.placement import parts_of
from lib_lora_train.signals import EventSink, Log, Stage

# What reading a file and building a model of it raises; the WebUI lets all of them through.
_LOADING = (OSError, RuntimeError, ValueError, KeyError, TypeError, AssertionError, SafetensorError)


def listed() -> list[CheckpointInfo]:
    """All that the WebUI's dropdown lists, by name; nothing is opened."""
    entries = _entries()
    names = Counter(entry.name_for_extra for entry in entries)
    return sorted(
        (described(entry, unique=names[entry.name_for_extra] == 1) for entry in entries),
        key=lambda info: info.name.lower(),
    )


def described(entry: sd_models.CheckpointInfo, unique: bool | None = None) -> CheckpointInfo:
    """In our words. The name is as short as it can be without being another's too."""
    if unique is None:
        unique = sum(other.name_for_extra == entry.name_for_extra for other in _entries()) <= 1
    name = entry.name_for_extra if unique else entry.name
    return CheckpointInfo(name, Path(entry.filename), sha256=entry.sha256 or "")


def find(checkpoint: str) -> sd_models.CheckpointInfo:
    """One by our name for it, by its path, or by any name that the WebUI knows it by.

    Raises UserError("host.no_checkpoint", "host.checkpoint_missing").
    """
    if not checkpoint:
        raise UserError("host.no_checkpoint", "checkpoint")
    entries = _entries()
    same = [entry for entry in entries if checkpoint == entry.name_for_extra]
    if len(same) == 1:
        return same[0]
    path = Path(checkpoint).expanduser()
    for entry in entries:
        if checkpoint == entry.name or (path.is_absolute() and path.resolve() == Path(entry.filename).resolve()):
            return entry
    known = sd_models.checkpoint_aliases.get(checkpoint)
    if known is None:
        raise UserError("host.checkpoint_missing", path.name)
    return known


def chosen() -> sd_models.CheckpointInfo | None:
    """What the WebUI's dropdown shows, which is what it will draw with; else what is loaded."""
    known = sd_models.checkpoint_aliases.get(shared.opts.data.get("sd_model_checkpoint"))
    if known is None and sd_models.model_data.sd_model is not None:
        return sd_models.model_data.sd_model.sd_checkpoint_info
    return known


@contextmanager
def brought_up(entry: sd_models.CheckpointInfo | None, events: EventSink) -> Iterator[Any]:
    """The WebUI's model with this checkpoint (None: the one chosen). Its queue lock must be held.

    Afterwards the model holds what the dropdown shows then: the user's own, or what they have picked meanwhile. The
    setting itself is never written. Raises UserError("host.damaged") when the file cannot be loaded.
    """
    loaded = sd_models.model_data.sd_model
    if entry is not None and (loaded is None or loaded.sd_model_checkpoint != entry.filename):
        events(Stage("host.stage_loading"))
    try:
        with sd_models.SkipWritingToConfig():
            try:
                sd_models.reload_model_weights(info=entry)
            except torch.cuda.OutOfMemoryError:
                raise
            except _LOADING as error:
                name = "checkpoint" if entry is None else entry.name
                raise UserError("host.damaged", name, reason=str(error) or type(error).__name__) from error
        yield sd_models.model_data.sd_model
    finally:
        _put_back(events)


def _put_back(events: EventSink) -> None:
    try:
        sd_models.reload_model_weights()
    except _LOADING as error:
        # What was done is done, and its files are there: that the user's own cannot be loaded is another matter.
        events(Log("webui.not_put_back", {"reason": str(error) or type(error).__name__}, level="error"))


def read_afresh(entry: sd_models.CheckpointInfo) -> None:
    """Replaces the WebUI's model by a new one from the file."""
    damaged = sd_models.model_data.sd_model
    with sd_models.SkipWritingToConfig():
        sd_models.load_model(entry)
    if damaged in sd_models.model_data.loaded_sd_models:
        sd_models.model_data.loaded_sd_models.remove(damaged)


@contextmanager
def on_device(sd_model: Any) -> Iterator[None]:
    """A model that the user has unloaded to the computer's memory is on the device for the block."""
    away = next(parts_of(sd_model)["unet"].parameters()).device.type != devices.device.type
    if not away or lowvram.is_needed(sd_model):
        yield
        return
    sd_models.send_model_to_device(sd_model)
    try:
        yield
    finally:
        sd_models.send_model_to_cpu(sd_model)


def _entries() -> list[sd_models.CheckpointInfo]:
    return list(sd_models.checkpoints_list.values())
