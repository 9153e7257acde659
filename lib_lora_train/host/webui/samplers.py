"""The WebUI's samplers."""

from __future__ import annotations

from modules import sd_samplers


def webui_samplers() -> list[str]:
    """By name, also those that its settings hide: they can be asked for all the same."""
    return [sampler.name for sampler in sd_samplers.all_samplers]
