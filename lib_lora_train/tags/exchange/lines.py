"""Tags one to a line: all of a place, or those of one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lib_lora_train.collection.caption_files import caption_text, check_caption
from lib_lora_train.dataset.tag_text import is_prose, join_tags, split_tags
from lib_lora_train.tags.item import Item


def read_lines(data: bytes, where: str) -> str:
    """A caption from a text file: of several lines, each with one tag, the tags; of anything else, the text itself.

    Raises UserError: caption.encoding, collection.caption_long, collection.caption_characters.
    """
    text = caption_text(data, where)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and not any("," in line.strip(",") or is_prose(line) for line in lines):
        text = join_tags(tag for line in lines for tag in split_tags(line))
    check_caption(text, where)
    return text


def write_lines(items: Sequence[Item]) -> bytes:
    """Every tag that is in use, the most frequent first; sentences have none."""
    counts = Counter(tag for item in items if not item.prose for tag in dict.fromkeys(item.tags))
    tags = sorted(counts, key=lambda tag: (-counts[tag], tag))
    return "".join(f"{tag}\n" for tag in tags).encode("utf-8", "replace")
