"""How many tokens captions have, by a checkpoint's own tokenizer, for thousands of them at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import TokenCounter
from lib_lora_train.host.tokens import count_tokens

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_WORDS = re.compile(r"\S+")
_MOST_KEPT = 200_000  # words
_WORD_END = "</w>"


class VocabularyCounter:
    """Implements `host.base.TokenCounter`. `name` is the checkpoint's; `tokenizer` is only read.

    Captions are made of the same few thousand words: each is counted once.
    """

    trouble: UserError | None = None

    def __init__(self, tokenizer: CLIPTokenizer, name: str) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.key = _key(tokenizer)
        self._known: dict[str, int] = {}

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, start and end marks not counted."""
        return [self._count(text) for text in texts]

    def cut(self, text: str, limit: int) -> int:
        """Index of the first character that does not fit into `limit` tokens; -1 when all fits."""
        if self._count(text) <= limit:
            return -1
        room, last = limit, 0
        for word in _WORDS.finditer(text):
            last, count = word.start(), self._word(word[0])
            if count > room:
                return last + self._characters(word[0], room)
            room -= count
        return last

    def _count(self, text: str) -> int:
        if not _separable(text):
            return count_tokens(self.tokenizer, text)
        known = self._known
        return sum([known[word] if word in known else self._word(word) for word in text.split(" ") if word])

    def _word(self, word: str) -> int:
        found = self._known.get(word)
        if found is None:
            if len(self._known) > _MOST_KEPT:
                self._known = {}
            found = self._known[word] = count_tokens(self.tokenizer, word)
        return found

    def _characters(self, word: str, tokens: int) -> int:
        """How many characters of a word its first tokens hold; tokens are written with one character for each byte."""
        size = sum(len(token.removesuffix(_WORD_END)) for token in self.tokenizer.tokenize(word)[:tokens])
        for index, character in enumerate(word):
            size -= len(character.lower().encode("utf-8", "replace"))
            if size < 0:
                return index
        return len(word)


def _separable(text: str) -> bool:
    """Whether its words can be counted one by one: what ftfy does to other signs, and to HTML entities, depends on what
    else stands in the text."""
    return text.isascii() and text.isprintable() and "&" not in text


class NoCounter:
    """Implements `host.base.TokenCounter` where the vocabulary cannot be had: `trouble` says why."""

    key = ""

    def __init__(self, name: str, trouble: UserError) -> None:
        self.name = name
        self.trouble: UserError | None = trouble

    def count(self, texts: Sequence[str]) -> list[int]:
        """-1 for each: unknown."""
        return [-1] * len(texts)

    def cut(self, text: str, limit: int) -> int:
        """-1: unknown."""
        return -1


def counter_of(name: str, read: Callable[[], CLIPTokenizer]) -> TokenCounter:
    """A counter with the tokenizer that `read` gives, or one that says why there is none. `name` is the checkpoint's."""
    try:
        return VocabularyCounter(read(), name)
    except UserError as error:
        return NoCounter(name, error)
    except (OSError, ValueError, KeyError, TypeError) as error:  # files that are no vocabulary
        return NoCounter(name, UserError("host.tokenizer_unreadable", name, reason=str(error)[:200]))


def _key(tokenizer: CLIPTokenizer) -> str:
    """The same for the same vocabulary read in the same way: with ftfy, or without it."""
    repairs = getattr(getattr(tokenizer, "fix_text", None), "__module__", "")
    words: Iterable[str] = (f"{word} {number}" for word, number in sorted(tokenizer.get_vocab().items()))
    content = "\n".join((repairs or "", *words))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
