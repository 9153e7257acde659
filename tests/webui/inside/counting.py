"""Called within the WebUI by tests/webui/test_webui_tokens.py."""

from __future__ import annotations

from typing import Any

from modules import sd_models, shared

from lib_lora_train import extension


def counts(texts: list[str], limit: int) -> dict[str, Any]:
    """What the host's counter says, beside the WebUI's own count of the same prompts."""
    host = extension.studio().host
    counter = host.token_counter()
    model = shared.sd_model
    return {
        "name": counter.name,
        "trouble": counter.trouble and counter.trouble.code,
        "counts": counter.count(texts),
        "theirs": [len(tokens) for tokens in _tokenize(model, texts)],
        "cuts": [counter.cut(text, limit) for text in texts],
        "again": host.token_counter() is counter,
        "loaded": sd_models.model_data.sd_model is model,
    }


def without_model(texts: list[str]) -> dict[str, Any]:
    """The same while no checkpoint is loaded: none is loaded for it."""
    data = sd_models.model_data
    kept, data.sd_model = data.sd_model, None
    try:
        counter = extension.studio().host.token_counter()
        return {"counts": counter.count(texts), "loaded": data.sd_model is not None}
    finally:
        data.sd_model = kept


def _tokenize(model: Any, texts: list[str]) -> list[list[int]]:
    wrapper = model.conditioner.embedders[0] if model.is_sdxl else model.cond_stage_model
    return wrapper.tokenize(texts)
