"""A font for the labels of pictures that we draw: one of the system's that has Chinese, where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
OWN_FONT = "LORA_TRAIN_FONT"  # a font file of the user's choice
_HAN = "汉"
# As the systems and their packages name them; the first that is there is taken.
_NAMES = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf",
    "SourceHanSansCN-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf", "msyh.ttc", "msyh.ttf", "simhei.ttf", "simsun.ttc", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "STHeiti Light.ttc", "Arial Unicode.ttf", "NotoSerifCJK-Regular.ttc",
)  # fmt: skip


def label_font(size: int) -> Font:
    """`size` in px. Where no font with Chinese can be had, Pillow's own, and `readable` says so of a text."""
    path = _chinese_font()
    if path is not None:
        return ImageFont.truetype(str(path), size)
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def readable(text: str) -> str:
    """`text` as the font can show it: without a font for them, other letters than Latin ones as their numbers."""
    if _chinese_font() is not None:
        return text
    return text.encode("latin-1", "backslashreplace").decode("latin-1")


@cache
def _chinese_font() -> Path | None:
    own = os.environ.get(OWN_FONT, "")
    if own and _has_han(Path(own)):
        return Path(own)
    found = {path.name.lower(): path for path in _font_files()}
    for name in _NAMES:
        path = found.get(name.lower())
        if path is not None and _has_han(path):
            return path
    return None


def _font_files() -> Iterator[Path]:
    for folder in _font_folders():
        for place, _, names in os.walk(folder):
            for name in names:
                if name.lower().endswith((".ttc", ".ttf", ".otf")):
                    yield Path(place) / name


def _font_folders() -> list[Path]:
    home, windows = Path.home(), os.environ.get("WINDIR")
    folders = [home / ".local/share/fonts", home / ".fonts", home / "Library/Fonts"]
    folders += [Path(root) for root in ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts")]  # fmt: skip
    return [*folders, Path(windows) / "Fonts"] if windows else folders


def _has_han(path: Path) -> bool:
    """Whether the font draws a Han character, and not the box that stands for what it lacks."""
    try:
        font = ImageFont.truetype(str(path), 24)
        drawn, lacking = font.getmask(_HAN), font.getmask("\U0010fffe")
    except OSError:
        return False
    return bytes(drawn) != bytes(lacking)
