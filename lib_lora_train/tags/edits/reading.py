"""From the values of a form, a command line or a request to an edit, and the description that forms are made from."""

from __future__ import annotations

from collections.abc import Mapping

from lib_lora_train.errors import UserError
from lib_lora_train.settings.fields import Setting, describe_group, shown_setting
from lib_lora_train.settings.values import check_value
from lib_lora_train.tags.edits.arranging import DedupeEdit, SortEdit, TruncateEdit
from lib_lora_train.tags.edits.base import Edit, shortened
from lib_lora_train.tags.edits.placing import AddEdit, AffixEdit, MoveEdit
from lib_lora_train.tags.edits.spelling import CaseEdit, SpellingEdit, WeightsEdit
from lib_lora_train.tags.edits.taking import MergeEdit, RemoveEdit, ReplaceEdit
from lib_lora_train.tags.edits.writing import WriteEdit
from lib_lora_train.words import word

FORMS: tuple[type[Edit], ...] = (
    AddEdit, RemoveEdit, ReplaceEdit, MergeEdit, DedupeEdit, SortEdit, MoveEdit, TruncateEdit, SpellingEdit, CaseEdit,
    WeightsEdit, AffixEdit,
)  # fmt: skip
KINDS: dict[str, type[Edit]] = {table.kind: table for table in (*FORMS, WriteEdit)}


def settings_of(kind: str) -> tuple[Setting, ...]:
    """The settings of one kind of edit, in the order they are declared. Raises UserError("edits.kind")."""
    if kind not in KINDS:
        raise UserError("edits.kind", "kind", value=shortened(kind), choices=", ".join(KINDS))
    return describe_group(kind, KINDS[kind])


def edit_of(values: Mapping[str, object]) -> Edit:
    """The edit of {"kind": "remove", "tags": ["hat"], ...}; what is not given has its default.

    Raises UserError: edits.kind, edits.unknown for a setting that this kind does not have, settings.* for a value of
    the wrong type or out of its bounds, and edits.* for values that make no sense together.
    """
    kind = values.get("kind")
    known = {item.name: item for item in settings_of(kind if isinstance(kind, str) else str(kind))}
    given = {}
    for name, value in values.items():
        if name == "kind":
            continue
        if name not in known:
            raise UserError("edits.unknown", shortened(str(name)), kind=str(kind), choices=", ".join(known))
        given[name] = check_value(known[name], value, name)
    return KINDS[str(kind)](**given)


def values_of(edit: Edit) -> dict[str, object]:
    """The values that `edit_of` makes this edit from, for JSON."""
    return {"kind": edit.kind, **{item.name: getattr(edit, item.name) for item in settings_of(edit.kind)}}


def edit_schema(language: str) -> list[dict[str, object]]:
    """Every kind that a form offers, with its label, help and settings in the language."""
    schema = []
    for table in FORMS:
        settings = [
            {**shown_setting(item), "label": word(item.label, language), "help": word(item.help, language)}
            for item in settings_of(table.kind)
        ]
        entry = {"kind": table.kind, "label": word(table.label, language), "help": word(table.help, language)}
        schema.append({**entry, "settings": settings})
    return schema
