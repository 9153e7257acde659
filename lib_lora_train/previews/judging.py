"""Who judges a grid's pictures: the tagger and the embedding model that are on the computer. Nothing is downloaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora_train.errors import UserError
from lib_lora_train.preview.scores import ScoreTools
from lib_lora_train.signals import EventSink, Log, ignore_events
from lib_lora_train.vision.embeddings import CLIP_FILE, CLIP_FOLDER, find_embedder
from lib_lora_train.vision.store import ModelStore
from lib_lora_train.vision.tagger import TAGS_FILE, Tagger
from lib_lora_train.vision.tags_file import read_tags, tag_words

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_EMBEDDERS = ("ccip", "dinov2-small")


class Judges:
    """The first known tagger that is there, else one of the user's own. All methods may be called from any thread."""

    def __init__(self, host: Host) -> None:
        self.store = ModelStore(host.paths.models, extra=host.model_files(), offline=True)
        self._guard = threading.Lock()

    def tagger_name(self) -> str:
        """Empty where there is none that can be used."""
        place = self._tagger()
        return place.name if place is not None else ""

    def has_embedder(self) -> bool:
        if any(self._find(name) is not None for name in _EMBEDDERS):
            return True
        return (self.store.folder / CLIP_FOLDER / CLIP_FILE).is_file()

    def known_tags(self) -> frozenset[str]:
        """What the tagger can tell, as captions write it; its model is not loaded."""
        place = self._tagger()
        if place is None:
            return frozenset()
        try:
            state = (place / TAGS_FILE).stat()
            return _tags(place / TAGS_FILE, state.st_mtime_ns)
        except (OSError, UserError):
            return frozenset()

    @contextmanager
    def tools(self, kind: str, events: EventSink = ignore_events) -> Iterator[ScoreTools]:
        """Loaded for the block. One that cannot be loaded is left out, and `events` is told why."""
        place, tagger, embedder = self._tagger(), None, None
        with ExitStack() as stack:
            try:
                tagger = stack.enter_context(Tagger(place)) if place is not None else None
            except UserError as error:
                events(Log("previews.no_judge", {"reason": error.sentence()}, "warning"))
            try:
                embedder = find_embedder(self.store, kind, kind in ("character", "style"))
                if embedder is not None:
                    stack.enter_context(embedder)
            except UserError as error:
                embedder = None
                events(Log("previews.no_judge", {"reason": error.sentence()}, "warning"))
            yield ScoreTools(tagger, embedder, place.name if tagger is not None and place is not None else "")

    def _tagger(self) -> Path | None:
        for status in self.store.known("tagger"):
            place = self._find(status.model.name) if status.state == "ready" else None
            if place is not None:
                return place
        for name in self.store.user_folders():
            try:
                return self.store.resolve_tagger(name)
            except UserError:  # it is gone this very moment
                continue
        return None

    def _find(self, name: str) -> Path | None:
        try:
            with self._guard:
                return self.store.find(name)
        except UserError:  # a file that is not what was recorded: the preparation's page says so
            return None


@cache
def _tags(path: Path, stamp: int) -> frozenset[str]:
    """`stamp` is the file's time: a list that was replaced is read again."""
    return frozenset(tag_words(name) for name in read_tags(path)[0])
