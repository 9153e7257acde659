"""What to bind: which tags are traits of the subject, by a table of rules that users can extend."""

from lib_lora_train.tags.traits.advice import DECISIONS, Advice, BindOptions, Row, advise, concerns
from lib_lora_train.tags.traits.applying import binding_edits, binding_title, category_label, summarize
from lib_lora_train.tags.traits.rules import GROUPS, Category, Rules, load_rules

__all__ = [
    "DECISIONS",
    "GROUPS",
    "Advice",
    "BindOptions",
    "Category",
    "Row",
    "Rules",
    "advise",
    "binding_edits",
    "binding_title",
    "category_label",
    "concerns",
    "load_rules",
    "summarize",
]
