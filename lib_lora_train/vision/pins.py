"""What was recorded of a model's files at their first use: `pins.json` in the model's folder.

{"repository": "...", "commit": "<40 hex digits, or empty for files put there by hand>",
 "files": {"model.onnx": {"sha256": "...", "size": 379000000, "mtime_ns": 1733000000000000000, "by": "hub"}}}
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.files import write_json

PINS_FILE = "pins.json"


@dataclass(frozen=True)
class Pin:
    """One file. Size (bytes) and time of change tell cheaply that it is still the same; `by` is hub or hand."""

    sha256: str
    size: int
    mtime_ns: int
    by: str

    def fits(self, path: Path) -> bool:
        return (self.size, self.mtime_ns) == _looks(path)


@dataclass
class Pins:
    """All of a model."""

    repository: str = ""
    commit: str = ""
    files: dict[str, Pin] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Raises UserError("file.write")."""
        write_json(path, asdict(self))


def read_pins(path: Path) -> Pins:
    """Empty when there is no such file. Raises UserError("models.pins") for a damaged one: it must not be forgotten
    silently.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        files = {
            str(name): Pin(str(pin["sha256"]), int(pin["size"]), int(pin["mtime_ns"]), str(pin["by"]))
            for name, pin in data["files"].items()
        }
        return Pins(str(data["repository"]), str(data["commit"]), files)
    except (FileNotFoundError, NotADirectoryError):
        return Pins()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError("models.pins", PINS_FILE, model=path.parent.name) from error


def pin(path: Path, sha256: str, by: str) -> Pin:
    """Raises OSError."""
    return Pin(sha256, *_looks(path), by)


class Hashes:
    """SHA-256 of files, computed again only when size or time of change differ."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, path: Path) -> str:
        """Raises OSError."""
        key = (str(path), *_looks(path))
        if key not in self._known:
            digest = hashlib.sha256()
            with path.open("rb") as handle:
                while chunk := handle.read(1 << 20):
                    digest.update(chunk)
            self._known[key] = digest.hexdigest()
        return self._known[key]


def _looks(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
