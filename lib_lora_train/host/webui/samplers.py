"""The WebUI's samplers."""

from __future__ import annotations

from modules import sd_samplers


def webui_samplers() -> list[str]:
    """Those that its pages offer, by name."""
    return [sampler.name for sampler in sd_samplers.visible_samplers()]
