"""Called within the WebUI by tests/webui/test_webui_harness.py; an example of how tests reach in."""

from __future__ import annotations

from typing import Any

from modules import shared


def change_one_bit(name: str) -> dict[str, Any]:
    """Flips the last bit of the first number of a parameter of the loaded model; a second call puts it back."""
    import torch

    parameter = shared.sd_model.get_parameter(name)
    bits = parameter.detach().view(-1)[:1].view(torch.int32)
    with torch.no_grad():
        bits.bitwise_xor_(1)
    return {"value": float(parameter.detach().view(-1)[0])}
