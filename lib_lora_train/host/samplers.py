"""The samplers of a host, by the names that its requests take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host


def sampler_names(host: Host) -> list[str]:
    """In the host's own order."""
    if host.name == "webui":
        from lib_lora_train.host.webui.samplers import webui_samplers

        return webui_samplers()
    from lib_lora_train.host.sampling import SAMPLERS

    return list(SAMPLERS)
