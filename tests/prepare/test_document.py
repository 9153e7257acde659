"""docs/preparation.md is made from the tables."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.prepare.document import preparation_markdown

PAGE = Path(__file__).parents[2] / "docs" / "preparation.md"


def test_the_page_is_current() -> None:
    hint = "python -m lib_lora_train.prepare.document > docs/preparation.md"
    assert PAGE.read_text(encoding="utf-8") == preparation_markdown(), hint
