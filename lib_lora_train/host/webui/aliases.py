"""LoRAs under names of ours in a prompt, and what is said of them in the text beside the picture."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.host.base import GenerateRequest
from lib_lora_train.host.infotext import hashed_name, with_lora


@dataclass(frozen=True)
class Alias:
    """A LoRA that the WebUI's loader knows as `name` while a picture is drawn.

    `shown` is the name that it goes by in the infotext. It is empty for a LoRA in training: the file is gone when the
    picture is seen, and a name that nobody has would only be refused when the infotext is pasted.
    """

    name: str
    shown: str
    weight: float

    def in_prompt(self, prompt: str) -> str:
        """The prompt that is drawn. The tag stands at the end without a space: without it the text is unchanged."""
        return f"{prompt}<lora:{self.name}:{float(self.weight)!r}>"

    def in_infotext(self, prompt: str) -> tuple[str, str | None]:
        """The prompt that is told, and what is told beside it; see `infotext.with_lora`."""
        return with_lora(prompt, self.shown, self.weight) if self.shown else (prompt, None)

    def shown_hashes(self, hashes: Mapping[str, str]) -> dict[str, str]:
        """The loader's hashes by name, with the shown name or without this LoRA."""
        shown = {self.name: hashed_name(self.shown)}
        return {shown.get(name, name): value for name, value in hashes.items() if shown.get(name, name)}


def new_name() -> str:
    """A name that no LoRA has and none will ever have again, as the loader knows files by name alone."""
    return f"lora_train_{secrets.token_hex(8)}"


def drawing_order(requests: Sequence[GenerateRequest]) -> list[int]:
    """The indexes of `requests`, those with the same LoRA and weight one after the other: each change is a merge."""
    groups: dict[tuple[Path | None, float], list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault((request.lora, request.weight), []).append(index)
    return [index for members in groups.values() for index in members]
