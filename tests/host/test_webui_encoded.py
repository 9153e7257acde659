"""Prompts that the WebUI encoded once: the same again, with the same remarks beside the picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lib_lora_train.host.webui.encoded import KnownPrompts


class Encoder:
    """As the WebUI's: remarks on what it finds in a prompt."""

    def __init__(self) -> None:
        self.hijack = SimpleNamespace()
        self.begin()
        self.asked: list[str] = []

    def begin(self) -> None:
        """A new picture."""
        self.hijack.extra_generation_params, self.hijack.comments = {}, []

    def encode(self, prompt: str) -> str:
        self.asked.append(prompt)
        found: dict[str, Any] = self.hijack.extra_generation_params
        if "(" in prompt:
            found["Emphasis"] = "Original"
        if "*" in prompt:
            found["TI hashes"] = ", ".join([f"{prompt}: 1", *([found["TI hashes"]] if "TI hashes" in found else [])])
        if "!" in prompt:
            self.hijack.comments.append(f"too long: {prompt}")
        return prompt.upper()

    def picture(self, known: KnownPrompts | None, *prompts: str) -> list[Any]:
        self.begin()
        if known is None:
            codes = [self.encode(prompt) for prompt in prompts]
        else:
            codes = [known.of(prompt, lambda prompt=prompt: self.encode(prompt)) for prompt in prompts]
        return [codes, self.hijack.extra_generation_params, self.hijack.comments]


PICTURES = [("bad *", "cat"), ("bad *", "(cat) *!"), ("cat", "(cat) *!"), ("bad *", "cat"), ("(a)!", "(cat) *!")]


def test_each_is_encoded_once_and_nothing_else_is_seen() -> None:
    encoder, plain = Encoder(), Encoder()
    known = KnownPrompts(encoder.hijack)
    for prompts in PICTURES * 2:
        assert encoder.picture(known, *prompts) == plain.picture(None, *prompts)
    assert known.encoded == len(encoder.asked) == len(set(encoder.asked)) == 4


def test_what_fails_is_not_kept() -> None:
    encoder = Encoder()
    known = KnownPrompts(encoder.hijack)

    def fail() -> None:
        encoder.hijack.comments.append("half done")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        known.of("cat", fail)
    assert (encoder.hijack.comments, encoder.hijack.extra_generation_params) == ([], {})
    assert known.of("cat", lambda: encoder.encode("cat")) == "CAT"


def test_memory_is_bounded() -> None:
    encoder = Encoder()
    known = KnownPrompts(encoder.hijack)
    for number in range(300):
        known.of(number, lambda number=number: encoder.encode(f"{number}"))
    assert known.of(299, lambda: "anew") == "299"
    assert known.of(0, lambda: "anew") == "anew"
