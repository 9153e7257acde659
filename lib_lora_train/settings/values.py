"""Turning what stands in a file, a form or on a command line into the value of one setting, or refusing it."""

from __future__ import annotations

import json
import math

from lib_lora_train.errors import UserError
from lib_lora_train.settings.fields import Setting

# Rates may be step strings and a resolution two numbers, so they are texts; files write them as numbers as well.
NUMBERS_AS_TEXT = frozenset({"learning_rate", "unet_lr", "text_encoder_lr", "resolution"})

_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def check_value(setting: Setting, value: object, where: str) -> object:
    """`value` as the setting's own type, within its bounds and choices.

    Strict: a number in quotes is not a number and 1 is not true. Raises UserError("settings.boolean"),
    ("settings.whole_number"), ("settings.number"), ("settings.text"), ("settings.text_list"),
    ("settings.bounds") or ("settings.choice"), each with `where` as its place.
    """
    if value is None and setting.optional:
        return None
    if setting.is_list:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError("settings.text_list", where, value=_shown(value))
        return list(value)
    checked = _typed(setting, value, where)
    if setting.choices and str(checked) not in setting.choices:
        raise UserError("settings.choice", where, value=_shown(checked), choices=", ".join(setting.choices))
    if (
        setting.minimum is not None
        and setting.maximum is not None
        and not setting.minimum <= checked <= setting.maximum
    ):
        low, high = f"{setting.minimum:g}", f"{setting.maximum:g}"
        raise UserError("settings.bounds", where, value=_shown(checked), minimum=low, maximum=high)
    return checked


def parse_text(setting: Setting, text: object, where: str) -> object:
    """The value that a word on the command line stands for; what is no word is checked as it is.

    Raises what `check_value` raises.
    """
    value = text
    if isinstance(text, str):
        if setting.optional and text.lower() in ("", "none"):
            value = None
        elif setting.type is bool:
            value = _WORDS.get(text.lower(), text)
        elif setting.type in (int, float):
            value = _number(text, setting.type)
    return check_value(setting, value, where)


def _typed(setting: Setting, value: object, where: str) -> bool | int | float | str:
    if setting.type is bool:
        if isinstance(value, bool):
            return value
        raise UserError("settings.boolean", where, value=_shown(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if setting.type is int:
        if is_number and isinstance(value, int):
            return value
        raise UserError("settings.whole_number", where, value=_shown(value))
    if setting.type is float:
        if is_number:
            return float(value)
        raise UserError("settings.number", where, value=_shown(value))
    if setting.name in NUMBERS_AS_TEXT:
        if is_number:
            return repr(value)
        if isinstance(value, list) and value and all(type(item) in (int, float) for item in value):
            return ",".join(repr(item) for item in value)
    if isinstance(value, str):
        return value
    raise UserError("settings.text", where, value=_shown(value))


def _number(text: str, kind: type) -> object:
    """`text` as a number, or unchanged when it is none; what then refuses it can show it as it was typed."""
    try:
        return kind(text)
    except ValueError:
        return text


def _shown(value: object) -> str:
    """A value as an error quotes it: as JSON writes it, and no longer than a line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
