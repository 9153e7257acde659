"""Taggers and captioners at work on a set: what is kept already is not looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL.Image import Image

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.guesses import Guesses, GuessStore, Vocabulary
from lib_lora_train.prepare.sentences import SentenceStore
from lib_lora_train.signals import Commands, EventSink, Stage, Stopped, ignore_events
from lib_lora_train.vision.tagger import Tagger

if TYPE_CHECKING:
    from lib_lora_train.host.base import Captioner

_FAILURES_IN_A_ROW = 3  # a captioner that fails so often will fail for the rest too


@dataclass(frozen=True)
class Picture:
    """One picture to look at. `digest` changes when its pixels do; `opened` decodes it (RGB or RGBA, upright).

    `key` is the caller's own name for it. `opened` may raise UserError.
    """

    key: str
    digest: str
    opened: Callable[[], Image]


class TaggerFolders(Protocol):
    """Of `vision.store.ModelStore`: where a tagger's two files lie. Raises UserError when it is not there."""

    def resolve_tagger(self, name: str) -> Path: ...


@dataclass(frozen=True)
class TaggerSource:
    """A tagger that can be loaded, and is not yet."""

    name: str
    folder: Path
    provider: str = "auto"
    threads: int | None = None

    @contextmanager
    def loaded(self, events: EventSink = ignore_events) -> Iterator[Tagger]:
        """The tagger; its memory is free again after the block. Raises UserError."""
        with Tagger(self.folder, self.provider, self.threads, events) as tagger:
            yield tagger


def open_taggers(
    store: TaggerFolders, names: Sequence[str], provider: str = "auto", threads: int | None = None
) -> list[TaggerSource]:
    """The taggers of these names, each once, found but not loaded: they are loaded one at a time, where they are used.

    Raises UserError for the first that is not there, before any work is done.
    """
    wanted = dict.fromkeys(name.strip() for name in names if name.strip())
    return [TaggerSource(name, store.resolve_tagger(name), provider, threads) for name in wanted]


@dataclass
class Looked:
    """What came of it: how many pictures were looked at now, and why some could not be."""

    new: int = 0
    errors: dict[str, UserError] = field(default_factory=dict)


def tag_pictures(
    pictures: Sequence[Picture],
    taggers: Sequence[TaggerSource],
    store: GuessStore,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Looked:
    """Puts into the store what each tagger sees in each picture, where that is not in it yet.

    A tagger with nothing new to see is not loaded. A picture that cannot be opened is left out, and its error is given
    by its key. Raises Stopped, and UserError of a tagger as a whole; all that was seen until then is kept.
    """
    commands = commands or Commands()
    open_by_digest = {picture.digest: picture for picture in pictures}
    work = []
    for source in taggers:
        key = store.identify(source.name, source.folder)
        work.append((source, key, store.missing(key, open_by_digest)))
    looked = Looked()
    done, total = 0, sum(len(missing) for _, _, missing in work)
    broken: dict[str, UserError] = {}
    try:
        for source, key, missing in work:
            _check(commands)
            if not missing:
                continue
            events(Stage("tagging.stage_loading"))
            with source.loaded(events) as tagger:
                vocabulary = Vocabulary.of(source.name, tagger.names, tagger.categories)
                events(Stage("tagging.stage_tagging", done, total))
                wanted = ((digest, open_by_digest[digest].opened) for digest in missing if digest not in broken)
                for digest, seen in tagger.stream(wanted, commands):
                    if isinstance(seen, UserError):
                        broken[digest] = seen
                    else:
                        store.put(key, digest, Guesses.of(vocabulary, seen))
                        looked.new += 1
                    done += 1
                    events(Stage("tagging.stage_tagging", done, total))
    finally:
        store.save()
    looked.errors = {picture.key: broken[picture.digest] for picture in pictures if picture.digest in broken}
    return looked


def caption_pictures(
    pictures: Sequence[Picture],
    captioner: Captioner,
    store: SentenceStore,
    events: EventSink = ignore_events,
    commands: Commands | None = None,
) -> Looked:
    """Puts into the store what the captioner says of each picture, where that is not in it yet.

    Errors of single pictures are given by key; three in a row from the captioner itself end the work with the last of
    them. Raises Stopped, and UserError; all that was said until then is kept.
    """
    commands = commands or Commands()
    by_digest = {picture.digest: picture for picture in pictures}
    missing = [digest for digest in by_digest if store.get(captioner.key, digest) is None]
    looked = Looked()
    broken: dict[str, UserError] = {}
    if not missing:
        return looked
    _check(commands)
    failures = 0
    try:
        with captioner.loaded(commands, events) as caption:
            for done, digest in enumerate(missing):
                _check(commands)
                events(Stage("tagging.stage_captioning", done, len(missing)))
                try:
                    image = by_digest[digest].opened()
                except UserError as error:
                    broken[digest] = error
                    continue
                try:
                    store.put(captioner.key, digest, caption(image))
                except UserError as error:
                    broken[digest] = error
                    failures += 1
                    if failures == _FAILURES_IN_A_ROW:
                        raise
                    continue
                failures = 0
                looked.new += 1
            events(Stage("tagging.stage_captioning", len(missing), len(missing)))
    finally:
        store.save()
    looked.errors = {picture.key: broken[picture.digest] for picture in pictures if picture.digest in broken}
    return looked


def _check(commands: Commands) -> None:
    if commands.stopping:
        raise Stopped
