"""The pictures of grids in a folder, each under the key of what it shows, as PNG with the text that reproduces it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, PngImagePlugin

from lib_lora_train.errors import UserError
from lib_lora_train.files import sweep_temporaries, write_bytes

_KEY = re.compile(r"[0-9a-f]{32}")
SUFFIX = ".png"
INFOTEXT = "parameters"  # the name of the text in a PNG under which the WebUI writes and looks


class CellStore:
    """A picture is there whole or not at all; a damaged one counts as missing and is drawn again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Raises UserError("preview.no_cell") for what is no key."""
        if not _KEY.fullmatch(key):
            raise UserError("preview.no_cell", key[:40])
        return self.folder / f"{key}{SUFFIX}"

    def present(self) -> set[str]:
        """Keys of the pictures there are. A file that was cut is none."""
        if not self.folder.is_dir():
            return set()
        sweep_temporaries(self.folder, older_than=3600.0)
        found = set()
        for path in self.folder.iterdir():
            if path.suffix == SUFFIX and _KEY.fullmatch(path.stem) and _ends_as_png(path):
                found.add(path.stem)
        return found

    def put(self, key: str, image: Image.Image, infotext: str) -> None:
        """Raises UserError: file.write, preview.no_cell."""
        write_bytes(self.path(key), png_bytes(image, infotext))

    def read(self, key: str) -> Image.Image:
        """RGB. Raises UserError("preview.no_cell")."""
        try:
            with Image.open(self.path(key), formats=("PNG",)) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError("preview.no_cell", key) from error

    def infotext(self, key: str) -> str:
        """Raises UserError("preview.no_cell")."""
        try:
            with Image.open(self.path(key), formats=("PNG",)) as image:
                image.load()  # texts may stand behind the pixels
                return str(image.info.get(INFOTEXT, ""))
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError("preview.no_cell", key) from error

    def drop(self, keys: Iterable[str]) -> None:
        """Removes pictures that no grid has any more."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)


def png_bytes(image: Image.Image, infotext: str) -> bytes:
    """A PNG with the text where the WebUI's "PNG Info" finds it, in any script."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text(INFOTEXT, infotext)  # as iTXt by itself where it is not Latin-1
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=texts, compress_level=4)
    return buffer.getvalue()


def _ends_as_png(path: Path) -> bool:
    """Whether the file has a PNG's end: a cut one has not."""
    try:
        with path.open("rb") as handle:
            if handle.seek(0, 2) < 12:
                return False
            handle.seek(-12, 2)
            return handle.read(12) == b"\x00\x00\x00\x00IEND\xaeB`\x82"
    except OSError:
        return False
