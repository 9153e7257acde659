"""Writing and naming files so that nothing is lost and nothing escapes.

Every write goes to a temporary name in the same folder, is flushed to the disk, then renamed: after a crash or a
full disk the old file is still there, whole. Temporary names start with a dot and end in `.tmp`, so that no model
scanner ever picks one up.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib_lora_train.errors import UserError

TEMPORARY_SUFFIX = ".tmp"
MAX_NAME_BYTES = 200  # file systems allow 255; the rest is left for our suffixes and temporary names
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')  # the last range cannot be written as UTF-8


def resolve_inside(root: Path, *parts: str) -> Path:
    """The real path of `root / parts`, which must lie below the real path of `root`.

    Links are followed before the check, so a link that leaves the root is refused like `..` is. The path need not
    exist. Raises UserError("path.outside") when it leaves the root, or is not a usable path at all.
    """
    shown = "/".join(str(part) for part in parts)
    for part in parts:
        text = str(part)
        # A backslash or a drive letter is harmless here and a way out on Windows: refuse it everywhere.
        if "\x00" in text or "\\" in text or re.match(r"^[A-Za-z]:", text) or text.startswith("/"):
            raise UserError("path.outside", shown.replace("\x00", "?"))
    base = root.resolve()
    try:
        target = base.joinpath(*map(str, parts)).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link loop, or a name the system refuses
        raise UserError("path.outside", shown) from error
    if target != base and base not in target.parents:
        raise UserError("path.outside", shown)
    return target


def safe_name(text: str, fallback: str = "untitled") -> str:
    """`text` made into one file name that is legal on Linux, macOS and Windows; keeps letters of any script."""
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip(" .")
    while len(name.encode("utf-8")) > MAX_NAME_BYTES:
        name = name[:-1]
    name = name.rstrip(" .")
    if not name:
        return fallback
    return f"_{name}" if name.split(".")[0].lower() in _RESERVED else name


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to; on success it replaces `path`, on any error it is removed.

    The folder is made when missing. Raises UserError("file.write") with the system's reason when the write,
    the flush or the rename fails.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError("file.write", path.name, reason=_reason(error, path.parent)) from error
    finally:
        with suppress(OSError):  # what stopped the write may stop this too, and must not be hidden by it
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Atomic write. Raises UserError("file.write")."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Atomic write of UTF-8 with the line ends as given. Raises UserError("file.write")."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Atomic write of readable JSON; refuses NaN and infinity. Raises UserError("file.write")."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def move(source: Path, target: Path) -> None:
    """Renames within a disk; the folder of `target` is made when missing. Raises UserError("file.write")."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        raise UserError("file.write", source.name, reason=error.strerror or str(error)) from error


def discard(folder: Path) -> None:
    """Removes a folder that nobody is to see half removed: it loses its name first. Does nothing when it cannot."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        folder.rename(aside)
    except OSError:  # held open by someone: it stays, whole
        return
    shutil.rmtree(aside, ignore_errors=True)


def sweep_temporaries(folder: Path, older_than: float = 0.0) -> int:
    """Removes what a killed process left behind in `folder` (not below it); returns how many files and folders.

    `older_than` seconds keeps what another process may be writing right now in a folder that is shared.
    """
    count = 0
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        try:
            if older_than and time.time() - path.lstat().st_mtime < older_than:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError:  # gone meanwhile, or held open by someone: the next start tries again
            continue
        count += 1
    return count


def _reason(error: OSError, folder: Path) -> str:
    """The system's words, and for a full disk how full it is."""
    words = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        words = f"{words} ({shutil.disk_usage(folder).free // 1_000_000} MB free)"
    return words


def sync_folder(folder: Path) -> None:
    """Makes the rename itself durable. Windows cannot open a folder and needs no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
