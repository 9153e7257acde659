"""The model that is planned for: a published family as it is, or a checkpoint whose own sizes are others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib_lora_train.train.memory import FAMILIES, Family, UNetShape

STEP = 64  # px: the deepest level of the U-Net still has whole cells
LEAST_SIDE = 128  # px: below, the deepest level is a single cell, and its attention learns nothing
SMALL = 50_000_000  # parameters of a U-Net below which a processor spends its time between the operations

NATIVE = {"sd1": 512, "sd2": 768, "sdxl": 1024}
NAMES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}


@dataclass(frozen=True)
class PlanModel:
    """`native` is the side in pixels that the model was made for; `own_native` when that is not its family's."""

    name: str
    native: int
    own_native: bool
    sizes: Family

    @staticmethod
    def of(family: str, native: int = 0, sizes: Family | None = None) -> PlanModel:
        usual = NATIVE[family]
        # Sides that are trained at are multiples of the step.
        side = max(LEAST_SIDE, native // STEP * STEP) if native else usual
        return PlanModel(NAMES[family], side, side != usual, sizes or FAMILIES[family])

    @property
    def smallest(self) -> int:
        """The fewest pixels that are worth training at, when the memory allows no more."""
        return max(LEAST_SIDE, self.native // 2 // STEP * STEP)

    @property
    def is_small(self) -> bool:
        return self.sizes.unet_parameters < SMALL

    def fitting(self, side: int) -> int:
        """The resolution for pictures of `side` pixels: the model's own, or less for smaller ones, but not under
        three quarters of it."""
        least = -(-self.native * 3 // 4 // STEP) * STEP
        return min(self.native, max(side // STEP * STEP, least))


def own_sizes(
    family: str, unet: Mapping[str, Any], text: Mapping[str, Any], parameters: Mapping[str, int]
) -> Family | None:
    """A checkpoint's sizes from its configs and its numbers of parameters by part; None where they are those of its
    family. SDXL's second text encoder stands in `text` under `text_encoder_2`."""
    shape = UNetShape.from_config(unet)
    if shape == FAMILIES[family].unet:
        return None
    encoders = [text, *([text["text_encoder_2"]] if "text_encoder_2" in text else [])]
    return Family(
        shape,
        parameters["unet"],
        parameters["text_encoder"],
        parameters["vae"],
        tuple(_text_size(encoder) for encoder in encoders),
    )


def _text_size(encoder: Mapping[str, Any]) -> tuple[int, int, int]:
    """Layers, width, and how often its width a layer keeps per token; see `memory.Family`."""
    kept = 20 if encoder.get("hidden_act") == "quick_gelu" else 16
    return int(encoder["num_hidden_layers"]), int(encoder["hidden_size"]), kept
