"""Captions as lists of tags: the line that is trained on, its parts, and a text with other ones.

A caption is a file's whole text. Its first line with text is trained on, as sd-scripts does it; what else stands there
is kept. Tags lie between commas, without the blanks around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from lib_lora_train.dataset.captions import visible

_MOST_WORDS = 5  # of a tag; longer parts are taken for prose
_MOST_HAN = 12
# "dr. stone" and "love live! school idol project" are tags.
_PROSE = re.compile(rf"(\w{{3}}\.|[。！？])(\s|,|$)|[\u4e00-\u9fff，、]{{{_MOST_HAN + 1}}}")
# Where `read_caption` sees a line end: it has taken the other control characters away before.
_LINES = re.compile("[^\n\r\x85\u2028\u2029]+")
_BREAKS = re.compile("[\n\r\x85\u2028\u2029]+")


@lru_cache(maxsize=1 << 16)  # the same few thousand tags again and again
def tag_key(text: str) -> str:
    """What two spellings of one tag have in common: capitals, underscores and blanks make no difference."""
    return " ".join(text.replace("_", " ").split()).casefold()


def is_prose(text: str) -> bool:
    """Whether a caption reads as sentences and not as a list of tags: by long parts, or by a full stop after a word."""
    return any(len(part.split()) > _MOST_WORDS for part in text.split(",")) or _PROSE.search(text) is not None


def first_line(text: str) -> tuple[str, str, str]:
    """What comes before the first line with text, that line without blanks around it, and what comes after it.

    The three together are `text`. Where no line has text all of it comes before.
    """
    if text.isprintable() and text.strip() == text:
        return "", text, ""
    for found in _LINES.finditer(text):
        line = found.group().strip()
        if line and (line.isprintable() or visible(line).strip()):
            start = text.index(line, found.start())
            return text[:start], line, text[start + len(line) :]
    return text, "", ""


def split_tags(line: str) -> tuple[str, ...]:
    """The tags of one line, as they are written; the nothing between doubled commas is none."""
    return tuple([tag for part in line.split(",") if (tag := part.strip())])


def join_tags(tags: Iterable[str]) -> str:
    """Tags as one line. `split_tags` gives them back, unless one holds a comma, a line end or blanks around it."""
    return ", ".join([tag for part in tags if (tag := _BREAKS.sub(" ", part).strip())])


def tags_of(text: str) -> tuple[str, ...]:
    """The tags of a caption's trained line."""
    return split_tags(first_line(text)[1])


def with_tags(text: str, tags: Iterable[str]) -> str:
    """The caption with these tags in its trained line; its other lines are kept.

    It is `text` itself, byte for byte, when those are its tags already. Without any tag the line is left blank, and
    the next line with text, if there is one, becomes the trained one.
    """
    wanted = tuple(tags)
    return text if tags_of(text) == wanted else with_line(text, join_tags(wanted))


def with_line(text: str, line: str) -> str:
    """The caption with another trained line; its other lines are kept."""
    before, there, after = first_line(text)
    if there == line:
        return text
    return before + line + after if there else line
