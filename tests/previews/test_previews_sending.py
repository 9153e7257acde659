"""The text that is pasted into txt2img: nothing in it may lead the WebUI to another file."""

from __future__ import annotations

import pytest

from lib_lora_train.previews.sending import without_hashes

PROMPT = 'zuna, "Lora hashes: x", a <lora:A:0.5>\nNegative prompt: bad, Lora hashes: y'


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ('Steps: 3, Lora hashes: "A: 0123456789ab", Version: v1.10.1', "Steps: 3, Version: v1.10.1"),
        ('Steps: 3, Lora hashes: "A, \\"b\\": 0123456789ab"', "Steps: 3"),
        ("Lora hashes: 0123, Steps: 3", "Steps: 3"),
        ("Steps: 3, Seed: 1", "Steps: 3, Seed: 1"),
    ],
)
def test_hashes_of_loras_are_left_out_of_the_parameters(line: str, left: str) -> None:
    assert without_hashes(f"{PROMPT}\n{line}") == f"{PROMPT}\n{left}"
    assert without_hashes(line) == left
