"""The settings of a preparation as text: what a browser sends, what a project keeps, what is shown of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.settings import kohya
from lib_lora_train.settings.fields import Setting, describe_group
from lib_lora_train.settings.values import check_value

MOST_WORDS, LONGEST_WORD = 500, 200  # of a list setting
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def groups() -> dict[str, tuple[Setting, ...]]:
    """The settings by group, in the order they are declared."""
    return {name: describe_group(name, type(table)) for name, table in vars(PrepareSettings()).items()}


def to_dict(settings: PrepareSettings) -> dict[str, dict[str, Any]]:
    return {name: dict(vars(table)) for name, table in vars(settings).items()}


def from_dict(
    values: object,
    base: PrepareSettings | None = None,
    read: Callable[[Setting, object, str], object] = check_value,
) -> PrepareSettings:
    """Nested values on top of `base`, which stays as it is.

    Raises UserError: settings.not_a_table, settings.unknown, prepare.colour, prepare.long_list, and as `check_value`.
    """
    if not isinstance(values, Mapping):
        raise UserError("settings.not_a_table", "settings")
    settings = copy.deepcopy(base) if base is not None else PrepareSettings()
    known = {group: {item.name: item for item in items} for group, items in groups().items()}
    for group, table in values.items():
        if group not in known:
            raise UserError("settings.unknown", str(group)[:60], nearest=kohya.nearest(str(group)[:60], list(known)))
        if not isinstance(table, Mapping):
            raise UserError("settings.not_a_table", group)
        for name, value in table.items():
            where = f"{group}.{str(name)[:60]}"
            if name not in known[group]:
                raise UserError("settings.unknown", where, nearest=kohya.nearest(str(name)[:60], list(known[group])))
            setattr(getattr(settings, group), name, read(known[group][name], value, where))
    check(settings)
    return settings


def check(settings: PrepareSettings) -> None:
    """What bounds alone do not say. Raises UserError: prepare.colour, prepare.long_list."""
    if not _COLOUR.fullmatch(settings.matte.colour):
        raise UserError("prepare.colour", "matte.colour", value=settings.matte.colour[:60])
    for name in ("taggers", "exclude", "first", "replace"):
        words = getattr(settings.tag, name)
        if len(words) > MOST_WORDS or any(len(word) > LONGEST_WORD for word in words):
            raise UserError("prepare.long_list", f"tag.{name}", most=MOST_WORDS, longest=LONGEST_WORD)


def kept_settings(values: object) -> PrepareSettings:
    """From a file of ours; what is not understood any more is at its default."""
    try:
        return from_dict(values)
    except UserError:
        settings = PrepareSettings()
    for group, table in values.items() if isinstance(values, Mapping) else ():
        for name, value in table.items() if isinstance(table, Mapping) else ():
            try:
                settings = from_dict({group: {name: value}}, settings)
            except UserError:
                continue
    return settings
