"""How a setting is described to whoever makes a form of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lib_lora_train.settings import Setting


def shown_setting(item: Setting) -> dict[str, object]:
    return {
        "name": item.name,
        "label": item.label,
        "help": item.help,
        "type": "list" if item.is_list else item.type.__name__,
        "default": item.default,
        "minimum": item.minimum,
        "maximum": item.maximum,
        "choices": list(item.choices),
        "unit": item.unit,
        "kohya": item.kohya,
        "optional": item.optional,
    }


def shown_groups(groups: Mapping[str, Iterable[Setting]]) -> list[dict[str, object]]:
    return [{"name": name, "settings": [shown_setting(item) for item in items]} for name, items in groups.items()]
