"""Names: what a browser, a zip or a folder calls a file, made into one of ours; and ids that hold no path.

What comes from outside never becomes part of a path. Its last part is cleaned and gets an ending from our own list;
whatever is looked up, is looked up in a listing of what is really there.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container

from lib_lora_train.dataset.formats import FOREIGN_SUFFIXES, PICTURE_SUFFIXES
from lib_lora_train.files import safe_name

CAPTION_SUFFIXES = (".txt", ".caption")  # in the order in which they are looked for
ARCHIVE_SUFFIXES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".cbz"})
_PICTURES = frozenset(PICTURE_SUFFIXES) | FOREIGN_SUFFIXES
MAX_STEM_BYTES = 120  # leaves room for "-2" and the longest ending, on every file system
_SHOWN = 160
_KIND_SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif", "AVIF": ".avif"}  # fmt: skip
_NUMBERED = re.compile(r"([0-9]{1,6})(?:_(.*))?", re.DOTALL)
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NUMBERS = re.compile("([0-9]{1,15})")


def identify(*parts: str) -> str:
    """A short id of something that is named by `parts`: 16 hex digits."""
    return hashlib.blake2b("\x00".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def fold(text: str) -> str:
    """Two names that any file system takes for one are equal when folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts 2.png before 10.png, and x.png before x-2.png."""
    stem, ending = split_name(name)
    return [int(part) if index % 2 else part for index, part in enumerate(_NUMBERS.split(fold(stem)))], ending


def shown(name: str) -> str:
    """`name` as it may stand in a message: one line, not too long, nothing that cannot be sent as UTF-8."""
    text = _UNSHOWABLE.sub("?", name)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 43]}...{text[-40:]}"


def base_name(name: str) -> str:
    """What stands after the last separator of any system."""
    return re.split(r"[/\\]", name)[-1]


def split_name(name: str) -> tuple[str, str]:
    """Stem and ending; the ending in lower case, with its dot, empty where there is none."""
    stem, dot, ending = name.rpartition(".")
    return (stem, f".{ending.lower()}") if dot and stem else (name, "")


def is_picture_name(name: str) -> bool:
    """As `dataset.listing.is_picture_name`, for thousands of names at a time."""
    return split_name(name)[1] in _PICTURES


def stem_of(name: str) -> str:
    """What pairs a picture with its caption and its mask."""
    return split_name(name)[0]


def stored_name(name: str, kind: str) -> tuple[str, str]:
    """Stem and ending under which a picture is kept. `kind` is what it really is, in Pillow's word.

    The ending stays as given (its letters' case too) when it is one of a picture, so that nobody misses a file.
    """
    base = base_name(name)
    stem, suffix = split_name(base)
    ending = base[len(stem) :] if suffix in PICTURE_SUFFIXES else _KIND_SUFFIX[kind]
    return cut_stem(safe_name(stem, "picture")), ending


def cut_stem(stem: str) -> str:
    while len(stem.encode("utf-8")) > MAX_STEM_BYTES:
        stem = stem[:-1]
    return stem.rstrip(" .") or "picture"


def free_stem(stem: str, taken: Container[str]) -> str:
    """`stem`, or with -2, -3, ... the first that is not among the folded stems of `taken`."""
    number, free = 1, stem
    while fold(free) in taken:
        number += 1
        free = f"{stem}-{number}"
    return free


def parse_folder(name: str) -> tuple[int, str] | None:
    """(repeats, concept name) of a folder named as kohya names them, else None."""
    match = _NUMBERED.fullmatch(name)
    if match is None or int(match[1]) < 1:
        return None
    return int(match[1]), match[2] or ""
