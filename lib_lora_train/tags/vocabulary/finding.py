"""Where lists of known tags lie: the user's own in `<models>/tags/`, and those of the taggers in the models folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.tags.tables import MAX_ROWS
from lib_lora_train.tags.translations import shipped_tags
from lib_lora_train.tags.vocabulary.known import Vocabulary
from lib_lora_train.tags.vocabulary.reading import KnownTag, read_list, read_selected

LISTS_FOLDER = "tags"  # below the models folder; translations lie in a folder of their own in it
TAGGERS_LIST = "selected_tags.csv"
MAX_FILES = 50


def list_files(models: Path, taggers: Sequence[Path] = ()) -> list[Path]:
    """All files that `find_vocabulary` reads, the user's own lists first; whoever keeps a vocabulary can see by them
    whether it is still the right one. `taggers` are folders of taggers that lie elsewhere."""
    own = _inside(models / LISTS_FOLDER, "*.csv")
    of_taggers = [*_inside(models, f"*/{TAGGERS_LIST}"), *(folder / TAGGERS_LIST for folder in taggers)]
    return [path for path in dict.fromkeys([*own, *of_taggers]) if path.is_file()][:MAX_FILES]


def find_vocabulary(models: Path, taggers: Sequence[Path] = ()) -> Vocabulary:
    """The tags of all lists there; those of the shipped translations where there is no list.

    Never raises for what lies there: what cannot be used is said by the vocabulary's `problems`.
    """
    tags: list[KnownTag] = []
    sources, problems = [], []
    for path in list_files(models, taggers):
        try:
            if len(tags) > MAX_ROWS:
                raise UserError("words_tags.too_many", path.name, limit=MAX_ROWS)
            tags += read_selected(path) if path.name == TAGGERS_LIST else read_list(path)
        except UserError as error:
            problems.append(error)
            continue
        sources.append(path.parent.name if path.name == TAGGERS_LIST else path.name)
    if not tags:
        tags, sources = [KnownTag(tag) for tag in shipped_tags()], []
    return Vocabulary(tags, sources, problems)


def _inside(folder: Path, pattern: str) -> Iterable[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:  # a folder that may not be read is as none
        return []
