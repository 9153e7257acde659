"""How a setting is declared: one dataclass field that carries all there is to know about it."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting as the form, the command line, the file reader and the documentation see it."""

    group: str  # attribute of TrainSettings that holds it
    name: str
    type: type  # bool, int, float or str; list settings are `list[str]`
    optional: bool  # None is allowed and means "decided for you"
    default: Any
    label: str
    help: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    kohya: str  # kohya's name; also the command line flag
    is_list: bool


def setting(
    default: Any,
    label: str,
    help: str,
    *,
    kohya: str = "",
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its description. `minimum` and `maximum` are inclusive."""
    metadata = {
        "label": label,
        "help": help,
        "kohya": kohya,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def describe_group(group: str, table: type) -> tuple[Setting, ...]:
    """The settings of one group dataclass, in the order they are declared."""
    hints = typing.get_type_hints(table)
    described = []
    for item in fields(table):
        kinds = [kind for kind in typing.get_args(hints[item.name]) if kind is not type(None)]
        is_list = typing.get_origin(hints[item.name]) is list
        optional = not is_list and bool(kinds)
        default = item.default_factory() if item.default is MISSING else item.default
        described.append(
            Setting(
                group=group,
                name=item.name,
                type=kinds[0] if kinds else hints[item.name],
                optional=optional,
                default=default,
                is_list=is_list,
                **{**item.metadata, "kohya": item.metadata["kohya"] or item.name},
            )
        )
    return tuple(described)


def describe(table: type) -> Iterator[Setting]:
    """All settings of a root dataclass whose fields are group dataclasses."""
    hints = typing.get_type_hints(table)
    for item in fields(table):
        if is_dataclass(hints[item.name]):
            yield from describe_group(item.name, hints[item.name])


def shown_setting(item: Setting) -> dict[str, object]:
    """A setting as JSON for whoever makes a form of it."""
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
