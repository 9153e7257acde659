"""All pictures of a place with their captions, as they are at one moment."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

from lib_lora_train.collection.caption_files import Caption, caption_from
from lib_lora_train.collection.names import CAPTION_SUFFIXES, stem_of
from lib_lora_train.dataset.tag_text import first_line, is_prose, split_tags
from lib_lora_train.errors import UserError
from lib_lora_train.tags.columns import Columns
from lib_lora_train.tags.item import UNKNOWN, Item
from lib_lora_train.tags.token_counts import TokenCounts


class Mark(NamedTuple):
    """What tells one state of a file from another. `fresh` is set, to the time of reading, for a file that was written
    just before."""

    st_size: int
    st_mtime_ns: int
    st_ino: int
    st_mode: int
    fresh: int = 0


UNSURE = Mark(-1, 0, 0, 0)  # no file's: whatever is there is read again
_reads_as_prose = lru_cache(maxsize=1 << 16)(is_prose)  # of the same few thousand tags again and again


@dataclass(frozen=True)
class Concept:
    """A folder of pictures. `key` is its path below the place's base, "" for the base itself.

    `id`, `name` (shown), `repeats` and `regularization` are as in `collection.entries.ConceptInfo`.
    """

    id: str
    name: str
    key: str
    repeats: int = 1
    regularization: bool = False


@dataclass(frozen=True)
class Shelf:
    """A concept's pictures as they were read. `marks` tell by file name whether a file has changed since.

    `counter` is the key of whoever counted the tokens.
    """

    concept: Concept
    marks: Mapping[str, Mark]
    items: tuple[Item, ...]
    counter: str = ""


class Sheet:
    """Pictures in their natural order, folder by folder, and what their tags are.

    Nothing in it changes; `with_texts` gives another one. Everything that takes time is found out when it is asked for
    first.
    """

    def __init__(self, shelves: Sequence[Shelf], counts: TokenCounts | None = None) -> None:
        self.shelves = tuple(shelves)
        self.token_counts = counts or TokenCounts()
        self.items: tuple[Item, ...] = tuple(chain.from_iterable(shelf.items for shelf in self.shelves))

    @property
    def concepts(self) -> list[Concept]:
        return [shelf.concept for shelf in self.shelves]

    @property
    def total(self) -> int:
        return len(self.items)

    @cached_property
    def captioned(self) -> int:
        """Pictures whose caption says anything."""
        return sum(1 for item in self.items if item.tags)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Places in `items` by the pictures' ids."""
        return {item.id: index for index, item in enumerate(self.items)}

    @cached_property
    def by_id(self) -> dict[str, Item]:
        return {item.id: item for item in self.items}

    @cached_property
    def counts(self) -> Counter[str]:
        """In how many captions each tag stands, as it is written. Of sentences only parts that several captions share
        are tags."""
        found = Counter(chain.from_iterable(set(item.tags) for item in self.items if not item.prose))
        prose = Counter(chain.from_iterable(set(item.tags) for item in self.items if item.prose))
        for tag, count in prose.items():
            if found[tag] + count > 1 and not _reads_as_prose(tag):
                found[tag] += count
        return +found

    @cached_property
    def columns(self) -> Columns:
        """What filters look at."""
        return Columns(self.items)

    def tags_of(self, indexes: Iterable[int]) -> Counter[str]:
        """As `counts`, of some of the pictures."""
        items = self.items
        found = Counter(chain.from_iterable(set(items[index].tags) for index in indexes))
        known = self.counts
        return Counter({tag: count for tag, count in found.items() if tag in known})

    @cached_property
    def revision(self) -> str:
        """Changes with everything that can be seen of the sheet."""
        digest = hashlib.blake2b(digest_size=12)
        for shelf in self.shelves:
            concept = shelf.concept
            digest.update(f"{concept}\n{shelf.counter}\n".encode("utf-8", "surrogatepass"))
            seen = "\n".join(
                [f"{item.id} {item.version} {item.stamp} {item.width}x{item.height}" for item in shelf.items]
            )
            digest.update(seen.encode())
        return digest.hexdigest()

    def with_texts(self, texts: Mapping[str, str]) -> Sheet:
        """The sheet when pictures, by id, have other captions; a blank one is no caption.

        A picture that shares its caption file with a changed one changes too; of two different texts for one file the
        later counts. Raises KeyError for an unknown id.
        """
        by_id = self.by_id
        changed = {stem_of(by_id[key].key): text for key, text in texts.items()}
        return Sheet([self._with_texts(shelf, changed) for shelf in self.shelves], self.token_counts)

    def _with_texts(self, shelf: Shelf, texts: Mapping[str, str]) -> Shelf:
        """`texts` by the caption files' paths without their endings."""
        items, marks = [], dict(shelf.marks)
        for item in shelf.items:
            stem = stem_of(item.key)
            text = texts.get(stem)
            if text is not None:
                item = self._changed(item, text)
                stem = stem.rpartition("/")[2]
                for ending in CAPTION_SUFFIXES:
                    marks[stem + ending] = UNSURE
            items.append(item)
        return replace(shelf, items=tuple(items), marks=marks)

    def _changed(self, item: Item, text: str) -> Item:
        stem = stem_of(item.key)
        name = stem.rpartition("/")[2] + CAPTION_SUFFIXES[0]
        caption, files = Caption(), ()
        if text.strip():
            caption = caption_from(text.encode("utf-8", "replace"), item.name)
            files = (name, *(file for file in item.files if file != name))
        broken = item.problem is not None and not item.problem.code.startswith("caption.")
        problem = item.problem if broken else caption.error
        return captioned(item, stem + CAPTION_SUFFIXES[0], caption, files, problem, self.token_counts)


def captioned(
    item: Item, key: str, caption: Caption, files: tuple[str, ...], problem: UserError | None, counts: TokenCounts
) -> Item:
    """The picture `item` with that caption; everything else of it stays."""
    line = first_line(caption.text)[1]
    tags = split_tags(line)
    tokens = counts.of(caption.version, line) if caption.error is None else UNKNOWN
    return Item(
        item.id, key, item.picture, item.name, item.concept, item.regularization, item.width, item.height, item.bytes,
        item.stamp, caption.text, caption.version, files, tags,
        any(map(_reads_as_prose, tags)), tokens, problem,
    )  # fmt: skip
