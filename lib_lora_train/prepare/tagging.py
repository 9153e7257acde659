"""New tags and a caption that is there, made into one caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lib_lora_train.dataset.tag_text import first_line, is_prose, split_tags, tag_key
from lib_lora_train.prepare.choosing import TagChooser, choose_tags
from lib_lora_train.prepare.tables import TagSettings

__all__ = ["TagChooser", "choose_tags", "merge_caption"]


def merge_caption(
    existing: str, tags: Sequence[str], sentence: str, settings: TagSettings | TagChooser, trigger: str = ""
) -> str:
    """The caption of a picture: trigger word, sentence, tags; and what stood there, by `settings.existing`.

    `keep` gives a caption that is not blank back exactly. `append` and `prepend` add what is not there yet, and lose
    nothing but a tag's second mention; the trigger word (that of the settings, else `trigger`) moves to the front.
    `replace` takes nothing over. A caption
    that reads as prose stays as written, and so does every line behind the first one with text, which is the one that
    is trained on. A `sentence` that is a list of tags counts as tags. Done twice it changes nothing more. Parentheses
    are written plain: a backslash before them belongs in prompts only.
    """
    chooser = settings if isinstance(settings, TagChooser) else TagChooser(settings)
    mode = chooser.settings.existing if existing.strip() else "replace"
    if mode == "keep":
        return existing
    said = " ".join(sentence.split()).rstrip(" ,.。")
    if said and not is_prose(said):
        tags, said = chooser.adjusted([*split_tags(said), *tags]), ""
    front = split_tags(" ".join((chooser.settings.trigger or trigger).split()))
    new = [said, *tags] if said else list(tags)
    if mode == "replace":
        return ", ".join([*front, *_fresh(new, front)])
    before, line, after = first_line(existing)
    return before + _added(line, new, front, mode == "append") + after


def _added(line: str, new: Sequence[str], front: Sequence[str], behind: bool) -> str:
    """One line with what is new before or behind what is there, and the trigger word in front of both."""
    rest = _without_front(line.strip().strip(",").strip(), front)
    there = split_tags(rest)
    if not is_prose(rest):
        fronts = set(map(tag_key, front))
        there = _once(part for part in there if tag_key(part) not in fronts)
        rest = ", ".join(there)
    elif behind and tag_key(rest).startswith(tag_key(" ".join(front)) + " "):
        front = []  # "quillon in the rain ..." begins with the trigger word already
    fresh = _fresh(new, [*front, *there])
    return ", ".join(part for part in ([*front, rest, *fresh] if behind else [*front, *fresh, rest]) if part)


def _fresh(new: Iterable[str], there: Iterable[str]) -> list[str]:
    """Of tags and sentences, those that do not stand there already: of a sentence, all that lies between its commas."""
    keys = list(map(tag_key, there))
    known = {"", *keys}
    fresh = []
    for part in new:
        wanted = list(map(tag_key, split_tags(part))) if "," in part else [tag_key(part)]
        if len(wanted) == 1:
            stands = wanted[0] in known
        else:
            stands = any(keys[start : start + len(wanted)] == wanted for start in range(len(keys) - len(wanted) + 1))
        if not stands:
            fresh.append(part)
            keys += wanted
            known.update(wanted)
    return fresh


def _without_front(line: str, front: Sequence[str]) -> str:
    """The line behind its trigger word, where it begins with that; its own commas and blanks are kept."""
    rest = line
    for part in front:
        head, _, tail = rest.partition(",")
        if tag_key(head) != tag_key(part):
            return line
        rest = tail.strip()
    return rest


def _once(parts: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for part in parts:
        found.setdefault(tag_key(part), part)
    return [part for key, part in found.items() if key]
