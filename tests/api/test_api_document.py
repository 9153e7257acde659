"""docs/rest.md is made from the routes."""

from __future__ import annotations

from pathlib import Path

from lib_lora_train.api.document import rest_markdown
from lib_lora_train.api.mounting import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == rest_markdown(), "python -m lib_lora_train.api.document > docs/rest.md"


def test_every_route_says_what_it_does() -> None:
    for _, path, endpoint in ROUTES:
        first = (endpoint.__doc__ or "").strip().splitlines()
        assert first and first[0].endswith("."), path
