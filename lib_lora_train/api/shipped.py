"""What comes with the program and is sent as it is: scripts, style sheet, the page's words in Chinese."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE

ROOT = Path(__file__).parents[2]
TEXTS = Path("localizations", "zh_CN.json")
STYLE = "style.css"


class Shipped:
    """`assets` is the folder that holds javascript/ and style.css, None where the host itself serves them."""

    def __init__(self, assets: Path | None = None, root: Path = ROOT) -> None:
        self._assets, self._root = assets, root

    @cached_property
    def _chinese(self) -> dict[str, str]:
        path = self._root / TEXTS
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def texts(self, language: str) -> dict[str, str]:
        """English text -> text in `language`; empty for English."""
        return {} if language == DEFAULT_LANGUAGE else self._chinese

    def asset(self, name: str) -> Path:
        """A file by its name, looked up among those there are. Raises UserError("api.no_file")."""
        if self._assets is None:
            raise UserError("api.no_file", name)
        known = {path.name: path for path in [*(self._assets / "javascript").glob("*.js"), self._assets / STYLE]}
        if name not in known or not known[name].is_file():
            raise UserError("api.no_file", name)
        return known[name]
