"""What was found out about pictures, kept so that it is found out once: by content, in files that may be deleted."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Container, Hashable
from pathlib import Path
from typing import Any

from lib_lora_train.dataset.listing import file_hash
from lib_lora_train.errors import UserError
from lib_lora_train.files import write_text

LOGGER = logging.getLogger("lib_lora_train.prepare")
SAVE_SECONDS = 10.0  # what a killed process loses at most
VARIANTS = 4  # entries of one picture, as by other settings


class Kept:
    """JSON values by key. Thread-safe; a disk that cannot be written to costs time the next time, nothing else."""

    def __init__(self, path: Path, version: Hashable = 1) -> None:
        self._path = path
        self._version = str(version)
        self._guard = threading.Lock()
        self._values = _read(path, self._version)
        self._changed = False
        self._saved = time.monotonic()

    def get(self, key: str) -> Any:
        """None for what is not known."""
        with self._guard:
            return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """`value` must be JSON's, and is not to be changed afterwards."""
        with self._guard:
            self._values[key] = value
            self._changed = True
            due = time.monotonic() - self._saved > SAVE_SECONDS
        if due:
            self.save()

    def save(self) -> None:
        with self._guard:
            self._saved = time.monotonic()
            if not self._changed:
                return
            content = {"version": self._version, "values": self._values}
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            self._changed = False
        try:
            write_text(self._path, text)
        except UserError as error:
            LOGGER.warning("%s", error)

    def keep_only(self, names: Container[str], used: Container[str]) -> list[Any]:
        """Forgets what is about others, as about pictures that are gone, and returns the values that stay. The name is
        what stands before a key's first colon. Of each, the `VARIANTS` newest are kept, and besides those in `used`."""
        with self._guard:
            counts: Counter[str] = Counter()
            stay = {}
            for key, value in reversed(self._values.items()):
                name = key.partition(":")[0]
                if name in names and (key in used or counts[name] < VARIANTS):
                    counts[name] += 1
                    stay[key] = value
            self._changed |= len(stay) < len(self._values)
            self._values = dict(reversed(stay.items()))
            return list(stay.values())


class Digests:
    """SHA-256 of files, read again only when length or time have changed."""

    def __init__(self, path: Path) -> None:
        self._kept = Kept(path)

    def of(self, path: Path, where: str) -> str:
        """In hex. Raises UserError: image.missing, image.unreadable, image.not_file."""
        try:
            information = path.stat()
        except FileNotFoundError as error:
            raise UserError("image.missing", where) from error
        except OSError as error:
            raise UserError("image.unreadable", where, reason=error.strerror or "?") from error
        if not stat.S_ISREG(information.st_mode):  # opening a pipe would wait for ever
            raise UserError("image.not_file", where)
        mark = [information.st_size, information.st_mtime_ns]
        known = self._kept.get(str(path))
        if isinstance(known, list) and known[:2] == mark and len(known) == 3:
            return str(known[2])
        digest = file_hash(path, where)
        self._kept.put(str(path), [*mark, digest])
        return digest

    def save(self) -> None:
        self._kept.save()


def keep_files(folder: Path, names: Container[str]) -> None:
    """Deletes the others of a folder of ours; one that cannot be deleted, as while somebody reads it on Windows, stays
    until the next time."""
    try:
        with os.scandir(folder) as entries:
            gone = [entry.path for entry in entries if entry.name not in names and not entry.is_dir()]
    except OSError:  # none yet
        return
    for path in gone:
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            LOGGER.debug("%s stays: %s", path, error)


def _read(path: Path, version: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values = content["values"]
        return values if content["version"] == version and isinstance(values, dict) else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}  # none yet, or not ours: found out anew
