"""A picture with its caption, as the tag editor works on it."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora_train.errors import UserError

UNKNOWN = -1  # tokens that could not be counted


@dataclass(frozen=True, slots=True)
class Item:
    """A picture and the caption beside it.

    `id` and `concept` are ids as in `collection.entries`, "" where pictures lie in no concept's folder. `key` names the
    caption file and `picture` the picture, both as posix paths below the place's base. `width` x `height` in pixels
    when upright, 0 x 0 when it cannot be read; `bytes` and `stamp` are the picture file's. `text` and `version` are
    those of `caption_files.Caption`; `files` the names of the caption files there are, the one that counts first.
    `tags` are those of the line that is trained on, `prose` whether that line is a sentence, `tokens` how many tokens
    it has, start and end marks not counted, -1 when unknown. `problem` says what is wrong with picture or caption.
    """

    id: str
    key: str
    picture: str
    name: str
    concept: str
    regularization: bool
    width: int
    height: int
    bytes: int
    stamp: str
    text: str
    version: str
    files: tuple[str, ...]
    tags: tuple[str, ...]
    prose: bool
    tokens: int = UNKNOWN
    problem: UserError | None = None
