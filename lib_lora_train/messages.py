"""Every text a person reads, by code and language, with named placeholders.

The catalogue is a folder of JSON files, `locales/<language>/<room>.json`. An entry is a string (a label, a note,
a log line) or an object with `sentence` and `remedy` (an error). The WebUI's own localisation replaces whole text
nodes only, so it cannot translate "step 120 of 1600"; that is why the texts live here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

DEFAULT_LANGUAGE = "en"
LANGUAGES = ("en", "zh-CN")
_FOLDER = Path(__file__).parent / "locales"


@cache
def catalogue(language: str) -> dict[str, str | dict[str, str]]:
    """All entries of one language. Raises KeyError for a language that is not shipped, or a code defined twice."""
    if language not in LANGUAGES:
        raise KeyError(f"no catalogue for language {language!r}")
    entries: dict[str, str | dict[str, str]] = {}
    for path in sorted((_FOLDER / language).glob("*.json")):
        for code, entry in json.loads(path.read_text(encoding="utf-8")).items():
            if code in entries:
                raise KeyError(f"message {code!r} is defined twice, the second time in {path.name}")
            entries[code] = entry
    return entries


def _entry(code: str, language: str) -> str | dict[str, str]:
    entries = catalogue(language if language in LANGUAGES else DEFAULT_LANGUAGE)
    return entries[code] if code in entries else catalogue(DEFAULT_LANGUAGE)[code]


def message(code: str, language: str = DEFAULT_LANGUAGE, **values: object) -> str:
    """The text of an entry with its placeholders filled; of an error entry, sentence and remedy on one line.

    The latter is for log lines about files that were skipped: the same trouble is an error when it ends the job.
    """
    entry = _entry(code, language)
    text = entry if isinstance(entry, str) else f"{entry['sentence']} {entry['remedy']}"
    return text.format(**values)


def error_texts(code: str, language: str = DEFAULT_LANGUAGE, **values: object) -> tuple[str, str]:
    """Sentence and remedy of an error entry with their placeholders filled."""
    entry = _entry(code, language)
    if not isinstance(entry, dict):
        raise TypeError(f"message {code!r} is a plain entry; use message")
    return entry["sentence"].format(**values), entry["remedy"].format(**values)
