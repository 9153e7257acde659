"""Tags that say less than another one beside them: hair, long hair, very long hair."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

_DENIALS = frozenset({"no", "not", "without", "non", "un", "missing", "removed", "alternate", "former"})
_HAN = re.compile("[\u3400-\u9fff]{2,}")
_HAN_DENIALS = "不没无非未"


def implied_by(there: Collection[str], less_of: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    """Of a caption's tag keys, those that another one says as well, each with the longest that does.

    A tag says what its last words say (long hair: hair), and a verb with more words says the verb (holding sword:
    holding), unless the word before denies it (no hat). Chinese is looked at by its last characters. `less_of` is
    `shorter` of each key, kept from caption to caption.
    """
    needless = {less for key in there for less in less_of[key]}.intersection(there)
    found: dict[str, str] = {}
    if needless:
        for key in there:
            for less in less_of[key]:
                if less in needless and len(key) > len(found.get(less, "")):
                    found[less] = key
    return found


def shorter(key: str) -> list[str]:
    """What a tag would make needless."""
    if _HAN.fullmatch(key):
        return [key[start:] for start in range(1, len(key) - 1) if key[start - 1] not in _HAN_DENIALS]
    words = key.split(" ")
    if len(words) < 2 or "(" in key:
        return []
    found = [" ".join(words[start:]) for start in range(1, len(words)) if words[start - 1] not in _DENIALS]
    if words[0].endswith("ing"):
        found += [" ".join(words[:end]) for end in range(1, len(words))]
    return found
