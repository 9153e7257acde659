"""A lock that the operating system holds on a file: between threads and processes, and it ends with one that dies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lib_lora_train.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PAUSE = 0.02


@contextmanager
def hold(path: Path, where: str) -> Iterator[None]:
    """Waits until nobody else holds the lock `path`, and holds it; the file is made and stays. Not to be nested.

    Raises UserError("file.write") about `where`.
    """
    try:
        handle = path.open("ab")
    except OSError as error:
        raise UserError("file.write", where, reason=error.strerror or "?") from error
    with handle:
        try:
            _wait_for(handle)
        except OSError as error:
            raise UserError("file.write", where, reason=error.strerror or "?") from error
        yield


def _wait_for(handle: BinaryIO) -> None:
    """Closing the file lets go of the lock."""
    if sys.platform == "win32":
        while not _try_windows(handle):
            time.sleep(_PAUSE)
    else:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX)


if sys.platform == "win32":

    def _try_windows(handle: BinaryIO) -> bool:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:  # held by another
            return False
        return True
