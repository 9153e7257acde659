"""What of the WebUI's settings for pictures must not reach a training, and is put back for every picture.

All of this is class-wide or a global of the WebUI's; nothing of it stands in the model's weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import sd_hijack, sd_models, shared

_FAST = "sdp"  # torch's own, with a fused backward; the WebUI's default materialises every attention map


@contextmanager
def training_attention() -> Iterator[None]:
    """Torch's attention for the block; afterwards what the settings say then, which may have changed meanwhile."""
    present = sd_hijack.current_optimizer
    fast = next((optimizer for optimizer in sd_hijack.optimizers if optimizer.name == _FAST), None)
    if fast is None or (present is not None and present.name == _FAST):
        yield
        return
    sd_hijack.model_hijack.apply_optimizations(fast.title())
    try:
        yield
    finally:
        sd_hijack.model_hijack.apply_optimizations()


@contextmanager
def no_hypernetworks() -> Iterator[None]:
    """Those of the last prompt work in every attention until the next prompt."""
    held = list(shared.loaded_hypernetworks)
    shared.loaded_hypernetworks.clear()
    try:
        yield
    finally:
        shared.loaded_hypernetworks[:] = held


@contextmanager
def no_tiling() -> Iterator[None]:
    """The last picture may have left all convolutions wrapping around."""
    before = sd_hijack.model_hijack.circular_enabled
    sd_hijack.model_hijack.apply_circular(False)
    try:
        yield
    finally:
        sd_hijack.model_hijack.apply_circular(before)


@contextmanager
def no_token_merging(sd_model: Any) -> Iterator[None]:
    before = getattr(sd_model, "applied_token_merged_ratio", 0)
    sd_models.apply_token_merging(sd_model, 0)
    try:
        yield
    finally:
        sd_models.apply_token_merging(sd_model, before)
