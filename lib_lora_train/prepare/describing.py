"""The tag step: every tagger and captioner that was asked for looks at every picture once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL.Image import Image

from lib_lora_train.dataset.images import open_image
from lib_lora_train.errors import UserError
from lib_lora_train.prepare.captioners import found
from lib_lora_train.prepare.looking import Picture, caption_pictures, open_taggers, tag_pictures
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.signals import Commands, EventSink

Content = tuple[str, str, Path]  # what is in a picture, its name in messages, a file of it


def describe(
    contents: Sequence[Content],
    folder: Path,
    tools: Tools,
    settings: TagSettings,
    events: EventSink,
    commands: Commands | None = None,
) -> list[UserError]:
    """Looks at what was not looked at yet; what was seen is kept in `folder`. Returns what stood in the way.

    A tagger that cannot be used does not keep the others from it. Raises Stopped, and the last UserError when nobody
    could look at all.
    """
    seen = tools.seen(folder)
    pictures = [Picture(name, content, _opener(path, name)) for content, name, path in contents]
    problems: list[UserError] = []
    failed: UserError | None = None
    looked = False
    for name in settings.taggers:
        try:
            taggers = open_taggers(tools.store, [name], tools.provider)
            problems += tag_pictures(pictures, taggers, seen.guesses, events, commands).errors.values()
            looked = True
        except UserError as error:
            problems.append(failed := error)
    if settings.captioner != "none":
        try:
            captioner = found(tools.host, settings, models=tools.store.folder)
            if captioner is not None:
                problems += caption_pictures(pictures, captioner, seen.sentences, events, commands).errors.values()
                looked = True
        except UserError as error:
            problems.append(failed := error)
    if failed is not None and not looked:
        raise failed
    return list({(problem.code, problem.where): problem for problem in problems}.values())


def _opener(path: Path, name: str) -> Callable[[], Image]:
    return lambda: open_image(path, name).image
