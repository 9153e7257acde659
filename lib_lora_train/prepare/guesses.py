"""What taggers saw in pictures, kept, so that another threshold needs no second look."""

from __future__ import annotations

import json
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from lib_lora_train.dataset.tag_text import tag_key
from lib_lora_train.files import atomic_path, safe_name, write_json
from lib_lora_train.vision.tagger import MODEL_FILE, TAGS_FILE, tagger_digest
from lib_lora_train.vision.tags_file import tag_words

FLOOR = 0.01  # the lowest threshold that can be set; what is below it is not kept
MAX_PICTURES = 20_000  # per tagger; the oldest go first
MAX_FILE_BYTES = 400_000_000
_KEY_BYTES = 16
_SAVE_SECONDS = 5.0
# What a damaged file makes json, numpy and zipfile raise.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What one tagger knows: names with underscores, and Danbooru's categories (9: rating)."""

    tagger: str
    names: tuple[str, ...]
    categories: np.ndarray  # uint8

    @cached_property
    def spaced(self) -> list[str]:
        """As captions write them; a comma would end the tag."""
        return [tag_words(name).replace(",", "") for name in self.names]

    @cached_property
    def plain(self) -> list[str]:
        return [name.replace(",", "") for name in self.names]

    @cached_property
    def keys(self) -> list[str]:
        return [tag_key(name.replace(",", "")) for name in self.names]

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.keys)

    @classmethod
    def of(cls, tagger: str, names: Sequence[str], categories: Sequence[int]) -> Vocabulary:
        return cls(tagger, tuple(names), np.asarray(categories, dtype=np.int64).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True, eq=False)
class Guesses:
    """What one tagger saw in one picture: places in its vocabulary, likeliest first, and their probabilities.

    `indices` is int32 (n,), `probabilities` float32 (n,), each at least `FLOOR`.
    """

    vocabulary: Vocabulary
    indices: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, vocabulary: Vocabulary, dense: np.ndarray) -> Guesses:
        """From all probabilities, float32 (len(vocabulary.names),)."""
        seen = np.flatnonzero(dense >= FLOOR)
        order = seen[np.argsort(-dense[seen], kind="stable")]
        return cls(vocabulary, order.astype(np.int32), dense[order].astype(np.float32))

    @cached_property
    def by_key(self) -> dict[str, float]:
        """Probabilities by `tag_key`."""
        keys = self.vocabulary.keys
        return {keys[index]: p for index, p in zip(self.indices.tolist(), self.probabilities.tolist(), strict=True)}

    def as_dict(self) -> dict[str, object]:
        """For JSON: the tagger, and [name, probability] of each tag, likeliest first."""
        names = [self.vocabulary.names[index] for index in self.indices.tolist()]
        return {
            "tagger": self.vocabulary.tagger,
            "tags": [[name, round(p, 4)] for name, p in zip(names, self.probabilities.tolist(), strict=True)],
        }


@dataclass
class _Shelf:
    """All of one tagger: its file as it was when read, and what has come since."""

    vocabulary: Vocabulary
    rows: dict[bytes, Guesses] = field(default_factory=dict)
    stamp: tuple[int, int] | None = None
    changed: bool = False
    saved: float = 0.0


class GuessStore:
    """A folder with one file of probabilities per tagger, known by `identify`'s key, and pictures by their digests.

    A digest is any text that changes when the pixels do. A file that is damaged counts as not there: what was in it
    is looked at again. Safe to use from several threads; two processes lose at worst what they wrote at the same
    moment. Nothing in it is worth more than the time to compute it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._shelves: dict[str, _Shelf | None] = {}
        self._paths: dict[str, Path] = {}
        self._known: tuple[tuple[int, int] | None, dict[str, Any]] = (None, {})

    def identify(self, name: str, folder: Path) -> str:
        """The key of the tagger in `folder`: its name and a hash of its two files, which is kept by their stamps.

        Raises UserError("onnx.missing_file").
        """
        stamp = [list(_stamp(folder / file) or ()) for file in (MODEL_FILE, TAGS_FILE)]
        with self._lock:
            known = self._taggers().get(name)
            if isinstance(known, dict) and known.get("stamp") == stamp and _is_key(known.get("key")):
                return str(known["key"])
        key = f"{safe_name(name)[:60]}-{tagger_digest(folder)[:16]}"
        with self._lock:
            write_json(self.folder / "taggers.json", {**self._taggers(), name: {"key": key, "stamp": stamp}})
        return key

    def key_of(self, name: str) -> str | None:
        """The key that `identify` gave last for this name, also when the tagger itself is gone since."""
        with self._lock:
            known = self._taggers().get(name)
        return str(known["key"]) if isinstance(known, dict) and _is_key(known.get("key")) else None

    def get(self, key: str | None, digest: str) -> Guesses | None:
        """What the tagger saw in the picture; None when it has not looked at it."""
        with self._lock:
            shelf = self._shelf(key) if key else None
            return None if shelf is None else shelf.rows.get(_hashed(digest))

    def reader(self, key: str | None) -> Callable[[str], Guesses | None]:
        """`get` for thousands of pictures: the file is looked for once, now."""
        with self._lock:
            shelf = self._shelf(key) if key else None
        return (lambda digest: None) if shelf is None else (lambda digest: shelf.rows.get(_hashed(digest)))

    def missing(self, key: str, digests: Iterable[str]) -> list[str]:
        """Those pictures, each once, that the tagger has not looked at."""
        with self._lock:
            shelf = self._shelf(key)
            return [digest for digest in dict.fromkeys(digests) if shelf is None or _hashed(digest) not in shelf.rows]

    def put(self, key: str, digest: str, guesses: Guesses) -> None:
        """Keeps them; they are on the disk after `save`, or now if the last time is some seconds ago."""
        with self._lock:
            shelf = self._shelf(key)
            if shelf is None or shelf.vocabulary.names != guesses.vocabulary.names:
                shelf = self._shelves[key] = _Shelf(guesses.vocabulary, saved=time.monotonic())
            shelf.rows[_hashed(digest)] = Guesses(shelf.vocabulary, guesses.indices, guesses.probabilities)
            shelf.changed = True
            if time.monotonic() - shelf.saved > _SAVE_SECONDS:
                self._save(key, shelf)

    def save(self) -> None:
        """Writes what has come since the last time. Raises UserError("file.write")."""
        with self._lock:
            for key, shelf in self._shelves.items():
                if shelf is not None and shelf.changed:
                    self._save(key, shelf)

    def _taggers(self) -> dict[str, Any]:
        """Key and stamp of each tagger by name; read again when the file has changed."""
        path = self.folder / "taggers.json"
        stamp = _stamp(path)
        if stamp != self._known[0]:
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                found = {}
            self._known = (stamp, found if isinstance(found, dict) else {})
        return self._known[1]

    def _path(self, key: str) -> Path:
        if key not in self._paths:
            self._paths[key] = self.folder / f"{safe_name(key)}.npz"
        return self._paths[key]

    def _shelf(self, key: str) -> _Shelf | None:
        """Read at the first use, and again when another process has written it and there is nothing of ours in it."""
        known = self._shelves.get(key)
        stamp = _stamp(self._path(key))
        if known is None or (known.stamp != stamp and not known.changed):
            known = self._shelves[key] = _read(self._path(key), stamp)
        return known

    def _save(self, key: str, shelf: _Shelf) -> None:
        path = self._path(key)
        stamp = _stamp(path)
        if stamp != shelf.stamp:
            other = _read(path, stamp)
            if other is not None and other.vocabulary.names == shelf.vocabulary.names:
                shelf.rows = {**other.rows, **shelf.rows}
        for digest in list(shelf.rows)[: max(0, len(shelf.rows) - MAX_PICTURES)]:
            del shelf.rows[digest]
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **_arrays(shelf))
        shelf.stamp, shelf.changed, shelf.saved = _stamp(path), False, time.monotonic()


def _arrays(shelf: _Shelf) -> Mapping[str, np.ndarray]:
    head = {"tagger": shelf.vocabulary.tagger, "names": shelf.vocabulary.names}
    rows = list(shelf.rows.values())
    return {
        "head": np.frombuffer(json.dumps(head).encode("utf-8"), dtype=np.uint8),
        "categories": shelf.vocabulary.categories,
        "pictures": np.frombuffer(b"".join(shelf.rows), dtype=np.uint8),
        "counts": np.array([len(row.indices) for row in rows], dtype=np.int64),
        "indices": np.concatenate([row.indices for row in rows]),
        "probabilities": np.concatenate([row.probabilities for row in rows]),
    }


def _read(path: Path, stamp: tuple[int, int] | None) -> _Shelf | None:
    """None when there is no such file, or it is not whole: every number in it is checked, for it may be anybody's."""
    if stamp is None or stamp[1] > MAX_FILE_BYTES:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_FILE_BYTES:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes().decode("utf-8"))
            vocabulary = Vocabulary.of(str(head["tagger"]), list(map(str, head["names"])), arrays["categories"])
            pictures = arrays["pictures"].tobytes()
            counts = arrays["counts"].astype(np.int64)
            indices = arrays["indices"].astype(np.int32)
            probabilities = arrays["probabilities"].astype(np.float32)
    except _DAMAGES:
        return None
    whole = (
        len(vocabulary.categories) == len(vocabulary.names)
        and len(pictures) == len(counts) * _KEY_BYTES
        and (counts >= 0).all()
        and int(counts.sum()) == len(indices) == len(probabilities)
        and ((indices >= 0) & (indices < len(vocabulary.names))).all()
        and ((probabilities >= 0) & (probabilities <= 1)).all()
    )
    if not whole:
        return None
    ends = np.cumsum(counts).tolist()
    rows = {}
    for place, (end, count) in enumerate(zip(ends, counts.tolist(), strict=True)):
        part = slice(end - count, end)
        digest = pictures[place * _KEY_BYTES : (place + 1) * _KEY_BYTES]
        rows[digest] = Guesses(vocabulary, indices[part], probabilities[part])
    return _Shelf(vocabulary, rows, stamp, saved=time.monotonic())


def _hashed(digest: str) -> bytes:
    return blake2b(digest.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time of change and size; None when there is no such file."""
    try:
        information = path.stat()
    except OSError:
        return None
    return information.st_mtime_ns, information.st_size


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(value) and safe_name(value) == value
