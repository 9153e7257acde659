"""What captioners said of pictures, kept: each takes seconds, or costs money."""

from __future__ import annotations

import json
import threading
import time
from hashlib import blake2b
from pathlib import Path

from lib_lora_train.files import safe_name, write_json

MAX_SENTENCES = 20_000  # per captioner; the oldest go first
_MAX_FILE_BYTES = 100_000_000
_SAVE_SECONDS = 5.0


class SentenceStore:
    """A folder with one JSON file per captioner, known by its key; pictures by their digests. Safe in threads.

    A damaged file counts as not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._said: dict[str, dict[str, str]] = {}
        self._changed: dict[str, float] = {}  # by key, since when

    def get(self, key: str, digest: str) -> str | None:
        """What was said of the picture; None when nobody was asked. May be empty: nothing was there to say."""
        with self._lock:
            return self._of(key).get(_hashed(digest))

    def put(self, key: str, digest: str, sentence: str) -> None:
        """Keeps it; on the disk after `save`, or now if what is not yet there is some seconds old."""
        with self._lock:
            self._of(key)[_hashed(digest)] = sentence
            if time.monotonic() - self._changed.setdefault(key, time.monotonic()) > _SAVE_SECONDS:
                self._save(key)

    def save(self) -> None:
        """Raises UserError("file.write")."""
        with self._lock:
            for key in list(self._changed):
                self._save(key)

    def _save(self, key: str) -> None:
        said = self._of(key)
        for digest in list(said)[: max(0, len(said) - MAX_SENTENCES)]:
            del said[digest]
        write_json(self._path(key), said)
        del self._changed[key]

    def _of(self, key: str) -> dict[str, str]:
        if key not in self._said:
            self._said[key] = self._read(self._path(key))
        return self._said[key]

    def _path(self, key: str) -> Path:
        return self.folder / f"{safe_name(key)}.json"

    def _read(self, path: Path) -> dict[str, str]:
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                return {}
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {digest: sentence for digest, sentence in found.items() if isinstance(sentence, str)}


def _hashed(digest: str) -> str:
    return blake2b(digest.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
