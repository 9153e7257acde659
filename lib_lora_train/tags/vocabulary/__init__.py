"""Known tags: which there are, how frequent, and completing them."""

from lib_lora_train.tags.vocabulary.finding import find_vocabulary, list_files
from lib_lora_train.tags.vocabulary.known import MAX_SUGGESTIONS, Suggestion, Vocabulary
from lib_lora_train.tags.vocabulary.reading import KnownTag

__all__ = ["MAX_SUGGESTIONS", "KnownTag", "Suggestion", "Vocabulary", "find_vocabulary", "list_files"]
