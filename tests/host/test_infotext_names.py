"""The text of a picture for one who has its LoRA under another name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_lora_train.host.base import CheckpointInfo, GenerateRequest
from lib_lora_train.host.infotext import infotext, with_other_name

BASE = CheckpointInfo("base", Path("base.safetensors"), "sd1", "0123456789ab")
NAMES = ['a "b", c', "小猫 🐈 \\ [x] (y)", "a: b>c", "x#1", "plain"]


def told(name: str, prompt: str = "a cat, Steps: 3", negative: str = "bad") -> str:
    request = GenerateRequest(prompt, negative_prompt=negative, width=64, height=64, steps=2, seed=5, weight=0.35)
    return infotext(request, BASE, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("negative", ["", "bad", "bad\nNegative prompt: worse"])
@pytest.mark.parametrize("prompt", ["", "a cat", "two lines\nSteps: 3, Sampler: none"])
def test_it_is_as_if_drawn_under_the_other_name(name: str, negative: str, prompt: str) -> None:
    assert with_other_name(told(name, prompt, negative), name, "New, one", 0.35) == told("New, one", prompt, negative)


def hashes(**names: str) -> str:
    return (
        f"Lora hashes: {json.dumps(', '.join(f'{name}: {value}' for name, value in names.items()), ensure_ascii=False)}"
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_webuis_list_of_hashes(name: str) -> None:
    old = name.replace(":", "").replace(",", "")
    text = f"{told(name)}, {hashes(**{'other': '12', old: '34'})}, Version: 1.10.1"
    changed = with_other_name(text, name, "New, one", 0.35)
    assert changed == f"{told('New, one')}, {hashes(**{'other': '12', 'New one': '34'})}, Version: 1.10.1"


def test_a_list_that_cannot_be_read_stays() -> None:
    text = f'{told("plain")}, Lora hashes: "plain: 1\\q"'
    assert with_other_name(text, "plain", "new", 0.35) == text.replace("<lora:plain:", "<lora:new:")
