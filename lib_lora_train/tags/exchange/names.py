"""What a picture is called in files that go out, and which picture a name in a file that comes in means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lib_lora_train.collection.names import CAPTION_SUFFIXES, fold, is_picture_name, shown, split_name
from lib_lora_train.dataset.tag_text import first_line, with_line
from lib_lora_train.tags.item import Item

_HOLDER = "dataset/"  # a project's; what lies in it is what sd-scripts is given as train_data_dir
_DEEPEST = 8


@dataclass(frozen=True)
class Incoming:
    """Captions by the names that a file has for their pictures: paths or stems, with or without an ending.

    `whole`: they are all that stands in a caption file. Else they are trained lines, and other lines stay.
    """

    texts: Mapping[str, str]
    whole: bool = False


@dataclass
class Matched:
    """Whole texts by picture id, and the names that mean no picture, or more than one."""

    texts: dict[str, str] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)


def exported_name(item: Item) -> str:
    """The picture's path without its ending, below what is trained on."""
    return split_name(item.picture)[0].removeprefix(_HOLDER)


def matched(items: Sequence[Item], incoming: Incoming) -> Matched:
    """Which picture each name means: the one whose path ends as it does, by as many folders as there are in both.

    A stem that several folders have is told apart by the folder before it, or not at all. Pictures that share a caption
    file get it together.
    """
    places: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        parts = _parts(item.picture)
        for start in range(len(parts)):
            places.setdefault(parts[start:], []).append(item)
    result = Matched()
    for name, text in incoming.texts.items():
        found = _found(places, _parts(name))
        if len({item.key for item in found}) != 1:
            result.unmatched.append(shown(name))
            continue
        for item in found:
            result.texts[item.id] = _text(item, text, incoming.whole)
    return result


def _text(item: Item, text: str, whole: bool) -> str:
    several = first_line(text)[2].strip() != ""
    return text if whole or several else with_line(item.text, first_line(text)[1])


def _found(places: Mapping[tuple[str, ...], list[Item]], parts: tuple[str, ...]) -> Iterable[Item]:
    for start in range(len(parts)):
        if found := places.get(parts[start:]):
            return found
    return []


def _parts(path: str) -> tuple[str, ...]:
    """The last parts of a path of any system, folded; the name without an ending that pictures and captions have."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return ()
    stem, ending = split_name(parts[-1])
    name = stem if ending in CAPTION_SUFFIXES or is_picture_name(parts[-1]) else parts[-1]
    return tuple(map(fold, (*parts[-_DEEPEST:-1], name)))
