"""LoRAs under names of ours in the WebUI's prompts, and what the infotext says of them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from lib_lora_train.host.base import GenerateRequest
from lib_lora_train.host.webui.aliases import Alias, drawing_order, new_name

TAG = re.compile(r"<(\w+):([^>]+)>")  # what the WebUI takes for a tag


@pytest.mark.parametrize("weight", [1, 0.7, -0.25, 1e-7, 1 / 3])
def test_the_tag_is_one_for_the_webui_and_leaves_the_prompt_as_it_was(weight):
    name = new_name()
    prompt = Alias(name, "ada", weight).in_prompt("a (cat:1.2), [dog] ")
    assert TAG.sub("", prompt) == "a (cat:1.2), [dog] "
    (kind, arguments) = TAG.findall(prompt)[0]
    assert kind == "lora"
    found, written = arguments.split(":")
    assert (found, float(written)) == (name, weight)


def test_names_are_never_the_same():
    assert len({new_name() for _ in range(1000)}) == 1000


def test_the_infotext_has_the_name_that_a_person_knows():
    alias = Alias("lora_train_1", "ada:x, y", 0.5)
    assert alias.in_infotext("a cat") == ("a cat", "ada:x, y 0.5")  # the tag would end within the name
    assert Alias("lora_train_1", "ada x, y", 0.5).in_infotext("a cat") == ("a cat <lora:ada x, y:0.5>", None)
    assert Alias("lora_train_1", "ada", 1 / 3).in_infotext("") == ("<lora:ada:0.3333333333333333>", None)
    assert alias.shown_hashes({"style": "abc", "lora_train_1": "def"}) == {"style": "abc", "adax y": "def"}


def test_the_infotext_does_not_name_a_file_that_is_gone():
    alias = Alias("lora_train_1", "", 1.0)
    assert alias.in_infotext("a cat <lora:style:1>") == ("a cat <lora:style:1>", None)
    assert alias.shown_hashes({"style": "abc", "lora_train_1": "def"}) == {"style": "abc"}
    assert alias.shown_hashes({"lora_train_1": "def"}) == {}


def test_pictures_with_the_same_adapters_are_drawn_one_after_the_other():
    files = [Path("a"), None, Path("b")]
    requests = [GenerateRequest("", lora=file, weight=weight) for weight in (0.5, 1.0, 0.5) for file in files]
    order = drawing_order(requests)
    assert sorted(order) == list(range(9))
    shown = [(requests[index].lora, requests[index].weight) for index in order]
    changes = sum(first != second for first, second in pairwise(shown))
    assert changes == 5
    assert order[:2] == [0, 6]
