"""Tokens of captions counted in the WebUI: by the loaded checkpoint's tokenizer, and without loading one."""

from __future__ import annotations

from tests.helpers.webui import Webui

TEXTS = ["zuna, girl", "", "a smiling girl with silver hair, (a:1.2) [b] AND c BREAK", "红发 été", "blue eyes, " * 40]


def test_the_number_is_the_webuis(family_webui: Webui) -> None:
    told = family_webui.inside("counting", "counts", texts=TEXTS, limit=75)
    assert told["trouble"] is None
    assert told["name"]
    assert told["counts"] == told["theirs"]
    assert told["counts"][1] == 0 and told["counts"][4] == 120
    assert told["cuts"] == [-1, -1, -1, -1, 25 * len("blue eyes, ")]
    assert (told["again"], told["loaded"]) == (True, True)


def test_nothing_is_loaded_for_it(webui: Webui) -> None:
    told = webui.inside("counting", "counts", texts=TEXTS, limit=75)
    assert webui.inside("counting", "without_model", texts=TEXTS) == {"counts": told["counts"], "loaded": False}
