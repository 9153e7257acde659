"""The catalogue's data set entries: both languages, the same placeholders, every code that is used and none that is not."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import lib_lora_train

PACKAGE = Path(lib_lora_train.__file__).parent
CODE = re.compile(r'"((?:image|caption|bucket|dataset|mask|latents)\.[a-z0-9_]+)"')


def entries(language: str) -> dict[str, str | dict[str, str]]:
    return json.loads((PACKAGE / "locales" / language / "dataset.json").read_text(encoding="utf-8"))


def placeholders(entry: str | dict[str, str]) -> set[str]:
    text = entry if isinstance(entry, str) else entry["sentence"] + entry["remedy"]
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same_things():
    english, chinese = entries("en"), entries("zh-CN")
    assert english.keys() == chinese.keys()
    for code, entry in english.items():
        assert type(entry) is type(chinese[code]), code
        assert placeholders(entry) == placeholders(chinese[code]), code
        assert re.search("[\u4e00-\u9fff]", json.dumps(chinese[code], ensure_ascii=False)), code


def test_codes_in_the_source_are_the_codes_in_the_catalogue():
    used = set()
    for path in (PACKAGE / "dataset").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        used |= set(CODE.findall(re.sub(r'""".*?"""', "", source, flags=re.DOTALL)))
    assert used == set(entries("en"))
