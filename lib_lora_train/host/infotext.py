"""The text that reproduces a picture, in the form that the WebUI writes and reads."""

from __future__ import annotations

import json
import re

from lib_lora_train.host.base import CheckpointInfo, GenerateRequest

_NEEDS_QUOTES = re.compile(r'[,:\n"]')


def infotext(request: GenerateRequest, checkpoint: CheckpointInfo, lora: str | None = None) -> str:
    """Prompt, negative prompt and one line of parameters. `lora` is the name of the LoRA that is on, if one is."""
    prompt = request.prompt
    if lora is not None:
        prompt = f"{prompt} <lora:{lora}:{request.weight:g}>".strip()
    parameters: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint.sha256[:10] or None,
        "Model": checkpoint.name,
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
    }
    last = ", ".join(f"{name}: {_quoted(value)}" for name, value in parameters.items() if value is not None)
    negative = [f"Negative prompt: {request.negative_prompt}"] if request.negative_prompt else []
    return "\n".join([prompt, *negative, last])


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text
