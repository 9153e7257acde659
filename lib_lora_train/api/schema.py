"""How a setting is described to whoever makes a form of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lib_lora_train.settings import Setting
from lib_lora_train.settings.fields import shown_setting


def shown_groups(groups: Mapping[str, Iterable[Setting]]) -> list[dict[str, object]]:
    return [{"name": name, "settings": [shown_setting(item) for item in items]} for name, items in groups.items()]
