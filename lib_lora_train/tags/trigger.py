"""The trigger word: what speaks against a word, and the edits that put it first everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lib_lora_train.dataset.tag_text import split_tags, tag_key
from lib_lora_train.signals import Log
from lib_lora_train.tags.vocabulary import Vocabulary

MOST_TOKENS = 4  # a name of more is remembered less sharply, and takes room that tags need
_PROMPT_SIGNS = re.compile(r"[()\[\]{}<>:|\\]")  # weights, alternatives and networks in the WebUI's prompts
_WILDCARDS = re.compile(r"[*?\\]")
_LETTER = re.compile(r"[^\W_]")  # entries without any are never taken for wildcards
_OTHER_SCRIPTS = re.compile(r"[^\W\d_a-zA-Z]")


def check_trigger(
    word: str,
    vocabulary: Vocabulary,
    counts: Mapping[str, int],
    count_tokens: Callable[[str], int] | None,
    total: int,
    current: str = "",
) -> list[Log]:
    """What is to be said about `word` as a trigger word, the gravest first; warnings are reasons to take another one.

    `counts`: tag as written -> captions that hold it, of `total`. `current` is the project's present trigger word,
    which is expected in the captions. Start and end marks are not among the tokens counted.
    """
    parts = split_tags(word)
    if not parts:
        return [Log("words_tags.trigger_none")]
    notes: list[Log] = []
    expected = set(map(tag_key, split_tags(current)))
    for part in parts:
        notes += _clashes(part, vocabulary)
        notes += _writing(part)
        used = sum(count for tag, count in counts.items() if tag_key(tag) == tag_key(part))
        if 0 < used < total and tag_key(part) not in expected:
            notes.append(Log("words_tags.trigger_used", {"part": part, "count": used, "total": total}, "warning"))
    if count_tokens is not None:
        notes.append(_tokens(word, len(parts), count_tokens(", ".join(parts))))
    if len(parts) > 1:
        notes.append(Log("words_tags.trigger_parts", {"count": len(parts)}))
    if any(part != part.lower() for part in parts):
        notes.append(Log("words_tags.trigger_capitals", {"lower": word.strip().lower()}))
    return sorted(notes, key=lambda note: note.level != "warning")


def trigger_edit(old: str, new: str) -> list[dict[str, Any]]:
    """The edits, as values for `edit_of`, in order: the new word takes the place of the old one, in sentences too, and
    then comes first everywhere. Either may be blank, or several tags with commas between them."""
    before, wanted = (list({tag_key(tag): tag for tag in split_tags(word)}.values()) for word in (old, new))
    known, staying = set(map(tag_key, before)), set(map(tag_key, wanted))
    gone = [_literal(tag) for tag in before if tag_key(tag) not in staying]
    fresh = [tag for tag in wanted if tag_key(tag) not in known]
    edits: list[dict[str, Any]] = []
    if gone and fresh:
        edits.append({"kind": "merge", "tags": gone, "into": ", ".join(fresh)})
    elif gone:
        edits.append({"kind": "remove", "tags": gone})
    if wanted:
        edits.append({"kind": "add", "tags": wanted, "where": "front", "move": True})
    return edits


def _literal(tag: str) -> str:
    """An entry of an edit that means this tag only, whatever wildcards it looks like."""
    return _WILDCARDS.sub(r"\\\g<0>", tag) if _LETTER.search(tag) else tag


def _clashes(part: str, vocabulary: Vocabulary) -> list[Log]:
    count = vocabulary.known(part)
    if count:
        return [Log("words_tags.trigger_known", {"part": part, "count": count}, "warning")]
    if count == 0:
        return [Log("words_tags.trigger_known_uncounted", {"part": part}, "warning")]
    tag = vocabulary.alias_of(part)
    return [Log("words_tags.trigger_alias", {"part": part, "tag": tag}, "warning")] if tag else []


def _writing(part: str) -> list[Log]:
    notes = []
    signs = "".join(dict.fromkeys(_PROMPT_SIGNS.findall(part)))
    if signs:
        notes.append(Log("words_tags.trigger_signs", {"part": part, "signs": " ".join(signs)}, "warning"))
    if _OTHER_SCRIPTS.search(part):
        notes.append(Log("words_tags.trigger_script", {"part": part}, "warning"))
    if len(part.split()) > 1:
        notes.append(Log("words_tags.trigger_blanks", {"part": part, "joined": "".join(part.split())}, "warning"))
    return notes


def _tokens(word: str, parts: int, count: int) -> Log:
    if count > MOST_TOKENS * parts + (parts - 1):  # each comma is a token too
        return Log("words_tags.trigger_long", {"count": count, "limit": MOST_TOKENS}, "warning")
    return Log("words_tags.trigger_whole" if count == 1 else "words_tags.trigger_tokens", {"count": count})
