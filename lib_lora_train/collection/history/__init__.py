"""The undo journal of caption files: it is the truth, and the files follow."""

from lib_lora_train.collection.history.changes import caption_changes
from lib_lora_train.collection.history.following import Outcome
from lib_lora_train.collection.history.journal import History
from lib_lora_train.collection.history.records import Entry, TextChange

__all__ = ["Entry", "History", "Outcome", "TextChange", "caption_changes"]
