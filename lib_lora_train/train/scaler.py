"""Loss scaling for fp16, on any device. torch's own scaler is tied to CUDA in the versions the WebUI has."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lib_lora_train.errors import UserError

_GROWTH_INTERVAL = 2000  # steps without overflow before the scale doubles, as torch.cuda.amp.GradScaler
_SMALLEST_SCALE = 2.0**-10


class LossScaler:
    """Multiplies the loss so that small fp16 gradients do not vanish; halves when they overflow.

    Micikevicius et al. 2018, "Mixed Precision Training", section 3.2. Disabled, it multiplies by 1 and never waits
    for the device.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.scale = 2.0**16 if enabled else 1.0
        self._steps_since_change = 0

    def unscale(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Divides the gradients by the scale, in place."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.enabled and gradients:
            torch._foreach_mul_(gradients, 1.0 / self.scale)

    def allows_step(self, gradient_norm: Tensor, step: int) -> bool:
        """Whether the gradients are finite; adapts the scale. Reads one number from the device, in fp16 only.

        Raises UserError("train.scale_collapsed") when the gradients stay infinite at the smallest scale.
        """
        if not self.enabled:
            return True
        if torch.isfinite(gradient_norm).item():
            self._steps_since_change += 1
            if self._steps_since_change >= _GROWTH_INTERVAL:
                self.scale *= 2.0
                self._steps_since_change = 0
            return True
        self.scale /= 2.0
        self._steps_since_change = 0
        if self.scale < _SMALLEST_SCALE:
            raise UserError("train.scale_collapsed", "mixed_precision", step=step)
        return False

    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "steps_since_change": self._steps_since_change}

    def load(self, state: dict[str, float]) -> None:
        if self.enabled:
            self.scale = float(state["scale"])
            self._steps_since_change = int(state["steps_since_change"])
