"""What the WebUI reads from a text that is pasted into txt2img."""

from __future__ import annotations

import re
from typing import Any

from modules import infotext_utils

_TAG = re.compile(r"<lora:([^:]+):")


def keep_names(text: str, fields: dict[str, Any]) -> None:
    """A LoRA that is there under the name that the text gives keeps that name.

    The Lora extension looks for each by its hash, and takes the last file that has it: of a checkpoint and the copy that
    was published of it, which have the same weights, that is not the one that the prompt was written for. To be called
    after it, with what is about to be pasted.
    """
    told = _TAG.findall(infotext_utils.parse_generation_parameters(text).get("Prompt", ""))
    found = _TAG.findall(fields.get("Prompt", ""))
    if told == found or len(told) != len(found):
        return
    from lib_lora_train.host.webui.lora_extension import LoraExtension  # torch; at the start of the WebUI this is read

    names, same = iter(told), LoraExtension().same_weights

    def kept(tag: re.Match[str]) -> str:
        name = next(names)
        return f"<lora:{name}:" if same(name, tag[1]) else tag[0]

    fields["Prompt"] = _TAG.sub(kept, fields["Prompt"])
