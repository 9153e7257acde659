"""Changes to many captions at once: what can be done, read from values, and shown before it is done."""

from lib_lora_train.tags.edits.base import Edit, EditContext
from lib_lora_train.tags.edits.reading import FORMS, KINDS, edit_of, edit_schema, settings_of, values_of

__all__ = ["FORMS", "KINDS", "Edit", "EditContext", "edit_of", "edit_schema", "settings_of", "values_of"]
