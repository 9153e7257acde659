"""The text that reproduces a picture, in the form that the WebUI writes and reads."""

from __future__ import annotations

import json
import re

from lib_lora_train.host.base import CheckpointInfo, GenerateRequest

LORA = "LoRA"
_HASHES = re.compile(r'Lora hashes: ("(?:[^"\\]|\\.)*")')
_NEGATIVE = re.compile(r"^Negative prompt:", re.MULTILINE)
_SEPARATORS = str.maketrans("", "", ":,")  # the WebUI's list of hashes is made with these
_NEEDS_QUOTES = re.compile(r'[,:\n"]')
_NO_TAG = re.compile(r"[:>=#\r\n]")  # a name with one of these cannot be written in the WebUI's tag; # begins a comment


def infotext(request: GenerateRequest, checkpoint: CheckpointInfo, lora: str | None = None) -> str:
    """Prompt, negative prompt and one line of parameters. `lora` is the name of the LoRA that is on, if one is."""
    prompt, unwritten = request.prompt, None
    if lora is not None:
        prompt, unwritten = with_lora(prompt, lora, request.weight)
    parameters: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint.sha256[:10] or None,
        "Model": checkpoint.name,
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
        LORA: unwritten,
    }
    last = ", ".join(f"{name}: {_quoted(value)}" for name, value in parameters.items() if value is not None)
    negative = [f"Negative prompt: {request.negative_prompt}"] if request.negative_prompt else []
    return writable("\n".join([prompt, *negative, last]))


def with_lora(prompt: str, name: str, weight: float) -> tuple[str, str | None]:
    """The prompt with the tag by which the WebUI finds the LoRA, and None.

    Where no tag can hold the name, the prompt alone, and what is said of the LoRA elsewhere, under the name `LORA`.
    """
    short = f"{weight:g}"
    number = short if float(short) == weight else repr(float(weight))
    if _NO_TAG.search(name):
        return prompt, f"{name} {number}"
    return f"{prompt} <lora:{name}:{number}>".strip(), None


def with_other_name(text: str, old: str, new: str, weight: float) -> str:
    """The text of a picture that was drawn with the LoRA `old` at `weight`, for one who has it as `new`, which is a name
    that a tag can hold. It stands in the prompt then, also where the old one stood beside it."""
    head, newline, last = text.rpartition("\n")
    last = _HASHES.sub(lambda found: f"Lora hashes: {_renamed(found[1], old, new)}", last)
    beside = with_lora("", old, weight)[1]
    if beside is None:
        return head.replace(f"<lora:{old}:", f"<lora:{new}:") + newline + last
    for written in (json.dumps(beside, ensure_ascii=False), beside):
        last = last.replace(f", {LORA}: {writable(written)}", "", 1)
    negative = _NEGATIVE.search(head)
    prompt, rest = (head[: negative.start()].rstrip("\n"), f"\n{head[negative.start() :]}") if negative else (head, "")
    return f"{with_lora(prompt, new, weight)[0]}{rest}\n{last}"


def hashed_name(name: str) -> str:
    """A LoRA's name as it stands in the WebUI's list of hashes."""
    return name.translate(_SEPARATORS)


def writable(text: str) -> str:
    """Without halves of characters, which file names and prompts can have, and no file of text."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text


def _renamed(written: str, old: str, new: str) -> str:
    """A list of hashes, quoted, with another name in it; one that nobody can read stays."""
    try:
        text = json.loads(written)
    except ValueError:
        return written
    entries = [entry.rpartition(": ") for entry in text.split(", ")]
    known = writable(hashed_name(old))
    shown = [f"{hashed_name(new) if name == known else name}{colon}{value}" for name, colon, value in entries]
    return json.dumps(", ".join(shown), ensure_ascii=False)
