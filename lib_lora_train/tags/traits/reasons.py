"""Why a tag is advised to be bound or kept, in one sentence by what it is about."""

from __future__ import annotations

from lib_lora_train.signals import Log
from lib_lora_train.tags.traits.table import CategoryEntry

_BOUND = ("hair", "eyes", "face", "body", "mark", "worn", "clothing", "action", "expression", "object")
_LOOKS = ("hair", "eyes", "face", "body", "mark")  # of people: no trait of an object
_FREE = ("subject", "worn", "clothing", "action", "expression", "view", "background", "light", "object", "style")


def bind_reason(entry: CategoryEntry) -> Log:
    """Of a trait that is on enough of the pictures."""
    return Log(f"traits.bind_{entry.theme}" if entry.theme in _BOUND else "traits.bind_other")


def keep_reason(entry: CategoryEntry, kind: str) -> Log:
    """Of what is no trait of this kind of subject, however often it is seen."""
    if entry.theme in _LOOKS:
        return Log("traits.keep_exposed" if kind in ("person", "character") else "traits.keep_looks")
    if entry.theme == "clothing" and not entry.outfit:
        return Log("traits.keep_exposed")
    return Log(f"traits.keep_{entry.theme}" if entry.theme in _FREE else "traits.keep_other")
