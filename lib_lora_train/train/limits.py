"""How many blocks to recompute, and what to say when the memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import BorrowedModel
from lib_lora_train.messages import message
from lib_lora_train.settings import TrainSettings
from lib_lora_train.train.memory import UNetShape, blocks_to_recompute

_SHARE_FOR_ACTIVATIONS = 0.9  # the rest is for what no prediction sees: workspaces and gaps between allocations


def blocks_for(settings: TrainSettings, model: BorrowedModel, largest: tuple[int, int]) -> int:
    """The setting when it is given, else as few blocks as the free memory needs; `largest` bucket in pixels.

    On a CPU none: memory is seldom short there, and recomputing costs a third of the time.
    """
    if settings.run.checkpointed_blocks is not None:
        return min(settings.run.checkpointed_blocks, len(model.blocks()))
    if model.device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(model.device)
    needed = _fitting(settings, model, largest, int(free * _SHARE_FOR_ACTIVATIONS), settings.run.train_batch_size)
    return len(model.blocks()) if needed is None else needed


@contextmanager
def explain_out_of_memory(
    settings: TrainSettings,
    model: BorrowedModel,
    blocks: int,
    largest: tuple[int, int],
    last_state: Callable[[], Path | None],
) -> Iterator[None]:
    """Turns an out-of-memory error into one sentence with the largest setting that fits and how to go on.

    `blocks` are recomputed now, `last_state` gives the newest saved state. Raises UserError("train.out_of_memory").
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        advice = _advice(settings, model, largest)
        state = last_state()
        if state is not None:
            advice += " " + message("train.memory_resume", state=state.name)
        raise UserError(
            "train.out_of_memory", "train_batch_size", batch=settings.run.train_batch_size, blocks=blocks, advice=advice
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class of its own; on a CPU torch says it in words."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error)


def _advice(settings: TrainSettings, model: BorrowedModel, largest: tuple[int, int]) -> str:
    free = _total_memory(model) * _SHARE_FOR_ACTIVATIONS - _in_use_without_activations(model)
    for batch in range(settings.run.train_batch_size, 0, -1):
        blocks = _fitting(settings, model, largest, int(free), batch)
        if blocks is not None and blocks < len(model.blocks()):
            # The prediction held this many to be enough: a few more for what it did not see.
            return message("train.memory_fewer_blocks", blocks=min(len(model.blocks()), blocks + 4), batch=batch)
    return message("train.memory_smaller", resolution=settings.dataset.resolution, rank=settings.network.network_dim)


def _fitting(
    settings: TrainSettings, model: BorrowedModel, largest: tuple[int, int], free: int, batch: int
) -> int | None:
    names = blocks_to_recompute(
        free,
        UNetShape.from_config(model.unet_config),
        *largest,
        batch,
        element=torch.finfo(model.dtype).bits // 8,
        names=model.blocks(),
        rank=settings.network.network_dim,
    )
    return None if names is None else len(names)


def _total_memory(model: BorrowedModel) -> int:
    if model.device.type == "cuda":
        return torch.cuda.get_device_properties(model.device).total_memory
    return 0


def _in_use_without_activations(model: BorrowedModel) -> int:
    """What stays when a step is over: the model, the adapter, the optimizer."""
    if model.device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated(model.device)
