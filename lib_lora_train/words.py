"""The static words of the page in another language: labels, helps, buttons.

They are English in the code, and the English text is the key of localizations/<language>.json, which is the WebUI's own
format. Sentences with numbers in them stand in the message catalogue (`messages.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lib_lora_train.messages import DEFAULT_LANGUAGE

_FOLDER = Path(__file__).parent.parent / "localizations"


@cache
def page_words(language: str) -> Mapping[str, str]:
    """Translations by English text; empty for English, and for what was not installed with its files."""
    path = _FOLDER / f"{language.replace('-', '_')}.json"
    if language == DEFAULT_LANGUAGE or not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def word(text: str, language: str) -> str:
    """The text in the language, or as it is where nobody has translated it."""
    return page_words(language).get(text, text)
