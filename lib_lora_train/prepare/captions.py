"""The captions that pictures should have, from what taggers and captioners saw in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.prepare.choosing import TagChooser
from lib_lora_train.prepare.guesses import Guesses, GuessStore
from lib_lora_train.prepare.sentences import SentenceStore
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.prepare.tagging import merge_caption


@dataclass
class Seen:
    """What was seen in pictures, by the names of their contents; kept in `folder`, which may be deleted at any time.

    `captioners` are the keys of those that there are, by name.
    """

    folder: Path
    captioners: Mapping[str, str] = field(default_factory=dict)
    guesses: GuessStore = field(init=False)
    sentences: SentenceStore = field(init=False)

    def __post_init__(self) -> None:
        self.guesses = GuessStore(self.folder / "guesses")
        self.sentences = SentenceStore(self.folder / "sentences")

    def by(self, settings: TagSettings) -> Reading:
        """What those that the settings name have seen."""
        return Reading(self, settings)


class Reading:
    """What the taggers and the captioner of some settings have seen; looked up once, for thousands of pictures."""

    def __init__(self, seen: Seen, settings: TagSettings) -> None:
        self._taggers = [seen.guesses.reader(seen.guesses.key_of(name)) for name in settings.taggers]
        self._sentences = seen.sentences
        self._captioner = None if settings.captioner == "none" else seen.captioners.get(settings.captioner, "")

    def tags_of(self, content: str) -> list[Guesses] | None:
        """Of each tagger that has looked; None when none of them has."""
        known = [found for look in self._taggers if (found := look(content)) is not None]
        return known if known or not self._taggers else None

    def sentence_of(self, content: str) -> str | None:
        """None when the captioner has not looked at the picture; empty where none is wanted."""
        return "" if self._captioner is None else self._sentences.get(self._captioner, content)

    def is_complete(self, content: str) -> bool:
        """Whether all that were asked for have looked at it."""
        tags = self.tags_of(content)
        return tags is not None and len(tags) == len(self._taggers) and self.sentence_of(content) is not None


def captioning(seen: Seen, settings: TagSettings | None, trigger: str) -> Callable[[str, str], str | None]:
    """(content, caption that the picture has by itself) -> the caption it should have; None: it stays.

    `settings` None: nobody wants other captions. `trigger` is the project's; the settings may have another one.
    Raises UserError for settings that cannot be read, such as a replacement without "=".
    """
    if settings is None:
        return lambda content, own: None
    chooser = TagChooser(settings)
    reading, front = seen.by(settings), settings.trigger or trigger

    def caption(content: str, own: str) -> str | None:
        tags, sentence = reading.tags_of(content), reading.sentence_of(content)
        if tags is None and not sentence:
            return None
        return merge_caption(own, chooser.choose(tags or []), sentence or "", chooser, front)

    return caption
